//! The architectures that a mixture of experts can have: what each is made from, and what its `config.json` says.
//!
//! The base's configuration is edited and not written anew, so that nothing a library does not know is lost. Where the
//! defaults of the two architectures differ and the base leaves a number out, it is written down.

use serde_json::{Map, Value, json};

use super::super::OpError;
use crate::spec::params::{GateMode, MoeLayout, MoeParams};
use crate::tensor::Dtype;

/// An architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Mixtral,
    Deepseek,
    Qwen2,
    Qwen3,
}

/// All of them, in the order in which they are tried.
const ALL: [Family; 4] = [Family::Mixtral, Family::Deepseek, Family::Qwen2, Family::Qwen3];

/// What architectures of dense models assume when their configuration does not say: heads of keys and values, and the
/// width of a head.
const DEFAULTS: [(&str, Option<u64>, Option<u64>); 4] =
    [("llama", None, None), ("mistral", Some(8), None), ("qwen2", Some(32), None), ("qwen3", Some(32), Some(128))];

impl Family {
    /// Chooses the architecture for models of these types, the base's first.
    pub(super) fn choose(params: &MoeParams, types: &[&str]) -> Result<Self, OpError> {
        let asked = params.architecture.as_ref().map(|name| name.to_lowercase());
        let named =
            |family: &&Family| asked.as_ref().is_none_or(|asked| family.name().to_lowercase().starts_with(asked));
        let candidates: Vec<Family> = ALL.iter().filter(named).copied().collect();
        if candidates.is_empty() {
            let known: Vec<&str> = ALL.iter().map(|family| family.name()).collect();
            let message = format!("there is no architecture `{}`", params.architecture.as_deref().unwrap_or(""));
            return Err(OpError::new(message).help(format!("there are {}", known.join(", "))));
        }
        let mut reasons = Vec::new();
        for family in candidates {
            match family.refuses(params, types) {
                None => return Ok(family),
                Some(reason) => reasons.push(format!("{}: {reason}", family.name())),
            }
        }
        Err(OpError::new(format!("no mixture of experts can be made of these models:\n  {}", reasons.join("\n  "))))
    }

    /// Returns what the architecture is called.
    pub(super) fn name(self) -> &'static str {
        match self {
            Family::Mixtral => "Mixtral",
            Family::Deepseek => "DeepSeek MoE",
            Family::Qwen2 => "Qwen MoE",
            Family::Qwen3 => "Qwen3 MoE",
        }
    }

    fn sources(self) -> &'static [&'static str] {
        match self {
            Family::Mixtral | Family::Deepseek => &["llama", "mistral"],
            Family::Qwen2 => &["llama", "mistral", "qwen2"],
            Family::Qwen3 => &["qwen3"],
        }
    }

    /// Returns why the architecture cannot be had, if it cannot.
    fn refuses(self, params: &MoeParams, types: &[&str]) -> Option<String> {
        let sources = self.sources();
        if let Some(other) = types.iter().find(|kind| !sources.contains(kind)) {
            return Some(format!("it is made from {} models, and one is `{other}`", sources.join(" or ")));
        }
        if let Some(other) = types.iter().find(|kind| **kind != types[0]) {
            return Some(format!("all models must be of one architecture, and there are `{}` and `{other}`", types[0]));
        }
        let shared = &params.shared_experts;
        let prompts =
            shared.iter().any(|expert| !expert.positive_prompts.is_empty() || !expert.negative_prompts.is_empty());
        match self {
            Family::Mixtral | Family::Qwen3 if !shared.is_empty() => Some("it has no shared experts".into()),
            Family::Deepseek if shared.len() > 1 => Some("it has at most one shared expert".into()),
            Family::Deepseek if prompts => Some("its shared expert takes all tokens, and no prompts".into()),
            Family::Deepseek if params.layout == Some(MoeLayout::Packed) => Some("its experts are not packed".into()),
            Family::Qwen2 if shared.len() != 1 => Some("it has exactly one shared expert".into()),
            Family::Qwen2 if params.gate_mode.reads_prompts() && shared[0].positive_prompts.is_empty() => {
                Some("its shared expert needs prompts".into())
            }
            _ => None,
        }
    }

    /// Returns whether the shared expert has a router of its own.
    pub(super) fn routes_shared(self) -> bool {
        self == Family::Qwen2
    }

    /// Returns how many routers are drawn or computed: MergeKit draws for shared experts, too, even where none is stored.
    pub(super) fn routers(self, params: &MoeParams) -> usize {
        let random = matches!(params.gate_mode, GateMode::Random | GateMode::UniformRandom);
        params.experts.len() + if random || self.routes_shared() { params.shared_experts.len() } else { 0 }
    }

    /// Returns how experts are stored.
    pub(super) fn layout(self, asked: Option<MoeLayout>) -> MoeLayout {
        let packed = matches!(self, Family::Mixtral | Family::Qwen3);
        asked.unwrap_or(if packed { MoeLayout::Packed } else { MoeLayout::Separate })
    }

    /// Returns whether a tensor of the base, outside of feed-forward layers, has a place.
    pub(super) fn holds(self, name: &str) -> bool {
        if matches!(name, "model.embed_tokens.weight" | "model.norm.weight" | "lm_head.weight") {
            return true;
        }
        let inner = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
        let Some((_, inner)) = inner.filter(|(layer, _)| layer.parse::<usize>().is_ok()) else { return false };
        let attention = ["q", "k", "v", "o"].iter().any(|part| inner == format!("self_attn.{part}_proj.weight"));
        let bias = ["q", "k", "v"].iter().any(|part| inner == format!("self_attn.{part}_proj.bias"));
        let norm = ["q", "k"].iter().any(|part| inner == format!("self_attn.{part}_norm.weight"));
        attention
            || matches!(inner, "input_layernorm.weight" | "post_attention_layernorm.weight")
            || (bias && self == Family::Qwen2)
            || (norm && self == Family::Qwen3)
    }

    /// Returns the `config.json` of the result.
    pub(super) fn config(self, base: &Map<String, Value>, params: &MoeParams, dtype: Dtype) -> Map<String, Value> {
        let mut config = base.clone();
        config.remove("auto_map");
        defaults(&mut config);
        let count = params.experts.len();
        let inner = base.get("intermediate_size").cloned().unwrap_or_default();
        let own = match self {
            Family::Mixtral => json!({
                "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "num_local_experts": count,
                "output_router_logits": false, "router_aux_loss_coef": 0.001, "router_jitter_noise": 0.0,
                "sliding_window": null,
            }),
            Family::Qwen2 => json!({
                "architectures": ["Qwen2MoeForCausalLM"], "model_type": "qwen2_moe", "num_experts": count,
                "decoder_sparse_step": 1, "mlp_only_layers": [], "moe_intermediate_size": inner,
                "norm_topk_prob": true, "output_router_logits": false, "qkv_bias": true,
                "router_aux_loss_coef": 0.001, "shared_expert_intermediate_size": inner, "sliding_window": null,
                "use_sliding_window": false,
            }),
            // Transformers 5 calls the number of experts as Mixtral does, transformers 4 and vLLM `num_experts`.
            Family::Qwen3 => json!({
                "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "num_experts": count,
                "num_local_experts": count, "decoder_sparse_step": 1, "mlp_only_layers": [],
                "moe_intermediate_size": inner, "norm_topk_prob": true, "output_router_logits": false,
                "router_aux_loss_coef": 0.001,
            }),
            Family::Deepseek => deepseek(count, params.shared_experts.len(), &inner),
        };
        config.extend(own.as_object().cloned().unwrap_or_default());
        config.insert("num_experts_per_tok".into(), params.experts_per_token.into());
        let key = if config.contains_key("dtype") { "dtype" } else { "torch_dtype" };
        config.insert(key.into(), dtype.name().into());
        if config.contains_key("torch_dtype") || self == Family::Deepseek {
            config.insert("torch_dtype".into(), dtype.name().into());
        }
        config
    }
}

fn deepseek(count: usize, shared: usize, inner: &Value) -> Value {
    let code = |name: &str| format!("deepseek-ai/deepseek-moe-16b-base--{name}");
    json!({
        "architectures": ["DeepseekForCausalLM"], "model_type": "deepseek", "n_routed_experts": count,
        "n_shared_experts": (shared > 0).then_some(shared), "first_k_dense_replace": 0, "moe_layer_freq": 1,
        "scoring_func": "softmax", "norm_topk_prob": true, "moe_intermediate_size": inner,
        "auto_map": {
            "AutoConfig": code("configuration_deepseek.DeepseekConfig"),
            "AutoModel": code("modeling_deepseek.DeepseekModel"),
            "AutoModelForCausalLM": code("modeling_deepseek.DeepseekForCausalLM"),
        },
    })
}

/// Writes down what a dense model leaves to the defaults of its architecture, where others have other defaults.
fn defaults(config: &mut Map<String, Value>) {
    let kind = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
    let known = DEFAULTS.iter().find(|(name, ..)| *name == kind);
    let (heads, width) = known.map_or((None, None), |(_, heads, width)| (*heads, *width));
    let longest = match kind {
        "llama" => 2048,
        "mistral" => 131_072,
        _ => 32_768,
    };
    let mut set = |name: &str, value: Value| {
        if config.get(name).is_none_or(Value::is_null) {
            config.insert(name.into(), value);
        }
    };
    set("rms_norm_eps", 1e-6.into());
    set("max_position_embeddings", longest.into());
    if let Some(width) = width {
        set("head_dim", width.into());
    }
    if let Some(heads) = heads {
        set("num_key_value_heads", heads.into());
    }
    let all = config.get("num_attention_heads").cloned().unwrap_or_default();
    if config.get("num_key_value_heads").is_none_or(Value::is_null) {
        config.insert("num_key_value_heads".into(), all);
    }
    let theta = |fields: Option<&Value>| fields.is_some_and(|fields| fields.get("rope_theta").is_some());
    if !config.contains_key("rope_theta") && !theta(config.get("rope_parameters")) {
        config.insert("rope_theta".into(), 10_000.0.into());
    }
}
