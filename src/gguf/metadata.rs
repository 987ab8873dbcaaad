//! A model's sizes and constants as settings of a GGUF file, to and from [`Shape`].
//!
//! Settings that change what the model computes are carried over or refused. So are those with a name that is not known:
//! a new kind of scaling that nobody looks at would give a model that runs and is quietly wrong.

use super::error::GgufError;
use super::file::GgufFile;
use super::layout::ROPE_DIVISORS;
use super::shape::{Biases, Family, Rope, Shape, check_layers, same};
use super::value::Value;
use super::writer::{Settings, Written};

const ARCHITECTURE: &str = "general.architecture";

/// The settings below the name of the architecture that are understood, or say nothing about what is computed.
const KNOWN: [&str; 24] = [
    "attention.causal",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "expert_count",
    "expert_used_count",
    "feed_forward_length",
    "final_logit_softcapping",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.scale_linear",
    "rope.scaling.factor",
    "rope.scaling.finetuned",
    "rope.scaling.type",
    "shortconv.l_cache",
    "tensor_data_layout",
    "vocab_size",
];

/// Reads settings below the name of the architecture.
struct Reader<'a> {
    file: &'a GgufFile,
    family: Family,
}

/// Reads the sizes and constants of a file.
pub(super) fn read(file: &GgufFile) -> Result<Shape, GgufError> {
    let missing = |key: &str| GgufError::setting(file.path(), key, "is missing");
    let name = file.text(ARCHITECTURE)?.ok_or_else(|| missing(ARCHITECTURE))?;
    let family = Family::ALL.into_iter().find(|family| family.architecture() == name).ok_or_else(|| {
        let known: Vec<_> = Family::ALL.iter().map(|family| family.architecture()).collect();
        let reason = format!("is `{name}`; only {} can be read", known.join(", "));
        GgufError::setting(file.path(), ARCHITECTURE, reason)
    })?;
    let reader = Reader { file, family };
    reader.refuse_strangers()?;
    let shape = reader.shape()?;
    shape.check().map_err(|reason| GgufError::format(file.path(), reason))?;
    Ok(shape)
}

impl Reader<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.family.architecture())
    }

    fn bad(&self, name: &str, reason: impl Into<String>) -> GgufError {
        GgufError::setting(self.file.path(), &self.key(name), reason)
    }

    fn size(&self, name: &str) -> Result<Option<usize>, GgufError> {
        self.file.size(&self.key(name))
    }

    fn needed(&self, name: &str) -> Result<usize, GgufError> {
        self.size(name)?.ok_or_else(|| self.bad(name, "is missing"))
    }

    fn number(&self, name: &str) -> Result<Option<f64>, GgufError> {
        self.file.number(&self.key(name))
    }

    fn refuse_strangers(&self) -> Result<(), GgufError> {
        let prefix = format!("{}.", self.family.architecture());
        let unknown =
            self.file.settings().find(|key| key.strip_prefix(&prefix).is_some_and(|name| !KNOWN.contains(&name)));
        if let Some(key) = unknown {
            return Err(GgufError::setting(self.file.path(), key, "is not known, and may change what is computed"));
        }
        if self.size("expert_count")?.is_some_and(|count| count > 0) {
            return Err(self.bad("expert_count", "is not zero; mixtures of experts cannot be read"));
        }
        if self.file.truth(&self.key("attention.causal"))? == Some(false) {
            return Err(self.bad("attention.causal", "is false; only models that generate text can be read"));
        }
        let window = self.size("attention.sliding_window")?.is_some_and(|window| window > 0);
        if window && self.family != Family::Gemma3 {
            return Err(self.bad("attention.sliding_window", "is set, which only gemma3 can have"));
        }
        Ok(())
    }

    fn shape(&self) -> Result<Shape, GgufError> {
        let layers = self.needed("block_count")?;
        check_layers(layers).map_err(|reason| self.bad("block_count", format!("cannot be: {reason}")))?;
        let (hidden, heads) = (self.needed("embedding_length")?, self.uniform("attention.head_count", layers)?);
        let heads = heads.ok_or_else(|| self.bad("attention.head_count", "is missing"))?;
        let (shared_heads, attends) = self.shared_heads(layers, heads)?;
        let head_width = self.head_width(hidden, heads)?;
        let theta = self.number("rope.freq_base")?.unwrap_or(10_000.0);
        let gemma = self.family == Family::Gemma3;
        let window = if gemma { Some(self.needed("attention.sliding_window")?) } else { None };
        let tied = self.file.tensor("output.weight").is_none();
        let epsilon = self.number("attention.layer_norm_rms_epsilon")?;
        Ok(Shape {
            family: self.family,
            vocab: self.vocabulary()?,
            hidden,
            intermediate: self
                .uniform("feed_forward_length", layers)?
                .ok_or_else(|| self.bad("feed_forward_length", "is missing"))?,
            layers,
            heads,
            shared_heads,
            head_width,
            positions: self.needed("context_length")?,
            theta,
            epsilon: epsilon.ok_or_else(|| self.bad("attention.layer_norm_rms_epsilon", "is missing"))?,
            rope: self.rope(theta, head_width)?,
            tied,
            biases: self.biases(&attends)?,
            attends,
            convolution: if self.family == Family::Lfm2 { self.needed("shortconv.l_cache")? } else { 0 },
            window,
            window_theta: self.number("rope.freq_base_swa")?.unwrap_or(10_000.0),
            logit_cap: self.number("final_logit_softcapping")?.filter(|_| gemma),
        })
    }

    /// Returns the number of rows of the embedding.
    fn vocabulary(&self) -> Result<usize, GgufError> {
        match self.file.tensor("token_embd.weight") {
            Some((_, [rows, _])) => Ok(*rows),
            Some(_) => Err(GgufError::tensor(self.file.path(), "token_embd.weight", "it is no matrix")),
            None => Err(GgufError::tensor(self.file.path(), "token_embd.weight", "it is missing")),
        }
    }

    /// Returns a size that may be given once or for every layer.
    fn per_layer(&self, name: &str, layers: usize) -> Result<Option<Vec<usize>>, GgufError> {
        match self.file.setting(&self.key(name)) {
            Some(Value::Array { .. }) => {}
            _ => return Ok(self.size(name)?.map(|size| vec![size; layers])),
        }
        let items = self.file.numbers(&self.key(name))?.unwrap_or_default();
        let sizes: Option<Vec<usize>> = items.iter().map(Value::as_usize).collect();
        let sizes = sizes.ok_or_else(|| self.bad(name, "holds something else than sizes"))?;
        if sizes.len() != layers {
            return Err(self.bad(name, format!("has {} entries for {layers} layers", sizes.len())));
        }
        Ok(Some(sizes))
    }

    /// Returns a size that must be the same in every layer.
    fn uniform(&self, name: &str, layers: usize) -> Result<Option<usize>, GgufError> {
        let Some(sizes) = self.per_layer(name, layers)? else { return Ok(None) };
        if sizes.iter().any(|size| *size != sizes[0]) {
            return Err(self.bad(name, "differs from layer to layer, which cannot be read"));
        }
        Ok(Some(sizes[0]))
    }

    /// Returns the number of key and value heads, and which layers attend at all.
    fn shared_heads(&self, layers: usize, heads: usize) -> Result<(usize, Vec<bool>), GgufError> {
        const NAME: &str = "attention.head_count_kv";
        if self.family != Family::Lfm2 {
            return Ok((self.uniform(NAME, layers)?.unwrap_or(heads), vec![true; layers]));
        }
        let sizes = self.per_layer(NAME, layers)?.ok_or_else(|| self.bad(NAME, "is missing"))?;
        let attends: Vec<bool> = sizes.iter().map(|size| *size > 0).collect();
        let shared = sizes.iter().copied().max().unwrap_or(0);
        if sizes.iter().any(|size| *size > 0 && *size != shared) {
            return Err(self.bad(NAME, "differs between layers that attend, which cannot be read"));
        }
        Ok((shared, attends))
    }

    fn head_width(&self, hidden: usize, heads: usize) -> Result<usize, GgufError> {
        let usual = hidden.checked_div(heads).unwrap_or(0);
        let width = self.size("attention.key_length")?.unwrap_or(usual);
        for name in ["attention.value_length", "rope.dimension_count"] {
            let other = self.size(name)?.unwrap_or(width);
            if other != width {
                return Err(self.bad(name, format!("is {other}, and a head is {width} wide")));
            }
        }
        Ok(width)
    }

    fn rope(&self, theta: f64, head_width: usize) -> Result<Rope, GgufError> {
        let factor = match self.number("rope.scaling.factor")? {
            Some(factor) => Some(factor),
            None => self.number("rope.scale_linear")?,
        };
        let kind = self.file.text(&self.key("rope.scaling.type"))?;
        let linear = match kind {
            Some("none") => Rope::Plain,
            None | Some("linear") => match factor.unwrap_or(1.0) {
                factor if same(factor, 1.0) || same(factor, 0.0) => Rope::Plain,
                factor => Rope::Linear(factor),
            },
            Some(other) => {
                return Err(self.bad("rope.scaling.type", format!("is `{other}`; only none and linear can be read")));
            }
        };
        let Some(place) = self.file.place(ROPE_DIVISORS) else { return Ok(linear) };
        let bad = |reason: &str| GgufError::tensor(self.file.path(), ROPE_DIVISORS, reason);
        if self.family != Family::Llama || linear != Rope::Plain || place.shape != [head_width / 2] {
            return Err(bad("it stretches the rotary embedding in a way that is not known"));
        }
        let mut divisors = vec![0.0; place.row()];
        place
            .block
            .decode(self.file.numbers_of(place, 0, place.row()), &mut divisors)
            .map_err(|reason| bad(&reason))?;
        let rope = Rope::from_divisors(&divisors, theta, head_width);
        rope.ok_or_else(|| bad("it stretches the rotary embedding otherwise than Llama 3.1, 3.2 and 3.3 do"))
    }

    fn biases(&self, attends: &[bool]) -> Result<Biases, GgufError> {
        let first = attends.iter().position(|attends| *attends).unwrap_or(0);
        let has = |part: &str| self.file.tensor(&format!("blk.{first}.{part}.bias")).is_some();
        let biases = Biases { inward: has("attn_q"), outward: has("attn_output"), feed_forward: has("ffn_gate") };
        check_biases(self.family, biases).map_err(|reason| GgufError::format(self.file.path(), reason))?;
        Ok(biases)
    }
}

/// Fails for biases that `config.json` has no word for.
pub(super) fn check_biases(family: Family, biases: Biases) -> Result<(), String> {
    let known = match family {
        Family::Llama => biases.inward == biases.outward,
        Family::Qwen2 => biases.inward && !biases.outward && !biases.feed_forward,
        Family::Qwen3 | Family::Lfm2 | Family::Gemma3 => biases == Biases::default(),
    };
    let name = family.architecture();
    if known { Ok(()) } else { Err(format!("its projections have other biases than a {name} model can have")) }
}

/// Returns the settings of a model.
pub(super) fn write(shape: &Shape) -> Settings {
    let family = shape.family;
    let mut settings: Settings = Vec::new();
    let mut add = |name: &str, value: Written| settings.push((format!("{}.{name}", family.architecture()), value));
    let size = |number: usize| Written::U32(number as u32);
    add("block_count", size(shape.layers));
    add("context_length", size(shape.positions));
    add("embedding_length", size(shape.hidden));
    add("feed_forward_length", size(shape.intermediate));
    add("attention.head_count", size(shape.heads));
    if family == Family::Lfm2 {
        let heads = |attends: &bool| if *attends { shape.shared_heads as i32 } else { 0 };
        add("attention.head_count_kv", Written::I32s(shape.attends.iter().map(heads).collect()));
        add("shortconv.l_cache", size(shape.convolution));
    } else {
        add("attention.head_count_kv", size(shape.shared_heads));
        add("attention.key_length", size(shape.head_width));
        add("attention.value_length", size(shape.head_width));
    }
    add("attention.layer_norm_rms_epsilon", Written::F32(shape.epsilon as f32));
    add("rope.freq_base", Written::F32(shape.theta as f32));
    if let Rope::Linear(factor) = shape.rope {
        add("rope.scaling.type", Written::Text("linear".into()));
        add("rope.scaling.factor", Written::F32(factor as f32));
    }
    if family == Family::Llama {
        add("rope.dimension_count", size(shape.head_width));
    }
    if let Some(window) = shape.window {
        add("attention.sliding_window", size(window));
    }
    if let Some(cap) = shape.logit_cap {
        add("final_logit_softcapping", Written::F32(cap as f32));
    }
    add("vocab_size", size(shape.vocab));
    settings
}
