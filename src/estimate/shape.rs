//! What is to be known of a model to say what it costs: its sizes, from its `config.json`, whether it is here or only published.
//!
//! Published models are known by their name on the hub, from the same configurations that the tests compare with transformers
//! (`tests/fixtures/published`). A model that is in no list and not here is unknown, and so is all that it costs.

use std::path::Path;
use std::rc::Rc;

use serde_json::{Map, Value};

use crate::model::{
    Branches, Config, EarlyExit, Outline, ParameterKind, PassCosts, parameters_of, parameters_with_exits,
};
use crate::spec::params::{Exit, ExitHead, InitParams, LoraParams, SftParams, TargetModules, names_module};

/// Configurations of published models: `[{"name", "config"}]`.
const PUBLISHED: &str = include_str!("../../tests/fixtures/published/configs.json");

/// What the names of tunings of a published model end with, which have the shape of what they are made from.
const TUNED: [&str; 3] = ["-Instruct", "-Base", "-it"];

/// A matrix inside a layer.
#[derive(Debug, Clone, PartialEq)]
struct Matrix {
    module: String,
    rows: f64,
    columns: f64,
}

/// What is trained of a model whose backbone is frozen.
#[derive(Debug, Clone, PartialEq)]
pub struct Beside {
    /// Weights of exits and branches.
    pub parameters: f64,
    /// Those in matrices inside branches.
    pub inner: f64,
    /// Output layers of exits that are their own.
    pub own_heads: f64,
    /// The layers that only run forward.
    pub below: Rc<Shape>,
}

impl Beside {
    fn of(config: &Config, all: &Shape) -> Self {
        let backbone = Shape::of(&Config { early_exit: None, ..config.clone() });
        let exits = config.early_exit.as_ref().filter(|exits| exits.own_heads);
        Self {
            parameters: all.parameters - backbone.parameters,
            inner: all.inner() - backbone.inner(),
            own_heads: exits.map_or(0.0, |exits| exits.layers.len() as f64),
            below: Rc::new(Shape::of(&config.below_branches())),
        }
    }
}

/// The sizes of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// All weights.
    pub parameters: f64,
    /// Those of embeddings and of the output layer.
    pub tables: f64,
    /// What passes cost.
    pub costs: PassCosts,
    /// Bytes of a weight in its files.
    pub stored: f64,
    /// Number of layers.
    pub layers: f64,
    /// Width of the residual stream.
    pub hidden: f64,
    /// Width of the feed-forward layer.
    pub intermediate: f64,
    /// Numbers in the keys of a token in a layer with attention; values have as many.
    pub keys: f64,
    /// Query heads.
    pub heads: f64,
    /// Number of tokens there are.
    pub vocabulary: f64,
    /// Output layers that a training goes through: the last, and those of the exits that it trains.
    pub ends: f64,
    /// Weights of these exits, which are among all.
    pub of_exits: f64,
    /// What is trained, if that is exits and branches alone.
    pub beside: Option<Beside>,
    /// Layers that a token goes through; a branch is asked once a block of tokens.
    pub passed: f64,
    matrices: Vec<Matrix>,
    /// What all of it follows from.
    config: Rc<Config>,
}

impl Shape {
    /// Returns the sizes that a configuration gives.
    pub fn of(config: &Config) -> Self {
        Self::with(config, &parameters_of(config))
    }

    /// Returns the sizes of the model as a training has it: with the exits and branches that it is to train; without those it has
    /// where none are asked for, while branches belong to it. Nothing if the model has no such layers.
    pub fn in_training(&self, params: &SftParams) -> Option<Self> {
        let config = self.config_after(params)?;
        let exits = config.early_exit.as_ref().map_or(0, |exits| exits.layers.len()) as f64;
        let plain = Self::of(&config);
        let all = Self::with(&config, &parameters_with_exits(&config));
        let of_exits = all.parameters - plain.parameters;
        let frozen = params.early_exit.as_ref().is_some_and(|exits| exits.freeze_backbone);
        let beside = frozen.then(|| Beside::of(&config, &all));
        Some(Self { ends: 1.0 + exits, of_exits, beside, stored: self.stored, ..all })
    }

    /// Returns the sizes of the model that a training gives, asked at its last layer.
    pub fn trained(&self, params: &SftParams) -> Option<Self> {
        Some(Self { stored: self.stored, ..Self::of(&self.config_after(params)?) })
    }

    /// Returns the sizes of the model that stops at an exit; nothing if it has none there.
    pub fn at_exit(&self, exit: Option<Exit>) -> Option<Self> {
        let Some(layers) = exit.and_then(Exit::layers) else { return Some(self.clone()) };
        Some(Self { stored: self.stored, ..Self::of(&self.config.at_exit(Some(layers)).ok()?) })
    }

    fn config_after(&self, params: &SftParams) -> Option<Config> {
        let mut config = (*self.config).clone();
        match &params.early_exit {
            Some(exits) => {
                let branches = exits.branches.as_ref();
                let branches = branches.map(|of| Branches { layers: of.layers.clone(), factor: of.factor });
                let own_heads = exits.head == ExitHead::Own;
                let wanted = EarlyExit { layers: exits.layers.clone(), own_heads, branches };
                wanted.check(config.layers.len()).ok()?;
                config.early_exit = Some(wanted);
            }
            None => config.early_exit.iter_mut().for_each(|exits| exits.layers.clear()),
        }
        Some(config)
    }

    fn with(config: &Config, outlines: &[Outline]) -> Self {
        let count = |kind: Option<ParameterKind>| -> f64 {
            let of_kind = outlines.iter().filter(|outline| kind.is_none_or(|kind| outline.kind == kind));
            of_kind.flat_map(|outline| &outline.parts).map(|part| part.count() as f64).sum()
        };
        let matrices = outlines.iter().filter(|outline| outline.kind == ParameterKind::Matrix);
        let branches = config.early_exit.as_ref().and_then(|exits| exits.branches.as_ref());
        let of_branches = branches.map_or(0.0, |of| of.layers.len() as f64 / of.factor as f64);
        let matrix = |part: &crate::model::Part| Matrix {
            module: part.name.trim_end_matches(".weight").to_owned(),
            rows: part.shape[0] as f64,
            columns: part.shape[1..].iter().product::<usize>() as f64,
        };
        Self {
            parameters: count(None),
            tables: count(Some(ParameterKind::Table)),
            passed: config.num_hidden_layers as f64 + of_branches,
            ends: 1.0,
            of_exits: 0.0,
            beside: None,
            costs: PassCosts::of(config),
            stored: config.dtype.size() as f64,
            layers: config.num_hidden_layers as f64,
            hidden: config.hidden_size as f64,
            intermediate: config.intermediate_size as f64,
            keys: (config.num_key_value_heads * config.head_dim) as f64,
            heads: config.num_attention_heads as f64,
            vocabulary: config.vocab_size as f64,
            matrices: matrices.flat_map(|outline| &outline.parts).map(matrix).collect(),
            config: Rc::new(config.clone()),
        }
    }

    /// Returns how many weights stand in matrices inside layers and branches.
    pub fn inner(&self) -> f64 {
        self.matrices.iter().map(|matrix| matrix.rows * matrix.columns).sum()
    }

    /// Returns the sizes that the keys of a `config.json` give, for weights that are stored in so many bytes.
    pub fn of_keys(keys: Map<String, Value>, stored: f64) -> Option<Self> {
        Config::from_keys(keys).ok().map(|config| Self { stored, ..Self::of(&config) })
    }

    /// Reads the sizes of a model in a folder; nothing if there is none that can be read.
    pub fn of_folder(folder: &Path) -> Option<Self> {
        Config::load(folder).ok().map(|config| Self::of(&config))
    }

    /// Returns the sizes of the model at an address on the hub, `hf://OWNER/NAME`, if one of that name was published.
    pub fn published(address: &str) -> Option<Self> {
        let place = address.strip_prefix("hf://")?;
        let name = place.split('/').nth(1)?.split('@').next()?;
        let models: Vec<Value> = serde_json::from_str(PUBLISHED).ok()?;
        let find = |name: &str| models.iter().find(|model| model["name"] == name)?["config"].as_object().cloned();
        let plain = TUNED.iter().find_map(|end| name.strip_suffix(end));
        let tuned = || TUNED.iter().find_map(|end| find(&format!("{}{end}", plain.unwrap_or(name))));
        let keys = find(name).or_else(|| find(plain?)).or_else(tuned)?;
        Config::from_keys(keys).ok().map(|config| Self::of(&config))
    }

    /// Returns the sizes of a model that is made anew for a tokenizer with so many tokens.
    pub fn made(params: &InitParams, vocabulary: f64) -> Option<Self> {
        let mut keys: Map<String, Value> = serde_json::to_value(&params.config).ok()?.as_object()?.clone();
        let word = serde_json::to_value(params.architecture).ok()?;
        let word = if word == "gemma3" { "gemma3_text".into() } else { word };
        keys.insert("model_type".into(), word);
        keys.insert("vocab_size".into(), (vocabulary as u64).into());
        keys.insert("torch_dtype".into(), "float32".into());
        Config::from_keys(keys).ok().map(|config| Self::of(&config))
    }

    /// Returns the bytes of its files.
    pub fn bytes(&self) -> f64 {
        self.parameters * self.stored
    }

    /// Returns how many weights an adapter has.
    pub fn adapter(&self, lora: &LoraParams) -> f64 {
        let chosen = |matrix: &&Matrix| match &lora.target_modules {
            TargetModules::AllLinear => true,
            TargetModules::Named(names) => names.iter().any(|name| names_module(name, &matrix.module)),
        };
        let lengths = if lora.use_dora { 1.0 } else { 0.0 };
        let of = |matrix: &Matrix| lora.r as f64 * (matrix.rows + matrix.columns) + lengths * matrix.rows;
        self.matrices.iter().filter(chosen).map(of).sum()
    }

    /// Returns how many keys and values a token leaves, over all layers.
    pub fn kept_a_token(&self) -> f64 {
        let (branches, factor) = self.costs.branches;
        2.0 * self.keys * (self.costs.windows.len() as f64 + branches as f64 / factor as f64)
    }

    /// Returns how many pairs of tokens see each other, over all layers, in so many texts of this length. Without the lengths
    /// themselves they are taken to spread like an exponential distribution, whose squares are twice the square of the mean.
    pub fn pairs(&self, texts: f64, mean: f64) -> f64 {
        let of_layer = |window: &Option<usize>| {
            let seen = window.map_or(mean, |window| mean.min(window as f64));
            texts * mean * seen
        };
        // A branch has blocks for tokens.
        let (branches, factor) = self.costs.branches;
        let of_branches = branches as f64 * texts * (mean / factor as f64).powi(2);
        self.costs.windows.iter().map(of_layer).sum::<f64>() + of_branches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_models_have_as_many_weights_as_their_makers_count() {
        for (address, parameters) in [
            ("hf://Qwen/Qwen3-0.6B", 596_049_920.0),
            ("hf://Qwen/Qwen3-1.7B", 1_720_574_976.0),
            ("hf://LiquidAI/LFM2-350M", 354_483_968.0),
            ("hf://LiquidAI/LFM2-700M@main", 742_489_344.0),
            ("hf://LiquidAI/LFM2-1.2B", 1_170_340_608.0),
            ("hf://HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008.0),
            ("hf://Qwen/Qwen2.5-0.5B-Instruct", 494_032_768.0),
            ("hf://meta-llama/Llama-3.2-1B-Instruct", 1_235_814_400.0),
        ] {
            assert_eq!(Shape::published(address).map(|shape| shape.parameters), Some(parameters), "{address}");
        }
        assert!(Shape::published("hf://somebody/else").is_none() && Shape::published("models/base").is_none());
    }

    /// 6·N·tokens is what the operations come to where texts are short: here with its share of attention apart.
    #[test]
    fn a_training_pass_takes_six_operations_a_weight_and_token() {
        let shape = Shape::published("hf://Qwen/Qwen3-0.6B").unwrap();
        let flops = shape.costs.training(1e6, 1e6, 0.0, None);
        assert!((flops / (6.0 * shape.parameters * 1e6) - 1.0).abs() < 1e-3, "{flops}");
        // PEFT counts 10,092,544 weights for rank 16 beside all linear layers of this model.
        let lora: LoraParams = serde_json::from_str("{}").unwrap();
        assert!((shape.adapter(&lora) - 10_092_544.0).abs() < 0.5);
    }
}
