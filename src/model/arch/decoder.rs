//! A decoder: an embedding, layers that each mix tokens (attention or a short convolution) and then work on each token
//! alone, a norm, an output layer.
//!
//! Query, key and value weights lie one below the other as one parameter, and so do gate and up.

use candle_core::{Result, Tensor};

use super::lfm2;
use super::names::Names;
use super::parameters::Parameters;
use crate::model::config::{Config, LayerKind, ShortConvolution};
use crate::model::engine::{Attention, Convolution, Engine, Frame, HeadNorms, Linear, Norm, ParameterId};
use crate::model::kernel::Heads;
use crate::model::kernel::gated::Activation;
use crate::model::parameter::Outline;

/// The wiring of a model.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// The table of tokens.
    pub(crate) embedding: ParameterId,
    embedding_scale: Option<f32>,
    layers: Vec<Layer>,
    norm: Norm,
    activation: Activation,
    /// The output layer; the embedding itself if they are tied.
    pub(crate) head: ParameterId,
}

#[derive(Debug, Clone)]
struct Layer {
    mixer_norm: Norm,
    input: Linear,
    mixer: Mixer,
    output: Linear,
    after_mixer: Option<Norm>,
    feed_forward_norm: Norm,
    gate_up: Linear,
    down: Linear,
    after_feed_forward: Option<Norm>,
}

/// What looks at other tokens.
#[derive(Debug, Clone)]
enum Mixer {
    Attention(Attention),
    Convolution(Convolution),
}

impl Decoder {
    /// Returns the wiring and the parameters it is wired to.
    pub(crate) fn new(config: &Config) -> (Self, Vec<Outline>) {
        let names = Names::of(config.architecture);
        let (vocabulary, width) = (config.vocab_size, config.hidden_size);
        let mut list = Parameters::new(config.norm_eps as f32, config.norm_offset);
        let embedding = list.table("model.embed_tokens", vocabulary, width);
        let layer = |(index, kind): (usize, &LayerKind)| Layer::new(&mut list, &names, index, *kind, config);
        let layers = config.layers.iter().enumerate().map(layer).collect();
        let norm = list.norm(names.last_norm, width);
        let head = if config.tie_word_embeddings { embedding } else { list.table("lm_head", vocabulary, width) };
        let embedding_scale = config.embedding_scale.map(|scale| {
            // The model was trained with the scale in the format of its weights.
            let mut scale = [scale];
            config.dtype.round(&mut scale);
            scale[0]
        });
        let decoder = Self { embedding, embedding_scale, layers, norm, activation: config.activation, head };
        (decoder, list.into_list())
    }

    /// Returns the rows that the output layer takes, `[tokens, hidden_size]`.
    pub(crate) fn forward(&self, engine: &impl Engine, ids: &[u32], frame: &Frame) -> Result<Tensor> {
        self.forward_seen(engine, ids, frame, &mut |_| Ok(()))
    }

    /// As [`Self::forward`], and shows what each layer gets and what the output layer gets.
    pub(crate) fn forward_seen(
        &self,
        engine: &impl Engine,
        ids: &[u32],
        frame: &Frame,
        seen: &mut impl FnMut(&Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        let x = engine.embedding(self.embedding, ids, self.embedding_scale)?;
        let mut x = engine.noisy(&x, frame)?;
        for layer in &self.layers {
            seen(&x)?;
            let (layer, activation, frame) = (layer.clone(), self.activation, frame.clone());
            x = engine.segment(&x, move |engine, x| layer.forward(engine, x, activation, &frame))?;
        }
        let x = engine.rms_norm(&x, self.norm)?;
        seen(&x)?;
        Ok(x)
    }
}

impl Layer {
    fn new(list: &mut Parameters, names: &Names, index: usize, kind: LayerKind, config: &Config) -> Self {
        let prefix = format!("model.layers.{index}.");
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let mixer_norm = list.norm(&format!("{prefix}{}", names.mixer_norm), width);
        let (input, mixer, output) = match kind {
            LayerKind::Convolution => convolution(list, &prefix, index, config.convolution.unwrap_or_default(), width),
            LayerKind::Attention { window, rotary } => {
                let attention = |norms| Attention {
                    layer: index,
                    heads: config.heads(),
                    norms,
                    scale: config.attention_scale,
                    window,
                    rotary,
                };
                attention_layer(list, names, &prefix, config, attention)
            }
        };
        let sandwich = config.sandwich_norms;
        let norm = |list: &mut Parameters, name: &str| list.norm(&format!("{prefix}{name}"), width);
        let gate_up = names.gate_up.map(|name| (name, inner));
        Self {
            mixer_norm,
            input,
            mixer,
            output,
            after_mixer: sandwich.then(|| norm(list, names.after_mixer)),
            feed_forward_norm: norm(list, names.feed_forward_norm),
            gate_up: list.linear(&prefix, &gate_up, width, config.mlp_bias),
            down: list.linear(&prefix, &[(names.down, width)], inner, config.mlp_bias),
            after_feed_forward: sandwich.then(|| norm(list, names.after_feed_forward)),
        }
    }

    fn forward(&self, engine: &impl Engine, x: &Tensor, activation: Activation, frame: &Frame) -> Result<Tensor> {
        let rows = engine.linear(&engine.rms_norm(x, self.mixer_norm)?, self.input)?;
        let mixed = match &self.mixer {
            Mixer::Attention(attention) => {
                let rows = engine.prepare_heads(&rows, attention, frame)?;
                engine.attention(&rows, attention, frame)?
            }
            Mixer::Convolution(convolution) => engine.short_convolution(&rows, convolution, frame)?,
        };
        let x = join(engine, &mixed, self.output, self.after_mixer, x)?;
        let normed = engine.rms_norm(&x, self.feed_forward_norm)?;
        let inner = engine.gated(&engine.linear(&normed, self.gate_up)?, activation)?;
        join(engine, &inner, self.down, self.after_feed_forward, &x)
    }
}

/// Takes what a block gave back into the stream, through a norm if there is one.
fn join(engine: &impl Engine, x: &Tensor, layer: Linear, norm: Option<Norm>, stream: &Tensor) -> Result<Tensor> {
    match norm {
        None => engine.linear_add(x, layer, stream),
        Some(norm) => engine.add(stream, &engine.rms_norm(&engine.linear(x, layer)?, norm)?),
    }
}

fn attention_layer(
    list: &mut Parameters,
    names: &Names,
    prefix: &str,
    config: &Config,
    attention: impl FnOnce(Option<HeadNorms>) -> Attention,
) -> (Linear, Mixer, Linear) {
    let Heads { query, key_value, width } = config.heads();
    let [q, k, v] = names.query_key_value;
    let projections = [(q, query * width), (k, key_value * width), (v, key_value * width)];
    let input = list.linear(prefix, &projections, config.hidden_size, config.attention_bias);
    let [query_norm, key_norm] = names.head_norms.map(|name| format!("{prefix}{name}"));
    let norms =
        config.head_norm.then(|| HeadNorms { query: list.norm(&query_norm, width), key: list.norm(&key_norm, width) });
    let output = [(names.attention_output, config.hidden_size)];
    let output = list.linear(prefix, &output, query * width, config.output_bias);
    (input, Mixer::Attention(attention(norms)), output)
}

fn convolution(
    list: &mut Parameters,
    prefix: &str,
    layer: usize,
    shape: ShortConvolution,
    channels: usize,
) -> (Linear, Mixer, Linear) {
    let ShortConvolution { width, bias: biased } = shape;
    let input = list.linear(prefix, &[(lfm2::CONVOLUTION_INPUT, 3 * channels)], channels, biased);
    let (weight, bias) = list.convolution(&format!("{prefix}{}", lfm2::CONVOLUTION), channels, width, biased);
    let output = list.linear(prefix, &[(lfm2::CONVOLUTION_OUTPUT, channels)], channels, biased);
    (input, Mixer::Convolution(Convolution { layer, weight, bias, width }), output)
}
