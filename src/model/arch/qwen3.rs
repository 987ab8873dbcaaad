//! Qwen3: a pre-norm decoder with grouped-query attention, normed query and key heads, and a gated feed-forward layer.
//!
//! Read from `modeling_qwen3.py` of transformers 5.23: `h = x + o(attention(norm(x)))`, `y = h + down(swiglu(norm(h)))`,
//! no biases anywhere. Query, key and value weights lie one below the other, as do gate and up.

use candle_core::{Result, Tensor};

use crate::model::config::Config;
use crate::model::engine::{Engine, Frame, HeadNorms, ParameterId};
use crate::model::kernel::Heads;
use crate::model::parameter::{Outline, ParameterKind, Part};

/// The wiring of a model.
#[derive(Debug)]
pub(crate) struct Qwen3 {
    embedding: ParameterId,
    layers: Vec<Layer>,
    norm: ParameterId,
    /// The output layer; the embedding itself if they are tied.
    pub(crate) head: ParameterId,
    heads: Heads,
    epsilon: f32,
}

#[derive(Debug)]
struct Layer {
    input_norm: ParameterId,
    query_key_value: ParameterId,
    head_norms: HeadNorms,
    output: ParameterId,
    feed_forward_norm: ParameterId,
    gate_up: ParameterId,
    down: ParameterId,
}

/// Returns the parameters of a model, in the order of their ids.
pub(crate) fn parameters_of(config: &Config) -> Vec<Outline> {
    Qwen3::new(config).1
}

/// Collects parameters and gives out their ids.
#[derive(Default)]
struct Parameters(Vec<Outline>);

impl Parameters {
    fn add(&mut self, kind: ParameterKind, parts: Vec<Part>) -> ParameterId {
        self.0.push(Outline { kind, parts });
        ParameterId(self.0.len() - 1)
    }

    fn norm(&mut self, name: &str, width: usize) -> ParameterId {
        self.add(ParameterKind::Norm, vec![Part { name: format!("{name}.weight"), shape: vec![width] }])
    }

    /// Adds matrices of one width as one parameter.
    fn matrix(&mut self, prefix: &str, parts: &[(&str, usize)], columns: usize) -> ParameterId {
        let part =
            |(name, rows): &(&str, usize)| Part { name: format!("{prefix}{name}.weight"), shape: vec![*rows, columns] };
        self.add(ParameterKind::Matrix, parts.iter().map(part).collect())
    }
}

impl Qwen3 {
    /// Returns the wiring and the parameters it is wired to.
    pub(crate) fn new(config: &Config) -> (Self, Vec<Outline>) {
        let heads =
            Heads { query: config.num_attention_heads, key_value: config.num_key_value_heads, width: config.head_dim };
        let epsilon = config.rms_norm_eps as f32;
        let (vocabulary, width) = (config.vocab_size, config.hidden_size);
        let mut list = Parameters::default();
        let embedding = list.matrix("model.", &[("embed_tokens", vocabulary)], width);
        let layers =
            (0..config.num_hidden_layers).map(|index| Layer::new(&mut list, index, config, heads, epsilon)).collect();
        let norm = list.norm("model.norm", width);
        let head =
            if config.tie_word_embeddings { embedding } else { list.matrix("", &[("lm_head", vocabulary)], width) };
        (Self { embedding, layers, norm, head, heads, epsilon }, list.0)
    }

    /// Returns the rows that the output layer takes, `[tokens, hidden_size]`.
    pub(crate) fn forward(&self, engine: &impl Engine, ids: &[u32], frame: &Frame) -> Result<Tensor> {
        self.watched(engine, ids, frame, &mut |_| Ok(()))
    }

    /// As [`Self::forward`], and shows what goes into each layer.
    pub(crate) fn watched(
        &self,
        engine: &impl Engine,
        ids: &[u32],
        frame: &Frame,
        look: &mut impl FnMut(&Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        let mut x = engine.embedding(self.embedding, ids)?;
        for layer in &self.layers {
            look(&x)?;
            x = layer.forward(engine, &x, self.heads, self.epsilon, frame)?;
        }
        engine.rms_norm(&x, self.norm, self.epsilon)
    }
}

impl Layer {
    fn new(list: &mut Parameters, index: usize, config: &Config, heads: Heads, epsilon: f32) -> Self {
        let prefix = format!("model.layers.{index}.");
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let (query, key) = (heads.query * heads.width, heads.key_value * heads.width);
        let projections = [("self_attn.q_proj", query), ("self_attn.k_proj", key), ("self_attn.v_proj", key)];
        Self {
            input_norm: list.norm(&format!("{prefix}input_layernorm"), width),
            query_key_value: list.matrix(&prefix, &projections, width),
            head_norms: HeadNorms {
                query: list.norm(&format!("{prefix}self_attn.q_norm"), heads.width),
                key: list.norm(&format!("{prefix}self_attn.k_norm"), heads.width),
                epsilon,
            },
            output: list.matrix(&prefix, &[("self_attn.o_proj", width)], query),
            feed_forward_norm: list.norm(&format!("{prefix}post_attention_layernorm"), width),
            gate_up: list.matrix(&prefix, &[("mlp.gate_proj", inner), ("mlp.up_proj", inner)], width),
            down: list.matrix(&prefix, &[("mlp.down_proj", width)], inner),
        }
    }

    fn forward(&self, engine: &impl Engine, x: &Tensor, heads: Heads, epsilon: f32, frame: &Frame) -> Result<Tensor> {
        let normed = engine.rms_norm(x, self.input_norm, epsilon)?;
        let rows = engine.linear(&normed, self.query_key_value)?;
        let rows = engine.prepare_heads(&rows, heads, self.head_norms, frame)?;
        let attended = engine.attention(&rows, heads, frame)?;
        let x = engine.linear_add(&attended, self.output, x)?;
        let normed = engine.rms_norm(&x, self.feed_forward_norm, epsilon)?;
        let inner = engine.swiglu(&engine.linear(&normed, self.gate_up)?)?;
        engine.linear_add(&inner, self.down, &x)
    }
}
