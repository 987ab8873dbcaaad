//! The training loop: one step after the other, what follows a step, and where to go on after a kill.
//!
//! A step and what follows it (an evaluation, the model of an epoch) are two things that a checkpoint can lie between:
//! [`State`] says what is still due. Everything random follows from the seed and the number of the step, so a training
//! that goes on ends in the same bytes as one that was never stopped.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use super::checkpoint::{self, Checkpoints};
use super::log::Logs;
use super::objective::Objective;
use super::optim::{Optimizer, clip_factor, gradient_norm};
use super::pack::{Plan, Step};
use super::schedule::learning_rate;
use super::state::{State, watchdog_patience};
use crate::model::{CausalLm, ModelError, Noise, ParameterKind, Pass, Recompute};
use crate::ops::{OpCx, OpError};
use crate::spec::params::{GradientCheckpointing, SaveStrategy, SftParams};

/// The weights of the best evaluation, beside the checkpoints.
const BEST: &str = "best.safetensors";
/// Samples that a message names.
const NAMED: usize = 5;

/// A training on its way.
pub(super) struct Trainer<'a> {
    params: &'a SftParams,
    cx: &'a OpCx<'a>,
    model: &'a mut CausalLm,
    objective: &'a dyn Objective,
    plan: Plan<'a>,
    optimizer: Optimizer,
    state: State,
    checkpoints: Checkpoints,
    logs: Logs,
    /// Where checkpoints, the best weights and the models of epochs are until the end.
    keep: PathBuf,
    /// Writes a model folder.
    save: &'a dyn Fn(&CausalLm, &Path) -> Result<(), OpError>,
    /// The steps of the pass that is gone through.
    steps: (u64, Vec<Option<Step>>),
    /// How long the steps of this process took, and their tokens.
    measured: (Duration, u64),
    /// Whether weights, state and logs are of different moments: set where one of them changes until all have.
    torn: bool,
    /// Checkpoints that could not be written.
    failed_checkpoints: u64,
}

/// What a training run came to.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) state: State,
    /// Tokens a second, in this process.
    pub(super) tokens_per_second: f64,
    pub(super) flops_per_second: f64,
    /// Checkpoints that could not be written, by this process.
    pub(super) failed_checkpoints: u64,
}

/// What a training is of.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    pub(super) params: &'a SftParams,
    pub(super) cx: &'a OpCx<'a>,
    pub(super) objective: &'a dyn Objective,
    /// Writes a model folder.
    pub(super) save: &'a dyn Fn(&CausalLm, &Path) -> Result<(), OpError>,
}

impl<'a> Trainer<'a> {
    /// Begins a training, or goes on with one that was stopped.
    pub(super) fn begin(model: &'a mut CausalLm, work: Work<'a>) -> Result<Self, OpError> {
        let Work { params, cx, objective, save } = work;
        let plan = Plan::new(objective.lengths(), objective.room(params), params, cx)?;
        let checkpoints = Checkpoints::new(cx.checkpoint, params);
        let keep = cx.checkpoint.unwrap_or(cx.scratch).to_owned();
        fs_err::create_dir_all(&keep)?;
        crate::model::keep_freed();
        let mut optimizer = Optimizer::new(params, model.trained_parameters());
        if !forgets_gradients(params) {
            model.trained_parameters().iter().for_each(|parameter| parameter.reserve_gradient());
        }
        let found = checkpoints.latest()?;
        if let Some(found) = &found {
            let fits = found.restore(&mut optimizer, model.trained_parameters());
            let help = format!("remove {} to begin anew", keep.display());
            fits.ok_or_else(|| OpError::new("the checkpoint does not fit the training").help(help))?;
            model.spread_weights().map_err(|error| OpError::caused("cannot go on", error))?;
            cx.progress.note(&format!("goes on after step {}", found.state.step));
        }
        let log = cx.out.join("log");
        let logs = Logs::begin(&log, params.evaluates(), found.as_ref().map(|found| found.folder.as_path()))?;
        let state = found.map(|found| found.state).unwrap_or_default();
        let steps = (u64::MAX, Vec::new());
        let measured = (Duration::ZERO, 0);
        Ok(Self {
            params,
            cx,
            model,
            objective,
            plan,
            optimizer,
            state,
            checkpoints,
            logs,
            keep,
            save,
            steps,
            measured,
            torn: false,
            failed_checkpoints: 0,
        })
    }

    /// Trains to the end.
    pub(super) fn run(mut self) -> Result<Summary, OpError> {
        let started = self.state.flops();
        self.announce();
        match self.steps_to_the_end() {
            Err(error) if self.cx.check_cancelled().is_err() => {
                // An error may have come between, and what is torn would not go on to the same bytes.
                if self.state.step > 0 && !self.torn {
                    self.save_checkpoint();
                }
                return Err(error);
            }
            done => done?,
        }
        self.finish()?;
        let seconds = self.measured.0.as_secs_f64().max(1e-9);
        Ok(Summary {
            tokens_per_second: self.measured.1 as f64 / seconds,
            flops_per_second: (self.state.flops() - started) / seconds,
            failed_checkpoints: self.failed_checkpoints,
            state: self.state,
        })
    }

    fn announce(&self) {
        self.cx.progress.phase("training", Some(self.plan.steps() as u64), "steps");
        self.cx.progress.position(self.state.step as u64);
    }

    fn steps_to_the_end(&mut self) -> Result<(), OpError> {
        loop {
            self.follow()?;
            if self.state.step == self.plan.steps() || self.state.stopped {
                return Ok(());
            }
            let step = self.next_step()?;
            let began = Instant::now();
            let before = self.state.tokens;
            self.take(&step).map_err(|failure| self.locate(failure, &step))?;
            self.measured.0 += began.elapsed();
            self.measured.1 += self.state.tokens - before;
            self.cx.progress.position(self.state.step as u64);
            // The last step is followed by the end, which is a checkpoint itself.
            if self.checkpoints.due(self.state.step) && self.state.step < self.plan.steps() {
                self.save_checkpoint();
            }
        }
    }

    /// Returns the step that comes next. Where the last one was the end of a pass, the pass after it is packed.
    fn next_step(&mut self) -> Result<Step, OpError> {
        if self.steps.0 != self.state.pass {
            let steps = self.plan.pass(self.state.pass, self.cx)?;
            self.steps = (self.state.pass, steps.into_iter().map(Some).collect());
        }
        let step = self.steps.1.get_mut(self.state.in_pass).and_then(Option::take);
        step.ok_or_else(|| OpError::new("the plan of the training has fewer steps than were counted"))
    }

    /// Takes a step, and notes what is due after it.
    fn take(&mut self, step: &Step) -> Result<(), Failure> {
        let index = self.state.step;
        let figures = self.gradients(step)?;
        let rate = learning_rate(self.params, index, self.plan.steps());
        self.torn = true;
        self.optimizer.step(
            self.model.trained_parameters(),
            rate,
            clip_factor(figures.grad_norm, self.params.max_grad_norm),
        );
        if forgets_gradients(self.params) {
            forget_gradients(self.model);
        }
        self.model.spread_weights().map_err(Failure::Model)?;
        let spike = self.state.note_loss(figures.loss);
        self.state.note_exits(&figures.more);
        self.state.step += 1;
        self.state.tokens += figures.tokens as u64;
        self.state.trained_tokens += figures.trained_tokens as u64;
        self.state.samples += step.batches.iter().map(Vec::len).sum::<usize>() as u64;
        self.state.note_flops(figures.flops, figures.recomputed_flops);
        self.note_due(step);
        let mut line = json!({
            "step": index + 1,
            "epoch": step.done.0 as f64 / step.done.1 as f64,
            "loss": figures.loss,
            "learning_rate": rate,
            "grad_norm": figures.grad_norm,
            "tokens": figures.tokens,
            "trained_tokens": figures.trained_tokens,
        });
        for (name, mean) in &figures.more {
            line[name] = (*mean).into();
        }
        self.cx.progress.note(&format!("loss {:.3}", figures.loss));
        if spike {
            line["spike"] = self.names(step.batches.iter().flatten().copied()).into();
            self.cx.progress.note(&format!("loss {:.3}, a spike", figures.loss));
        }
        self.logs.step(&line).map_err(Failure::Stopped)?;
        self.torn = false;
        if self.state.is_lost(self.params) { Err(Failure::Lost(figures.loss)) } else { Ok(()) }
    }

    /// Adds up the gradients of all batches of a step. The loss is the mean over all that counts in the step, so a token
    /// weighs the same in whatever batch it is.
    fn gradients(&mut self, step: &Step) -> Result<Figures, Failure> {
        let units = || step.batches.iter().flatten().copied();
        let count: usize = units().map(|unit| self.objective.count(unit)).sum();
        let (mut loss, mut more) = (0.0, Vec::new());
        for (number, batch) in step.batches.iter().enumerate() {
            self.cx.check_cancelled().map_err(Failure::Stopped)?;
            let pass = self.pass(number, 1.0 / count as f32);
            let added = self.objective.add_gradients(self.model, batch, pass).map_err(Failure::Model)?;
            loss += added.loss;
            more.resize(added.more.len(), (String::new(), 0.0));
            for (all, (name, sum)) in more.iter_mut().zip(added.more) {
                *all = (name, all.1 + sum / count as f64);
            }
        }
        let loss = loss / count as f64;
        if !loss.is_finite() {
            return Err(Failure::Loss(loss));
        }
        self.model.gather_gradients().map_err(Failure::Model)?;
        let grad_norm = gradient_norm(self.model.trained_parameters());
        // A weight cut off from the loss shows at the first step or never.
        if self.state.step == 0 || !grad_norm.is_finite() {
            self.model.check_gradients().map_err(Failure::Model)?;
        }
        let lengths = self.plan.lengths();
        let trained_tokens = units().map(|unit| self.objective.trained_tokens(unit)).sum();
        let lengths: Vec<usize> = units().map(|unit| lengths[unit]).collect();
        let flops = self.model.training_flops(&lengths, trained_tokens);
        let recomputed_flops = self.model.recomputed_flops(&lengths, recompute(self.params));
        let tokens = lengths.iter().sum();
        Ok(Figures { loss, grad_norm, tokens, trained_tokens, flops, recomputed_flops, more })
    }

    /// Returns how a batch of the next step goes through the model.
    fn pass(&self, batch: usize, scale: f32) -> Pass {
        // A batch has a seed of its own: the seed of the node, the step, and its place in the step.
        let place = ((self.state.step as u64) << 24) | batch as u64;
        let noise = |alpha: f64| Noise { alpha: alpha as f32, seed: crate::model::mixed(self.params.seed, place) };
        Pass {
            scale,
            smoothing: self.params.label_smoothing as f32,
            noise: self.params.neftune_noise_alpha.map(noise),
            dropout: self.params.lora.as_ref().map(|_| super::lora::dropout_seed(self.params.seed, place)),
            recompute: recompute(self.params),
        }
    }

    /// Moves on behind a step.
    fn note_due(&mut self, step: &Step) {
        let (done, bins) = step.done;
        let before = done - step.bins;
        let last = self.state.step == self.plan.steps();
        let due = match (self.params.eval_steps, self.params.evals_per_epoch.unwrap_or(1)) {
            (Some(steps), _) => self.state.step.is_multiple_of(steps),
            (None, times) => done * times / bins > before * times / bins,
        };
        self.state.evaluation_due = self.params.evaluates() && (due || last);
        self.state.in_pass += 1;
        if self.state.in_pass == self.steps.1.len() {
            self.state.pass += 1;
            self.state.in_pass = 0;
            if self.params.save_strategy == SaveStrategy::Epoch && !last {
                self.state.epoch_due = Some(self.state.pass);
            }
        }
    }

    /// Does what is due after a step.
    fn follow(&mut self) -> Result<(), OpError> {
        if let Some(epoch) = self.state.epoch_due {
            self.cx.progress.phase("saving the model of the epoch", None, "");
            let (folder, unfinished) = (self.keep.join(format!("epoch{epoch}")), self.keep.join("epoch.unfinished"));
            checkpoint::remove(&unfinished)?;
            (self.save)(self.model, &unfinished)?;
            checkpoint::remove(&folder)?;
            fs_err::rename(&unfinished, &folder)?;
            self.state.epoch_due = None;
            self.announce();
        }
        if self.state.evaluation_due {
            self.evaluate()?;
            self.announce();
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<(), OpError> {
        let score = self.objective.evaluate(self.model, self.cx)?;
        self.torn = true;
        if self.state.note_evaluation(score.loss, self.params) && self.params.load_best_model_at_end {
            checkpoint::write_weights(&self.keep.join(BEST), self.model.trained_parameters())?;
        }
        self.cx.progress.note(&format!("loss {:.3} of what is kept apart", score.loss));
        self.state.note_evaluated_exits(&score.more);
        let mut line = json!({"step": self.state.step, "loss": score.loss});
        for (name, figure) in score.more {
            line[name] = figure.into();
        }
        self.logs.evaluation(&line)?;
        self.state.evaluation_due = false;
        self.torn = false;
        Ok(())
    }

    /// Writes a checkpoint. That it cannot be written costs time after a kill, and is no reason to lose the training.
    fn save_checkpoint(&mut self) {
        self.cx.progress.phase("saving a checkpoint", None, "");
        let (parameters, logs) = (self.model.trained_parameters(), self.logs.files());
        let saved = self.checkpoints.save(&self.state, &self.optimizer, parameters, &logs);
        self.announce();
        if let Err(error) = saved {
            self.failed_checkpoints += 1;
            let help =
                "the training goes on; make room on the disk of the cache, or keep none: `checkpoint_minutes: 0`";
            self.cx.progress.warn(&format!("{}; {help}", error.chain().join(": ")));
        }
    }

    /// Takes the best weights, if they are wanted, and moves the models of epochs to where they belong.
    fn finish(&mut self) -> Result<(), OpError> {
        let best = self.state.best().filter(|(step, _)| *step != self.state.step);
        if self.params.load_best_model_at_end && best.is_some() {
            checkpoint::read_weights(&self.keep.join(BEST), self.model.trained_parameters())?;
        }
        for epoch in self.params.epoch_outputs() {
            // Not moved: should the result not be kept, the next run goes on from here.
            copy_all(&self.keep.join(&epoch), &self.cx.out.join(&epoch))?;
        }
        Ok(())
    }

    /// Names some units.
    fn names(&self, units: impl Iterator<Item = usize> + Clone) -> Vec<String> {
        let more = units.clone().count().saturating_sub(NAMED);
        let mut names: Vec<String> = units.take(NAMED).map(|unit| self.objective.name(unit)).collect();
        if more > 0 {
            names.push(format!("{more} more"));
        }
        names
    }

    fn locate(&self, failure: Failure, step: &Step) -> OpError {
        let help = "lower `learning_rate`, lengthen the warm-up (`warmup_ratio`), or clip harder (`max_grad_norm`)";
        let number = self.state.step + 1;
        match failure {
            Failure::Stopped(error) => error,
            Failure::Lost(loss) => {
                let (patience, step) = (watchdog_patience(self.params), self.state.step);
                let above = "above `loss_watchdog_threshold`";
                OpError::new(format!("the loss is {loss} at step {step}, for {patience} steps {above}")).help(help)
            }
            Failure::Loss(loss) => {
                let of = self.culprits(step);
                OpError::new(format!("the loss is {loss} at step {number}, in {of}")).help(help)
            }
            Failure::Model(error @ ModelError::NotFinite { .. }) => {
                let of = self.culprits(step);
                OpError::caused(format!("training broke down at step {number}, in {of}"), error).help(help)
            }
            Failure::Model(error) => OpError::caused(format!("cannot take step {number}"), error),
        }
    }

    /// Names the samples of a step that have no finite loss by themselves, or all of them.
    fn culprits(&self, step: &Step) -> String {
        let units = || step.batches.iter().flatten().copied();
        let broken = |unit: &usize| !self.objective.loss_of(self.model, *unit).is_ok_and(f64::is_finite);
        let culprits: Vec<usize> = units().filter(broken).take(NAMED + 1).collect();
        let names = if culprits.is_empty() { self.names(units()) } else { self.names(culprits.into_iter()) };
        names.join(", ")
    }
}

/// Returns what is computed again in backward passes.
fn recompute(params: &SftParams) -> Recompute {
    match params.gradient_checkpointing {
        GradientCheckpointing::None => Recompute::Nothing,
        GradientCheckpointing::Selective => Recompute::FeedForward,
        GradientCheckpointing::Full => Recompute::Layers,
    }
}

/// Says whether gradients and what a forward pass keeps need not be there together: no gradient waits for another pass.
fn forgets_gradients(params: &SftParams) -> bool {
    params.gradient_accumulation_steps == 1
}

/// Gives the memory of gradients to the next forward pass. That of the output layer is the first that a backward pass adds to,
/// while all is still there that the forward pass kept, so nothing would be gained by it.
fn forget_gradients(model: &CausalLm) {
    let parameters = model.trained_parameters().iter();
    parameters.filter(|parameter| parameter.kind() != ParameterKind::Table).for_each(|one| one.forget_gradient());
}

/// Copies all files of a folder into a new one, without copying bytes where the file system can share them. The cache takes
/// no hard links: what changes one name of a file changes the other.
fn copy_all(from: &Path, to: &Path) -> Result<(), OpError> {
    fs_err::create_dir_all(to)?;
    for entry in fs_err::read_dir(from)? {
        let (file, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        reflink_copy::reflink_or_copy(&file, to.join(&name))
            .map_err(|error| OpError::new(format!("cannot copy {}: {error}", file.display())))?;
    }
    Ok(())
}

/// A step's figures.
struct Figures {
    loss: f64,
    grad_norm: f64,
    tokens: usize,
    trained_tokens: usize,
    flops: f64,
    recomputed_flops: f64,
    /// Means of other figures.
    more: Vec<(String, f64)>,
}

/// Why a step failed.
enum Failure {
    Stopped(OpError),
    Model(ModelError),
    Loss(f64),
    Lost(f64),
}
