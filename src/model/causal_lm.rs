//! A language model in memory: load it, score texts, add up gradients, save it.

use std::path::Path;
use std::sync::Arc;

use super::ModelError;
use super::adapter::Adapters;
use super::angles::Angles;
use super::arch::Decoder;
use super::config::Config;
use super::engine::{Engine, Frame, Linear, Noise, Objective, Scale};
use super::folder::{load_parameters, save_weights};
use super::fused::Fused;
use super::packed::{Packed, Places};
use super::parameter::Parameter;
use super::twin::Twin;

/// Gives each token what the gradient of its loss is multiplied by, once it knows what the model thinks of all.
pub type Weigh<'a> = dyn FnMut(&[f32]) -> Vec<f32> + 'a;

/// How a training pass is done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pass {
    /// What the gradient of the summed loss is multiplied by.
    pub scale: f32,
    /// The share of the loss that asks for all tokens alike.
    pub smoothing: f32,
    /// What is added to the embeddings.
    pub noise: Option<Noise>,
    /// What decides, with the number of an adapter and the place in its input, which numbers it leaves out.
    pub dropout: Option<u64>,
    /// Whether only the input of each layer is kept, and the rest computed again in the backward pass. Changes no bit.
    pub recompute: bool,
}

impl Pass {
    /// Returns the plain pass.
    pub fn plain(scale: f32) -> Self {
        Self { scale, smoothing: 0.0, noise: None, dropout: None, recompute: false }
    }

    pub(super) fn objective(self, labels: &[(usize, u32)]) -> Objective<'_> {
        Objective { smoothing: self.smoothing, ..Objective::sum(labels, self.scale) }
    }
}

/// A model that predicts the next token.
#[derive(Debug)]
pub struct CausalLm {
    config: Config,
    arch: Decoder,
    parameters: Vec<Arc<Parameter>>,
    angles: Angles,
    pub(super) adapters: Option<Adapters>,
    /// The weights on a device, if passes run there.
    pub(super) twin: Option<Twin>,
}

impl CausalLm {
    /// Loads a Hugging Face model folder: `config.json` and safetensors, in one file or in shards.
    pub fn load(dir: &Path) -> Result<Self, ModelError> {
        let config = Config::load(dir)?;
        let (arch, outlines) = Decoder::new(&config);
        let parameters = load_parameters(dir, &config, outlines)?.into_iter().map(Arc::new).collect();
        let angles = Angles::new(&config);
        Ok(Self { config, arch, parameters, angles, adapters: None, twin: None })
    }

    /// Returns the sizes and constants of the model.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the weights, adapters apart, with their gradients.
    pub fn parameters(&self) -> &[Arc<Parameter>] {
        &self.parameters
    }

    pub(super) fn arch(&self) -> &Decoder {
        &self.arch
    }

    /// Writes the weights, adapters apart, as `model.safetensors` into a folder, in the number format that the model was loaded with.
    pub fn save_weights(&self, dir: &Path) -> Result<(), ModelError> {
        save_weights(dir, &self.config, &self.parameters)
    }

    /// Returns for each token the natural logarithm of the probability that the tokens before it in its document give
    /// it; 0 for the first token of a document. Documents don't influence each other, and the memory is bounded by the
    /// longest document, not by their number.
    pub fn log_probs(&self, packed: &Packed) -> Result<Vec<f32>, ModelError> {
        packed.places(self.config.vocab_size)?;
        let mut out = Vec::with_capacity(packed.ids.len());
        for group in packed.groups() {
            let places = group.places(self.config.vocab_size)?;
            let labels = places.labels(&group.ids, |_| true);
            let frame = self.frame(places);
            let found = self.score(&group.ids, &frame, &labels)?;
            let mut scores = vec![0.0; group.ids.len()];
            for ((row, _), score) in labels.iter().zip(found) {
                scores[row + 1] = score;
            }
            out.append(&mut scores);
        }
        Ok(out)
    }

    /// Returns the logarithm of the probability that each labelled row gives to its token.
    fn score(&self, ids: &[u32], frame: &Frame, labels: &[(usize, u32)]) -> Result<Vec<f32>, ModelError> {
        let Some(twin) = &self.twin else {
            let engine = Fused::to_score(&self.parameters, self.active(None));
            let x = self.arch.forward(&engine, ids, frame)?;
            return Ok(engine.log_probs(&x, self.arch.head, labels)?);
        };
        let engine = twin.blocks(self.active(None), false);
        let x = self.arch.forward(&engine, ids, frame)?;
        Ok(engine.scores(&x, self.arch.head, labels)?)
    }

    /// Returns the logits of all tokens, `[tokens, vocab_size]` row by row. For short inputs: nothing here is cut into
    /// pieces.
    pub fn logits(&self, packed: &Packed) -> Result<Vec<f32>, ModelError> {
        self.logits_of(&Fused::to_score(&self.parameters, self.active(None)), packed)
    }

    /// Returns the logits of the weights alone, as if there were no adapters.
    pub fn logits_without_adapters(&self, packed: &Packed) -> Result<Vec<f32>, ModelError> {
        self.logits_of(&Fused::to_score(&self.parameters, None), packed)
    }

    fn logits_of(&self, engine: &Fused<'_>, packed: &Packed) -> Result<Vec<f32>, ModelError> {
        let frame = self.frame(packed.places(self.config.vocab_size)?);
        let x = self.arch.forward(engine, &packed.ids, &frame)?;
        Ok(engine.linear(&x, Linear { weight: self.arch.head, bias: None })?.flatten_all()?.to_vec1()?)
    }

    /// Returns the rows that each layer gets and, at the end, those that the output layer gets, each `[tokens,
    /// hidden_size]` row by row. For short inputs, as [`Self::logits`].
    pub fn hidden_states(&self, packed: &Packed) -> Result<Vec<Vec<f32>>, ModelError> {
        let frame = self.frame(packed.places(self.config.vocab_size)?);
        let mut states = Vec::new();
        self.arch.forward_seen(
            &Fused::to_score(&self.parameters, self.active(None)),
            &packed.ids,
            &frame,
            &mut |x| {
                states.push(x.flatten_all()?.to_vec1()?);
                Ok(())
            },
        )?;
        Ok(states)
    }

    /// Adds the gradient of the loss that `pass` describes to the gradients of the parameters; returns the plain sum of
    /// the losses (nats), neither scaled nor smoothed.
    ///
    /// `trained` says for each token whether predicting it counts; the first token of a document has nothing to be
    /// predicted from and never counts. A batch in which no token counts adds nothing.
    pub fn add_gradients(&mut self, packed: &Packed, trained: &[bool], pass: Pass) -> Result<f64, ModelError> {
        let (places, labels) = self.labelled(packed, trained)?;
        if labels.is_empty() {
            return Ok(0.0);
        }
        let frame = Frame { noise: pass.noise, ..self.frame(places) };
        self.run_backwards(&packed.ids, &frame, &labels, pass, None)
    }

    /// As [`Self::add_gradients`], for losses that are known only once the model has spoken: `weigh` gets the logarithm of
    /// the probability of every token (0 where it does not count), and returns for each what the gradient of its loss is
    /// multiplied by, beside `pass.scale`.
    pub fn add_weighed_gradients(
        &mut self,
        packed: &Packed,
        trained: &[bool],
        pass: Pass,
        weigh: &mut Weigh<'_>,
    ) -> Result<(), ModelError> {
        let (places, labels) = self.labelled(packed, trained)?;
        let frame = Frame { noise: pass.noise, ..self.frame(places) };
        self.run_backwards(&packed.ids, &frame, &labels, pass, Some(weigh)).map(drop)
    }

    /// Runs a pass forward and backward, where passes are run, and returns the sum of the losses.
    fn run_backwards(
        &mut self,
        ids: &[u32],
        frame: &Frame,
        labels: &[(usize, u32)],
        pass: Pass,
        weigh: Option<&mut Weigh<'_>>,
    ) -> Result<f64, ModelError> {
        let head = self.arch.head;
        let scales = |log_probs: Vec<f32>, weigh: &mut Weigh<'_>| -> Vec<f32> {
            let mut all = vec![0.0; ids.len()];
            labels.iter().zip(log_probs).for_each(|((row, _), log_prob)| all[row + 1] = log_prob);
            let factors = weigh(&all);
            labels.iter().map(|(row, _)| factors[row + 1] * pass.scale).collect()
        };
        let weighed: Vec<f32>;
        if let Some(mut twin) = self.twin.take() {
            let blocks = twin.blocks(self.active(pass.dropout), true);
            let blocks = if pass.recompute { blocks.recording() } else { blocks };
            let run = || {
                let x = self.arch.forward(&blocks, ids, frame)?;
                let mut objective = pass.objective(labels);
                let scales = match weigh {
                    Some(weigh) => scales(blocks.scores(&x.detach(), head, labels)?, weigh),
                    None => Vec::new(),
                };
                if !scales.is_empty() {
                    objective.scale = Scale::Each(&scales);
                }
                Ok(twin.backward(&blocks, &x, head, objective)?)
            };
            let sum = run();
            self.twin = Some(twin);
            return sum;
        }
        let engine = Fused::to_train(&self.parameters, self.active(pass.dropout), pass.recompute);
        let x = self.arch.forward(&engine, ids, frame)?;
        let mut objective = pass.objective(labels);
        if let Some(weigh) = weigh {
            weighed = scales(engine.log_probs(&x, head, labels)?, weigh);
            objective.scale = Scale::Each(&weighed);
        }
        let loss = engine.cross_entropy(&x, head, objective)?;
        engine.backward(&loss)?;
        Ok(loss.sum)
    }

    /// Fails, naming the tensor, unless every weight that is trained got a gradient and all gradients are finite.
    pub fn check_gradients(&self) -> Result<(), ModelError> {
        self.trained_parameters().iter().try_for_each(|parameter| parameter.check_gradient())
    }

    /// Returns where documents lie and which rows predict a token that counts.
    pub(super) fn labelled(
        &self,
        packed: &Packed,
        trained: &[bool],
    ) -> Result<(Places, Vec<(usize, u32)>), ModelError> {
        if trained.len() != packed.ids.len() {
            let reason = format!("{} marks do not fit {} tokens", trained.len(), packed.ids.len());
            return Err(ModelError::Input { reason });
        }
        let places = packed.places(self.config.vocab_size)?;
        let labels = places.labels(&packed.ids, |place| trained[place]);
        Ok((places, labels))
    }

    /// Returns the frame of a batch, with angles for all its positions.
    pub(super) fn frame(&self, places: Places) -> Frame {
        let rotary = self.angles.up_to(places.longest);
        Frame { places: Arc::new(places), rotary, noise: None }
    }
}
