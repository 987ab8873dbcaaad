//! A decoder: an embedding, layers that each mix tokens (attention or a short convolution) and then work on each token
//! alone, a norm, an output layer.
//!
//! Query, key and value weights lie one below the other as one parameter, and so do gate and up.

use candle_core::{Result, Tensor};

use super::lfm2;
use super::names::Names;
use super::parameters::Parameters;
use crate::model::config::{Config, LayerKind, ShortConvolution};
use crate::model::early_exit::{branch_prefix, exit_name};
use crate::model::engine::{
    Attention, Convolution, Engine, Frame, HeadNorms, Linear, Norm, ParameterId, Part, Pooling,
};
use crate::model::kernel::Heads;
use crate::model::kernel::gated::Activation;
use crate::model::parameter::{Outline, Parameter};

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
    /// Those that are trained with the model.
    pub(crate) exits: Vec<Exit>,
    /// How many layers there are at the bottom in which nothing is trained.
    pub(crate) frozen: usize,
}

/// An end of the model behind a layer in the middle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exit {
    /// How many layers come before it.
    pub(crate) layers: usize,
    norm: Norm,
    /// Its output layer.
    pub(crate) head: ParameterId,
}

/// A layer beside a layer, on means of blocks of tokens. Without norms behind its parts: what they would get is zero at first.
#[derive(Debug, Clone)]
struct Branch {
    layer: Box<Layer>,
    pooling: Pooling,
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
    branch: Option<Branch>,
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
        Self::wired(config, &[])
    }

    /// As [`Self::new`], with all exits of the model.
    pub(crate) fn with_exits(config: &Config) -> (Self, Vec<Outline>) {
        Self::wired(config, config.early_exit.as_ref().map_or(&[], |exits| &exits.layers))
    }

    fn wired(config: &Config, exits: &[usize]) -> (Self, Vec<Outline>) {
        let names = Names::of(config.architecture);
        let (vocabulary, width) = (config.vocab_size, config.hidden_size);
        let mut list = Parameters::new(config.norm_eps as f32, config.norm_offset);
        let embedding = list.table("model.embed_tokens", vocabulary, width);
        let layer = |(index, kind): (usize, &LayerKind)| {
            Layer::new(&mut list, &names, &format!("model.layers.{index}."), index, *kind, config)
        };
        let mut layers: Vec<Layer> = config.layers.iter().enumerate().map(layer).collect();
        let own_heads = config.early_exit.as_ref().is_some_and(|exits| exits.own_heads);
        let ends_early = config.whole.is_some();
        let exit_norm = |list: &mut Parameters, layers| list.norm(&exit_name(layers, "norm"), width);
        let norm = if ends_early { exit_norm(&mut list, layers.len()) } else { list.norm(names.last_norm, width) };
        let head = match (ends_early && own_heads, config.tie_word_embeddings) {
            (true, _) => list.table(&exit_name(layers.len(), "head"), vocabulary, width),
            (false, true) => embedding,
            (false, false) => list.table("lm_head", vocabulary, width),
        };
        for (number, beside) in config.branches().enumerate() {
            layers[beside].branch = Some(Branch::new(&mut list, &names, (number, beside), config));
        }
        let exit = |layers: &usize| {
            let norm = exit_norm(&mut list, *layers);
            let own = own_heads.then(|| list.table(&exit_name(*layers, "head"), vocabulary, width));
            Exit { layers: *layers, norm, head: own.unwrap_or(head) }
        };
        let exits = exits.iter().map(exit).collect();
        let embedding_scale = config.embedding_scale.map(|scale| {
            // The model was trained with the scale in the format of its weights.
            let mut scale = [scale];
            config.dtype.round(&mut scale);
            scale[0]
        });
        let activation = config.activation;
        let decoder = Self { embedding, embedding_scale, layers, norm, activation, head, exits, frozen: 0 };
        (decoder, list.into_list())
    }

    /// Returns the rows that the output layer takes, `[tokens, hidden_size]`.
    pub(crate) fn forward(&self, engine: &impl Engine, ids: &[u32], frame: &Frame) -> Result<Tensor> {
        self.forward_seen(engine, ids, frame, &mut |_| Ok(()))
    }

    /// As [`Self::forward`], and returns the rows that the output layers of the exits take.
    pub(crate) fn forward_to_exits(
        &self,
        engine: &impl Engine,
        ids: &[u32],
        frame: &Frame,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let (mut seen, mut found) = (0, Vec::new());
        let x = self.forward_seen(engine, ids, frame, &mut |x| {
            // Here and not afterwards: so the gradient of an exit is added to what comes from the layers behind, whether these
            // are computed a second time or not.
            for exit in self.exits.iter().filter(|exit| exit.layers == seen) {
                found.push(engine.rms_norm(x, exit.norm)?);
            }
            seen += 1;
            Ok(())
        })?;
        Ok((x, found))
    }

    /// Returns the rows that an output layer takes, and which it is: that of an exit by its number, or the last.
    pub(crate) fn forward_to(
        &self,
        engine: &impl Engine,
        ids: &[u32],
        frame: &Frame,
        exit: Option<usize>,
    ) -> Result<(Tensor, ParameterId)> {
        let Some(number) = exit else { return Ok((self.forward(engine, ids, frame)?, self.head)) };
        let (_, mut ends) = self.forward_to_exits(engine, ids, frame)?;
        Ok((ends.swap_remove(number), self.exits[number].head))
    }

    /// Returns the name of the norm before the output layer.
    pub(crate) fn last_norm(&self, parameters: &[Parameter]) -> String {
        parameters[self.norm.weight.0].parts()[0].name.clone()
    }

    /// Returns the name of the output layer.
    pub(crate) fn head_name(&self, parameters: &[Parameter]) -> String {
        parameters[self.head.0].parts()[0].name.clone()
    }

    /// Returns the parameters of branches that are zero in the beginning, so that branches give nothing.
    pub(crate) fn silent(&self) -> Vec<ParameterId> {
        let layers = self.layers.iter().filter_map(|layer| layer.branch.as_ref()).map(|branch| &branch.layer);
        let outputs = layers.flat_map(|layer| [layer.output, layer.down]);
        outputs.flat_map(|output| std::iter::once(output.weight).chain(output.bias)).collect()
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
        for (index, layer) in self.layers.iter().enumerate() {
            seen(&x)?;
            let (layer, activation, frame) = (layer.clone(), self.activation, frame.clone());
            let last = index + 1 == self.layers.len();
            let part = if index < self.frozen { Part::Frozen } else { Part::Layer };
            x = engine.segment(&x, part, move |engine, x| {
                let (mut mixed, mut stream) = (layer.mix(engine, x, &frame)?, x.clone());
                let Some(branch) = &layer.branch else {
                    if last {
                        (mixed, stream) = (engine.wanted(&mixed)?, engine.wanted(&stream)?);
                    }
                    return layer.work(engine, &mixed, &stream, activation);
                };
                let out = layer.work(engine, &mixed, &stream, activation)?;
                let out = branch.add(engine, x, &out, &frame, activation)?;
                if last { engine.wanted(&out) } else { Ok(out) }
            })?;
        }
        let x = engine.rms_norm(&x, self.norm)?;
        seen(&x)?;
        Ok(x)
    }
}

impl Layer {
    /// Adds a layer: what its names begin with, and its number for what is remembered of texts.
    fn new(list: &mut Parameters, names: &Names, prefix: &str, index: usize, kind: LayerKind, config: &Config) -> Self {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let mixer_norm = list.norm(&format!("{prefix}{}", names.mixer_norm), width);
        let (input, mixer, output) = match kind {
            LayerKind::Convolution => convolution(list, prefix, index, config.convolution.unwrap_or_default(), width),
            LayerKind::Attention { window, rotary } => {
                let attention = |norms| Attention {
                    layer: index,
                    heads: config.heads(),
                    norms,
                    scale: config.attention_scale,
                    window,
                    rotary,
                };
                attention_layer(list, names, prefix, config, attention)
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
            gate_up: list.linear(prefix, &gate_up, width, config.mlp_bias),
            down: list.linear(prefix, &[(names.down, width)], inner, config.mlp_bias),
            after_feed_forward: sandwich.then(|| norm(list, names.after_feed_forward)),
            branch: None,
        }
    }

    /// Returns what each token gets from others.
    fn mix(&self, engine: &impl Engine, x: &Tensor, frame: &Frame) -> Result<Tensor> {
        let rows = engine.linear(&engine.rms_norm(x, self.mixer_norm)?, self.input)?;
        match &self.mixer {
            Mixer::Attention(attention) => {
                let rows = engine.prepare_heads(&rows, attention, frame)?;
                engine.attention(&rows, attention, frame)
            }
            Mixer::Convolution(convolution) => engine.short_convolution(&rows, convolution, frame),
        }
    }

    /// Takes it into the stream and works on each token alone.
    fn work(&self, engine: &impl Engine, mixed: &Tensor, x: &Tensor, activation: Activation) -> Result<Tensor> {
        let x = join(engine, mixed, self.output, self.after_mixer, x)?;
        let (norm, gate_up, down, after) = (self.feed_forward_norm, self.gate_up, self.down, self.after_feed_forward);
        engine.segment(&x, Part::FeedForward, move |engine, x| {
            let inner = engine.linear_gated(&engine.rms_norm(x, norm)?, gate_up, activation)?;
            join(engine, &inner, down, after, x)
        })
    }
}

impl Branch {
    /// Adds a branch: its number, and that of the layer beside it.
    fn new(list: &mut Parameters, names: &Names, (number, beside): (usize, usize), config: &Config) -> Self {
        let plain = Config { sandwich_norms: false, ..config.clone() };
        let kind = config.branch_kind(beside);
        let layer = Layer::new(list, names, &branch_prefix(beside), config.layers.len() + number, kind, &plain);
        Self {
            pooling: Pooling { number, layer: config.layers.len() + number, factor: config.block_size() },
            layer: Box::new(layer),
        }
    }

    /// Adds what the branch makes of `x` to what the layer made of it.
    fn add(
        &self,
        engine: &impl Engine,
        x: &Tensor,
        out: &Tensor,
        frame: &Frame,
        activation: Activation,
    ) -> Result<Tensor> {
        let made = match engine.pool(x, self.pooling, frame)? {
            Some((means, frame)) => Some(self.of_blocks(engine, &means, &frame, activation)?),
            None => None,
        };
        engine.spread(made.as_ref(), out, self.pooling, frame)
    }

    /// Returns what the layer would add to the stream of blocks.
    fn of_blocks(&self, engine: &impl Engine, x: &Tensor, frame: &Frame, activation: Activation) -> Result<Tensor> {
        let layer = &self.layer;
        let mixed = engine.linear(&layer.mix(engine, x, frame)?, layer.output)?;
        let normed = engine.rms_norm(&engine.add(x, &mixed)?, layer.feed_forward_norm)?;
        let inner = engine.linear_gated(&normed, layer.gate_up, activation)?;
        engine.linear_add(&inner, layer.down, &mixed)
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
