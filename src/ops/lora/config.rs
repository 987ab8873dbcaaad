//! `adapter_config.json`: what PEFT says about an adapter, and what of it changes numbers.
//!
//! PEFT has many variants of LoRA, and new ones come with every release. Those known here are computed; a field that is
//! not known, and that says anything (it is not null, false or empty), is refused by name: a guess would give a model
//! that looks right.

use std::path::Path;

use serde_json::{Map, Value};

use super::OpError;
use crate::data::Pattern;

/// The name of the file.
pub(super) const CONFIG: &str = "adapter_config.json";

/// Fields that decide how an adapter is trained, found or initialised, and not what it adds.
const HARMLESS: &[&str] = &[
    "auto_mapping",
    "base_model_class",
    "base_model_name_or_path",
    "bias",
    "eva_config",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "modules_to_save",
    "monteclora_config",
    "parent_library",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
    "velora_config",
];

/// Fields that are read below.
const READ: &[&str] = &[
    "alpha_pattern",
    "ensure_weight_tying",
    "exclude_modules",
    "fan_in_fan_out",
    "init_lora_weights",
    "lora_alpha",
    "lora_bias",
    "peft_type",
    "r",
    "rank_pattern",
    "target_modules",
    "use_dora",
    "use_rslora",
];

/// Ways to begin training that leave the base as it was. The others (PiSSA, OLoRA, CorDA, …) change the base when the
/// adapter is loaded.
const PLAIN_STARTS: &[&str] = &["gaussian", "eva", "orthogonal"];

/// What is said about an adapter.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are the flags of the file")]
pub(super) struct AdapterConfig {
    rank: u64,
    alpha: f64,
    rank_patterns: Vec<(Pattern, f64)>,
    alpha_patterns: Vec<(Pattern, f64)>,
    stabilised: bool,
    pub(super) dora: bool,
    pub(super) transposed: bool,
    pub(super) lora_bias: bool,
    /// Whether a tied output layer follows the embedding.
    pub(super) keeps_tied: bool,
    targets: Option<Modules>,
    excluded: Option<Modules>,
}

/// A choice of modules: names, or one pattern.
#[derive(Debug)]
enum Modules {
    Named(Vec<String>),
    Matching(Pattern),
    All,
}

impl AdapterConfig {
    /// Reads the file in an adapter's folder.
    pub(super) fn read(dir: &Path) -> Result<Self, OpError> {
        let path = dir.join(CONFIG);
        if !path.is_file() {
            let help =
                "an adapter is a folder with adapter_config.json and adapter_model.safetensors, as PEFT writes it";
            return Err(OpError::new(format!("{} holds no {CONFIG}", dir.display())).help(help));
        }
        let value: Value = serde_json::from_slice(&fs_err::read(&path)?).map_err(|error| OpError::io(&path, error))?;
        let fields = value.as_object().ok_or_else(|| OpError::new(format!("{} is not an object", path.display())))?;
        Self::of(fields).map_err(|error| OpError::new(format!("{}: {error}", path.display())))
    }

    fn of(fields: &Map<String, Value>) -> Result<Self, String> {
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        match text("peft_type") {
            Some("LORA") => {}
            Some(other) => return Err(format!("the adapter is of type `{other}`, and only `LORA` can be applied")),
            None => return Err("it does not say its `peft_type`".into()),
        }
        let unknown: Vec<String> = fields
            .iter()
            .filter(|(name, value)| !HARMLESS.contains(&name.as_str()) && !READ.contains(&name.as_str()) && says(value))
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        if !unknown.is_empty() {
            return Err(format!("{} may change what the adapter adds, and cannot be applied", unknown.join(", ")));
        }
        match fields.get("init_lora_weights") {
            Some(Value::String(start)) if !PLAIN_STARTS.contains(&start.as_str()) => {
                return Err(format!(
                    "an adapter that begins as `{start}` changes its base when it is loaded; save it as a plain one \
                     first (PEFT: `path_initial_model_for_weight_conversion`)"
                ));
            }
            _ => {}
        }
        let flag = |name: &str| match fields.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(format!("`{name}` is {other}, neither true nor false")),
        };
        let rank = fields.get("r").and_then(Value::as_u64).filter(|rank| *rank > 0);
        let rank = rank.ok_or_else(|| format!("the rank `r` is {}", shown(fields.get("r"))))?;
        let alpha = fields.get("lora_alpha").and_then(Value::as_f64).filter(|alpha| alpha.is_finite());
        Ok(Self {
            rank,
            alpha: alpha.ok_or_else(|| format!("`lora_alpha` is {}", shown(fields.get("lora_alpha"))))?,
            rank_patterns: patterns(fields, "rank_pattern")?,
            alpha_patterns: patterns(fields, "alpha_pattern")?,
            stabilised: flag("use_rslora")?,
            dora: flag("use_dora")?,
            transposed: flag("fan_in_fan_out")?,
            lora_bias: flag("lora_bias")?,
            keeps_tied: flag("ensure_weight_tying")?,
            targets: modules(fields, "target_modules")?,
            excluded: modules(fields, "exclude_modules")?,
        })
    }

    /// Returns the rank that a module should have.
    pub(super) fn rank(&self, module: &str) -> u64 {
        first(&self.rank_patterns, module).map_or(self.rank, |rank| rank as u64)
    }

    /// Returns what the product of a module's matrices is multiplied by.
    pub(super) fn scale(&self, module: &str) -> f32 {
        let rank = self.rank(module) as f64;
        let alpha = first(&self.alpha_patterns, module).unwrap_or(self.alpha);
        (alpha / if self.stabilised { rank.sqrt() } else { rank }) as f32
    }

    /// Returns whether PEFT would give this module matrices at all.
    pub(super) fn targets(&self, module: &str) -> bool {
        let chosen = self.targets.as_ref().is_none_or(|targets| targets.hold(module));
        chosen && !self.excluded.as_ref().is_some_and(|excluded| excluded.hold(module))
    }
}

impl Modules {
    fn hold(&self, module: &str) -> bool {
        match self {
            Modules::Named(names) => names.iter().any(|name| {
                module.strip_suffix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }),
            Modules::Matching(pattern) => pattern.is_in(module),
            Modules::All => true,
        }
    }
}

fn first(patterns: &[(Pattern, f64)], module: &str) -> Option<f64> {
    patterns.iter().find(|(pattern, _)| pattern.is_in(module)).map(|(_, value)| *value)
}

/// Returns whether a field says anything.
fn says(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "missing".to_owned(), Value::to_string)
}

fn patterns(fields: &Map<String, Value>, name: &str) -> Result<Vec<(Pattern, f64)>, String> {
    let Some(value) = fields.get(name).filter(|value| says(value)) else { return Ok(Vec::new()) };
    let entries = value.as_object().ok_or_else(|| format!("`{name}` is not an object"))?;
    let entry = |(key, value): (&String, &Value)| {
        let pattern = Pattern::new(key).and_then(|_| Pattern::whole(&format!(r"(?:.*\.)?(?:{key})")));
        let pattern = pattern.map_err(|error| format!("`{name}`: `{key}`: {error}"))?;
        let number = value.as_f64().filter(|number| number.is_finite());
        let number = number.filter(|number| name != "rank_pattern" || (*number >= 1.0 && number.fract() == 0.0));
        Ok((pattern, number.ok_or_else(|| format!("`{name}`: `{key}` is {value}"))?))
    };
    entries.iter().map(entry).collect()
}

fn modules(fields: &Map<String, Value>, name: &str) -> Result<Option<Modules>, String> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text == "all-linear" => Ok(Some(Modules::All)),
        Some(Value::String(text)) => {
            let pattern = Pattern::whole(text).map_err(|error| format!("`{name}`: {error}"))?;
            Ok(Some(Modules::Matching(pattern)))
        }
        Some(Value::Array(items)) => {
            let names = items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<_>>();
            Ok(Some(Modules::Named(names.ok_or_else(|| format!("`{name}` is not a list of names"))?)))
        }
        Some(other) => Err(format!("`{name}` is {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(value: &Value) -> Result<AdapterConfig, String> {
        AdapterConfig::of(value.as_object().unwrap())
    }

    #[test]
    fn ranks_and_scales_follow_the_first_pattern_that_matches() {
        let config = of(&json!({
            "peft_type": "LORA", "r": 8, "lora_alpha": 16, "use_rslora": true,
            "rank_pattern": {r"layers\.0\..*q_proj": 4, "q_proj": 2}, "alpha_pattern": {"^model.x": 3, "v_proj": 4},
            "target_modules": ["q_proj", "mlp.up"], "exclude_modules": "model.x",
        }))
        .unwrap();
        assert_eq!((config.rank("model.layers.0.self_attn.q_proj"), config.rank("model.layers.1.q_proj")), (4, 2));
        assert_eq!((config.rank("vq_proj"), config.rank("q_proj")), (8, 2));
        assert!((config.scale("a.v_proj") - 4.0 / 8.0_f32.sqrt()).abs() < 1e-7);
        assert!(config.targets("a.q_proj") && config.targets("b.mlp.up") && !config.targets("b.up"));
        assert!(!config.targets("model.x") && !config.targets("xq_proj"));
    }

    #[test]
    fn what_may_change_numbers_is_refused_by_name() {
        let with = |name: &str, value: Value| {
            let mut config = json!({"peft_type": "LORA", "r": 8, "lora_alpha": 16});
            config[name] = value;
            of(&config).map(|_| ())
        };
        for harmless in ["use_qalora", "layer_replication", "a_new_field"] {
            assert_eq!(with(harmless, Value::Null), Ok(()));
            assert_eq!(with(harmless, json!([])), Ok(()));
            assert!(with(harmless, json!(true)).unwrap_err().contains(harmless));
        }
        assert!(with("init_lora_weights", json!("pissa_niter_4")).unwrap_err().contains("pissa_niter_4"));
        assert_eq!(with("init_lora_weights", json!("gaussian")), Ok(()));
        assert!(with("peft_type", json!("LOHA")).unwrap_err().contains("LOHA"));
        assert!(with("r", json!(0)).unwrap_err().contains("`r` is 0"));
        assert!(with("rank_pattern", json!({"x": 0})).unwrap_err().contains("`x` is 0"));
        assert!(with("rank_pattern", json!({"(": 1})).unwrap_err().contains('('));
        assert!(with("use_dora", json!("yes")).unwrap_err().contains("use_dora"));
        assert!(with("lora_alpha", json!(null)).unwrap_err().contains("lora_alpha"));
    }
}
