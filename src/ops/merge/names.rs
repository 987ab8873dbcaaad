//! What tensors are called, where the same ones go by several names, and which of them a model may do without.
//!
//! MergeKit has a file for every architecture. Names are matched as they are here, which is right for whatever was saved
//! by one version of one library; this file holds the few facts that names alone don't tell. Facts of layers that come
//! in two kinds (the convolutions and attentions of LFM2) are left out on purpose: MergeKit takes a missing one for
//! optional, and merges a convolution with an attention into a layer that has both.

use std::borrow::Cow;

use serde_json::Value;

/// The embeddings that an output layer may share.
pub(super) const EMBEDDINGS: [&str; 4] =
    ["embed_tokens.weight", "wte.weight", "backbone.embeddings.weight", "embeddings.word_embeddings.weight"];

/// Tensors that some models of an architecture have and others not: the model type, and how their names end.
const OPTIONAL: [(&str, &[&str]); 10] = [
    ("stablelm", &["q_proj.bias", "k_proj.bias", "v_proj.bias"]),
    ("glm4", &["q_proj.bias", "k_proj.bias", "v_proj.bias"]),
    ("glm4_moe", &["q_proj.bias", "k_proj.bias", "v_proj.bias", "q_norm.weight", "k_norm.weight"]),
    ("granite", &["_proj.bias"]),
    ("afmoe", &["mlp.expert_bias"]),
    ("bert", &["position_ids", "pooler.dense.weight", "pooler.dense.bias"]),
    ("roberta", &["position_ids"]),
    ("xlm-roberta", &["position_ids"]),
    ("llama", &["score.bias", "rotary_emb.inv_freq"]),
    ("mistral", &["rotary_emb.inv_freq"]),
];

/// Returns the model type that a configuration names.
pub(super) fn model_type(config: Option<&Value>) -> Option<&str> {
    config?.get("model_type")?.as_str()
}

/// Returns whether a model of this type may lack the tensor.
pub(super) fn is_optional(model_type: &str, name: &str) -> bool {
    let mut known = OPTIONAL.iter().filter(|(of, _)| *of == model_type).flat_map(|(_, ends)| ends.iter());
    known.any(|end| name.ends_with(end))
}

/// Returns the name that newer releases of transformers write.
pub(super) fn canonical<'a>(config: Option<&Value>, name: &'a str) -> Cow<'a, str> {
    match model_type(config) {
        Some("gpt2") if ["h.", "wte.", "wpe.", "ln_f."].iter().any(|start| name.starts_with(start)) => {
            format!("transformer.{name}").into()
        }
        Some("bert" | "distilbert" | "roberta") => {
            let plain = config.and_then(|config| config.pointer("/architectures/0")).and_then(Value::as_str);
            let name = if plain == Some("BertModel") { name.strip_prefix("bert.").unwrap_or(name) } else { name };
            match (name.strip_suffix("LayerNorm.gamma"), name.strip_suffix("LayerNorm.beta")) {
                (Some(start), _) => format!("{start}LayerNorm.weight").into(),
                (_, Some(start)) => format!("{start}LayerNorm.bias").into(),
                _ => name.into(),
            }
        }
        _ => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn older_names_are_those_of_today() {
        let gpt = json!({"model_type": "gpt2"});
        assert_eq!(canonical(Some(&gpt), "h.0.ln_1.bias"), "transformer.h.0.ln_1.bias");
        assert_eq!(canonical(Some(&gpt), "transformer.wte.weight"), "transformer.wte.weight");
        assert_eq!(canonical(Some(&gpt), "lm_head.weight"), "lm_head.weight");
        let bert = json!({"model_type": "bert", "architectures": ["BertModel"]});
        assert_eq!(canonical(Some(&bert), "bert.embeddings.LayerNorm.gamma"), "embeddings.LayerNorm.weight");
        let masked = json!({"model_type": "bert", "architectures": ["BertForMaskedLM"]});
        assert_eq!(canonical(Some(&masked), "bert.embeddings.LayerNorm.beta"), "bert.embeddings.LayerNorm.bias");
        assert_eq!(canonical(None, "bert.LayerNorm.gamma"), "bert.LayerNorm.gamma");
    }
}
