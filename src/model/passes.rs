//! Training passes: forward, backward, and the gradients added up.

use candle_core::Tensor;

use super::ModelError;
use super::arch::Exit;
use super::causal_lm::CausalLm;
use super::engine::{Engine, Frame, Noise, Objective, ParameterId, Recompute, Scale};
use super::fused::Fused;
use super::packed::Packed;
use super::twin::Twin;

/// Gives each token what the gradient of its loss is multiplied by, once it knows what the model thinks of all.
pub type Weigh<'a> = dyn FnMut(&[f32]) -> Vec<f32> + 'a;

/// The factors of all labels, made of the logarithms of their probabilities.
type Scales<'a> = dyn FnMut(Vec<f32>) -> Vec<f32> + 'a;

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
    /// What is computed again in the backward pass instead of being kept. Changes no bit.
    pub recompute: Recompute,
}

impl Pass {
    /// Returns the plain pass.
    pub fn plain(scale: f32) -> Self {
        Self { scale, smoothing: 0.0, noise: None, dropout: None, recompute: Recompute::Nothing }
    }

    pub(super) fn objective(self, labels: &[(usize, u32)]) -> Objective<'_> {
        Objective { smoothing: self.smoothing, ..Objective::sum(labels, self.scale) }
    }
}

/// Sums of losses in nats, neither scaled nor smoothed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Losses {
    /// That of the whole model.
    pub last: f64,
    /// Those of its exits that are trained.
    pub exits: Vec<f64>,
}

impl CausalLm {
    /// Adds the gradient of the loss that `pass` describes to the gradients of the parameters; returns the plain sum of
    /// the losses (nats), neither scaled nor smoothed.
    ///
    /// `trained` says for each token whether predicting it counts; the first token of a document has nothing to be
    /// predicted from and never counts. A batch in which no token counts adds nothing.
    pub fn add_gradients(&mut self, packed: &Packed, trained: &[bool], pass: Pass) -> Result<f64, ModelError> {
        self.add_all_gradients(packed, trained, pass).map(|losses| losses.last)
    }

    /// As [`Self::add_gradients`], and returns the losses of the exits too.
    pub fn add_all_gradients(&mut self, packed: &Packed, trained: &[bool], pass: Pass) -> Result<Losses, ModelError> {
        let (places, labels) = self.labelled(packed, trained)?;
        if labels.is_empty() {
            return Ok(Losses { last: 0.0, exits: vec![0.0; self.exit_weights.len()] });
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
    ) -> Result<Losses, ModelError> {
        // What the losses of the labels are multiplied by, from what the model says about them.
        let mut weigh = weigh.map(|weigh| {
            move |log_probs: Vec<f32>| -> Vec<f32> {
                let mut all = vec![0.0; ids.len()];
                labels.iter().zip(log_probs).for_each(|((row, _), log_prob)| all[row + 1] = log_prob);
                let factors = weigh(&all);
                labels.iter().map(|(row, _)| factors[row + 1] * pass.scale).collect()
            }
        });
        let weigh = weigh.as_mut().map(|weigh| weigh as &mut Scales<'_>);
        let Some(mut twin) = self.twin.take() else {
            // Not inside the pool: what a pass keeps would come from the heaps of its threads, a fifth more memory in all.
            return Ok(self.run_fused(ids, frame, labels, pass, weigh)?);
        };
        let losses = self.run_on(&mut twin, ids, frame, labels, pass, weigh);
        self.twin = Some(twin);
        Ok(losses?)
    }

    fn run_fused(
        &self,
        ids: &[u32],
        frame: &Frame,
        labels: &[(usize, u32)],
        pass: Pass,
        weigh: Option<&mut Scales<'_>>,
    ) -> candle_core::Result<Losses> {
        let (engine, head) =
            (Fused::to_train(&self.parameters, self.active(pass.dropout), pass.recompute), self.arch.head);
        let (x, ends) = self.arch.forward_to_exits(&engine, ids, frame)?;
        let mut objective = pass.objective(labels);
        let scales = match weigh {
            Some(weigh) => Some(weigh(engine.log_probs(&x, head, labels)?)),
            None => None,
        };
        if let Some(scales) = &scales {
            objective.scale = Scale::Each(scales);
        }
        let mut losses = vec![engine.cross_entropy(&x, head, objective)?];
        for (x, head, objective) in self.ends(ends, pass, labels) {
            losses.push(engine.cross_entropy(&x, head, objective)?);
        }
        engine.backward(&losses)?;
        let mut sums: Vec<f64> = losses.iter().map(|loss| loss.sum).collect();
        Ok(Losses { last: sums.remove(0), exits: sums })
    }

    fn run_on(
        &self,
        twin: &mut Twin,
        ids: &[u32],
        frame: &Frame,
        labels: &[(usize, u32)],
        pass: Pass,
        weigh: Option<&mut Scales<'_>>,
    ) -> candle_core::Result<Losses> {
        let head = self.arch.head;
        let blocks = twin.blocks(self.active(pass.dropout), true).recording(pass.recompute);
        let (x, ends) = self.arch.forward_to_exits(&blocks, ids, frame)?;
        let mut objective = pass.objective(labels);
        let scales = match weigh {
            Some(weigh) => Some(weigh(blocks.scores(&x.detach(), head, labels)?)),
            None => None,
        };
        if let Some(scales) = &scales {
            objective.scale = Scale::Each(scales);
        }
        let mut ends: Vec<_> = self.ends(ends, pass, labels).collect();
        ends.insert(0, (x, head, objective));
        let mut sums = twin.backward(&blocks, &ends)?;
        Ok(Losses { last: sums.remove(0), exits: sums })
    }

    /// Returns the rows of each exit's output layer, that layer and what is made smaller there.
    pub(super) fn ends<'a>(
        &self,
        rows: Vec<Tensor>,
        pass: Pass,
        labels: &'a [(usize, u32)],
    ) -> impl Iterator<Item = (Tensor, ParameterId, Objective<'a>)> {
        let exits = self.arch.exits.iter().zip(&self.exit_weights);
        let end = move |(x, (exit, weight)): (Tensor, (&Exit, &f32))| {
            (x, exit.head, Pass { scale: pass.scale * weight, ..pass }.objective(labels))
        };
        rows.into_iter().zip(exits).map(end)
    }

    /// Fails, naming the tensor, unless every weight that is trained got a gradient and all gradients are finite.
    pub fn check_gradients(&self) -> Result<(), ModelError> {
        self.trained_parameters().iter().try_for_each(|parameter| parameter.check_gradient())
    }
}
