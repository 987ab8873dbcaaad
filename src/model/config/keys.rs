//! The keys of a `config.json`, asked for one at a time, with errors that name them. A key that is null counts as missing.

use serde_json::{Map, Value};

use super::Activation;
use crate::tensor::Dtype;

/// The file, or an object in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys(pub(super) Map<String, Value>);

impl Keys {
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn size_if(&self, key: &str) -> Result<Option<usize>, String> {
        let read = |value: &Value| {
            let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
            size.ok_or_else(|| format!("`{key}` is {value}, not a number of things"))
        };
        self.get(key).map(read).transpose()
    }

    pub(super) fn size(&self, key: &str) -> Result<usize, String> {
        self.size_if(key)?.ok_or_else(|| format!("`{key}` is missing"))
    }

    pub(super) fn size_or(&self, key: &str, default: usize) -> Result<usize, String> {
        Ok(self.size_if(key)?.unwrap_or(default))
    }

    pub(super) fn number_if(&self, key: &str) -> Result<Option<f64>, String> {
        let read = |value: &Value| value.as_f64().ok_or_else(|| format!("`{key}` is {value}, not a number"));
        self.get(key).map(read).transpose()
    }

    pub(super) fn number_or(&self, key: &str, default: f64) -> Result<f64, String> {
        Ok(self.number_if(key)?.unwrap_or(default))
    }

    pub(super) fn flag_or(&self, key: &str, default: bool) -> Result<bool, String> {
        let read = |value: &Value| value.as_bool().ok_or_else(|| format!("`{key}` is {value}, not true or false"));
        self.get(key).map_or(Ok(default), read)
    }

    pub(super) fn text_if(&self, key: &str) -> Result<Option<&str>, String> {
        let read = |value: &'_ Value| format!("`{key}` is {value}, not text");
        self.get(key).map(|value| value.as_str().ok_or_else(|| read(value))).transpose()
    }

    /// Returns an object of the file; an empty one counts as missing.
    pub(super) fn object_if(&self, key: &str) -> Result<Option<Self>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok((!object.is_empty()).then(|| Self(object.clone()))),
            Some(value) => Err(format!("`{key}` is {value}, not an object")),
        }
    }

    pub(super) fn texts_if(&self, key: &str) -> Result<Option<Vec<&str>>, String> {
        let bad = |value: &Value| format!("`{key}` is {value}, not a list of words");
        let Some(value) = self.get(key) else { return Ok(None) };
        let list = value.as_array().ok_or_else(|| bad(value))?;
        list.iter().map(|item| item.as_str().ok_or_else(|| bad(value))).collect::<Result<_, _>>().map(Some)
    }

    pub(super) fn sizes_if(&self, key: &str) -> Result<Option<Vec<usize>>, String> {
        let bad = |value: &Value| format!("`{key}` is {value}, not a list of numbers of things");
        let Some(value) = self.get(key) else { return Ok(None) };
        let list = value.as_array().ok_or_else(|| bad(value))?;
        let read = |item: &Value| item.as_u64().and_then(|size| usize::try_from(size).ok());
        list.iter().map(|item| read(item).ok_or_else(|| bad(value))).collect::<Result<_, _>>().map(Some)
    }

    /// Returns how the weights are stored, if the file says so.
    pub(super) fn dtype(&self) -> Result<Option<Dtype>, String> {
        let name = match self.text_if("dtype")? {
            Some(name) => Some(name),
            None => self.text_if("torch_dtype")?,
        };
        match name.map(|name| name.strip_prefix("torch.").unwrap_or(name)) {
            None => Ok(None),
            Some("float32") => Ok(Some(Dtype::F32)),
            Some("float16") => Ok(Some(Dtype::F16)),
            Some("bfloat16") => Ok(Some(Dtype::BF16)),
            Some(other) => Err(format!("`dtype` is {other}, which is none of float32, float16 and bfloat16")),
        }
    }

    /// Returns the activation that a key names.
    pub(super) fn activation(&self, key: &str, default: Activation) -> Result<Activation, String> {
        match self.text_if(key)? {
            None => Ok(default),
            Some("silu" | "swish") => Ok(Activation::Silu),
            Some("gelu_pytorch_tanh" | "gelu_new") => Ok(Activation::GeluTanh),
            Some(other) => Err(format!("`{key}` is {other}; silu and gelu_pytorch_tanh can be run")),
        }
    }

    /// Fails if heads are turned in part.
    pub(super) fn whole_rotation(&self) -> Result<(), String> {
        match self.number_if("partial_rotary_factor")? {
            Some(part) if (part - 1.0).abs() > 0.0 => {
                Err(format!("`partial_rotary_factor` is {part}; heads that are turned in part cannot be run"))
            }
            _ => Ok(()),
        }
    }

    /// Fails if a key has another value than the one that is all that can be run.
    pub(super) fn only(&self, key: &str, value: &Value) -> Result<(), String> {
        match self.get(key) {
            Some(found) if found != value => Err(format!("`{key}` is {found}, which cannot be run")),
            _ => Ok(()),
        }
    }
}
