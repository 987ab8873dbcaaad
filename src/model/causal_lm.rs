//! A language model in memory: load it, score texts, add up gradients, save it.

use std::path::Path;
use std::sync::Arc;

use super::ModelError;
use super::adapter::Adapters;
use super::angles::Angles;
use super::arch::Decoder;
use super::config::Config;
use super::early_exit::{self, EarlyExit};
use super::engine::{Engine, Frame, Linear};
use super::folder::{load_parameters, save_weights};
use super::fused::Fused;
use super::packed::{Packed, Places};
use super::parameter::Parameter;
use super::twin::Twin;

/// A model that predicts the next token.
#[derive(Debug)]
pub struct CausalLm {
    config: Config,
    pub(super) arch: Decoder,
    pub(super) parameters: Vec<Arc<Parameter>>,
    angles: Angles,
    pub(super) adapters: Option<Adapters>,
    /// The weights on a device, if passes run there.
    pub(super) twin: Option<Twin>,
    /// What the losses of exits are multiplied by, if they are trained.
    pub(super) exit_weights: Vec<f32>,
    /// Exits and branches, if they alone are trained.
    pub(super) beside: Option<Vec<Arc<Parameter>>>,
}

impl CausalLm {
    /// Loads a Hugging Face model folder: `config.json` and safetensors, in one file or in shards.
    pub fn load(dir: &Path) -> Result<Self, ModelError> {
        Self::load_at(dir, None)
    }

    /// As [`Self::load`], for a model that stops after so many layers, at one of its exits.
    pub fn load_at(dir: &Path, exit: Option<usize>) -> Result<Self, ModelError> {
        let config = Config::load(dir)?.at_exit(exit)?;
        let (arch, outlines) = Decoder::new(&config);
        let parameters = load_parameters(dir, &config, outlines)?;
        Ok(Self::of(config, arch, parameters, Vec::new()))
    }

    /// As [`Self::load`], for a model whose exits are trained with it, each with a weight of its loss. Exits and branches that
    /// the folder does not have are made; it may not have others.
    pub fn load_with_exits(dir: &Path, wanted: &EarlyExit, weights: &[f32]) -> Result<Self, ModelError> {
        let mut config = Config::load(dir)?;
        let bad = |reason: String| ModelError::Input { reason };
        wanted.check(config.layers.len()).map_err(bad)?;
        if wanted.layers.len() != weights.len() {
            return Err(bad(format!("{} weights do not fit {} exits", weights.len(), wanted.layers.len())));
        }
        let there = config.early_exit.replace(wanted.clone());
        if there.as_ref().is_some_and(|there| there != wanted) {
            let help = "train the same ones on, or begin with a model that has none";
            return Err(bad(format!("the model has other exits or branches already; {help}")));
        }
        let (arch, outlines) = Decoder::with_exits(&config);
        let count = Decoder::new(&Config { early_exit: None, ..config.clone() }).1.len();
        let parameters = if there.is_some() {
            load_parameters(dir, &config, outlines)?
        } else {
            let (own, more) = outlines.split_at(count);
            let mut parameters = load_parameters(dir, &config, own.to_vec())?;
            let names = (arch.last_norm(&parameters), arch.head_name(&parameters));
            let made = more.iter().map(|outline| early_exit::first_value(outline, &parameters, (&names.0, &names.1)));
            let mut made = made.collect::<Result<Vec<Parameter>, String>>().map_err(bad)?;
            for silent in arch.silent() {
                made[silent.0 - count].update(|value, _| value.fill(0.0));
            }
            parameters.append(&mut made);
            parameters
        };
        Ok(Self::of(config, arch, parameters, weights.to_vec()))
    }

    fn of(config: Config, arch: Decoder, parameters: Vec<Parameter>, exit_weights: Vec<f32>) -> Self {
        let parameters = parameters.into_iter().map(Arc::new).collect();
        let angles = Angles::new(&config);
        Self { config, arch, parameters, angles, adapters: None, twin: None, exit_weights, beside: None }
    }

    /// Returns after how many layers each exit is that is trained.
    pub fn exits(&self) -> Vec<usize> {
        self.arch.exits.iter().map(|exit| exit.layers).collect()
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
        self.log_probs_at(packed, None)
    }

    /// As [`Self::log_probs`], at one of the exits that are trained, by its number among [`Self::exits`].
    pub fn log_probs_at(&self, packed: &Packed, exit: Option<usize>) -> Result<Vec<f32>, ModelError> {
        packed.places(self.config.vocab_size)?;
        let mut out = Vec::with_capacity(packed.ids.len());
        for group in packed.groups() {
            let places = group.places(self.config.vocab_size)?;
            let labels = places.labels(&group.ids, |_| true);
            let frame = self.frame(places);
            let found = self.score(&group.ids, &frame, &labels, exit)?;
            let mut scores = vec![0.0; group.ids.len()];
            for ((row, _), score) in labels.iter().zip(found) {
                scores[row + 1] = score;
            }
            out.append(&mut scores);
        }
        Ok(out)
    }

    /// Returns the logarithm of the probability that each labelled row gives to its token.
    fn score(
        &self,
        ids: &[u32],
        frame: &Frame,
        labels: &[(usize, u32)],
        exit: Option<usize>,
    ) -> Result<Vec<f32>, ModelError> {
        let Some(twin) = &self.twin else {
            let engine = Fused::to_score(&self.parameters, self.active(None));
            let (x, head) = self.arch.forward_to(&engine, ids, frame, exit)?;
            return Ok(engine.log_probs(&x, head, labels)?);
        };
        let engine = twin.blocks(self.active(None), false);
        let (x, head) = self.arch.forward_to(&engine, ids, frame, exit)?;
        Ok(engine.scores(&x, head, labels)?)
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

    /// Returns of each document the mean of the rows that the output layer gets, that of its first token left out; zeros for a
    /// document of one token.
    pub fn mean_states(&self, packed: &Packed) -> Result<Vec<Vec<f32>>, ModelError> {
        packed.places(self.config.vocab_size)?;
        let engine = Fused::to_score(&self.parameters, self.active(None));
        let mut means = Vec::with_capacity(packed.lengths.len());
        for group in packed.groups() {
            let frame = self.frame(group.places(self.config.vocab_size)?);
            let rows = self.arch.forward(&engine, &group.ids, &frame)?.flatten_all()?.to_vec1::<f32>()?;
            means.extend(group.means(&rows));
        }
        Ok(means)
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
