//! Direct preference optimisation: the better of two answers is to become likelier than the worse one, both seen beside
//! what a reference thinks of them (Rafailov et al. 2023, "Direct Preference Optimization").
//!
//! With `m = β · ((log π(chosen) − log ref(chosen)) − (log π(rejected) − log ref(rejected)))` the loss of a pair is
//! `−(1 − ε) · log σ(m) − ε · log σ(−m)`, and that of a step the mean over its pairs, as in TRL's `sigmoid` loss. Only
//! tokens of the answers count: what both conversations begin with is context. What the reference thinks is found out
//! before the first step, so that only one model is in memory while it trains.

use super::objective::{Added, Objective, Score};
use super::samples::{Sample, read_rows};
use super::turns::{self, Marked};
use crate::data::{Preference, Row, Tokenizer};
use crate::model::{CausalLm, ModelError, Packed, Pass};
use crate::ops::{OpCx, OpError};
use crate::spec::params::{DpoSettings, LongSamples, SftParams};

/// Two answers as the model sees them.
#[derive(Debug)]
struct Pair {
    chosen: Sample,
    rejected: Sample,
    /// The logarithms of the probabilities that the reference gives to the answers.
    reference: [f64; 2],
}

/// All pairs, and what became of those that did not fit.
pub(super) struct Preferences {
    beta: f64,
    smoothing: f64,
    pairs: Vec<Pair>,
    held_out: Vec<Pair>,
    names: Vec<String>,
    /// How many had an answer cut at `sequence_len`.
    pub(super) truncated: usize,
    /// How many were left out: too long, or because nothing was left of an answer.
    pub(super) dropped: usize,
}

/// The tokens of both conversations, or why there are none.
type Both = Result<(Marked, Marked), &'static str>;

impl Preferences {
    /// Reads the data of the node and asks the reference about it.
    pub(super) fn read(
        settings: &DpoSettings,
        params: &SftParams,
        tokenizer: &Tokenizer,
        cx: &OpCx<'_>,
    ) -> Result<Self, OpError> {
        let mut all = Self {
            beta: settings.beta,
            smoothing: settings.label_smoothing,
            pairs: Vec::new(),
            held_out: Vec::new(),
            names: Vec::new(),
            truncated: 0,
            dropped: 0,
        };
        let encode = |row: &Row| match row {
            Row::Preference(both) => encode(both, tokenizer),
            _ => Ok(Err("it holds other rows than pairs of answers, which `dpo` is about")),
        };
        for slot in ["data", "eval_data"] {
            let first = all.pairs.len();
            let names = read_rows(slot, cx, encode, |both: (Marked, Marked), origin| all.add(both, origin, params))?;
            if slot == "data" {
                all.names = names;
                if all.pairs.is_empty() {
                    let help = "raise `sequence_len`, or look at the steps of the curation before it";
                    return Err(OpError::new("there is no pair of answers to learn from").help(help));
                }
                all.held_out = super::samples::split_off(&mut all.pairs, params)?;
            } else {
                let more = all.pairs.split_off(first);
                all.held_out.extend(more);
            }
        }
        Ok(all)
    }

    fn add(&mut self, both: (Marked, Marked), origin: (usize, u64), params: &SftParams) -> Result<(), OpError> {
        let longest = params.sequence_len;
        let mut pair = Pair {
            chosen: Sample::new(both.0.ids, both.0.trained, origin),
            rejected: Sample::new(both.1.ids, both.1.trained, origin),
            reference: [0.0; 2],
        };
        let length = pair.chosen.ids.len().max(pair.rejected.ids.len());
        if length > longest {
            match params.long_samples {
                LongSamples::Truncate | LongSamples::Split => self.truncated += 1,
                LongSamples::Drop => {
                    self.dropped += 1;
                    return Ok(());
                }
                LongSamples::Error => {
                    let message = format!("row {} has an answer of {length} tokens with its chat", origin.1);
                    let help =
                        "raise `sequence_len`, or say what to do with such pairs: `long_samples: truncate` or `drop`";
                    return Err(OpError::new(format!("{message}, more than `sequence_len`")).help(help));
                }
            }
            pair.chosen.cut(longest);
            pair.rejected.cut(longest);
        }
        if pair.chosen.trained_tokens() == 0 || pair.rejected.trained_tokens() == 0 {
            self.dropped += 1;
        } else {
            self.pairs.push(pair);
        }
        Ok(())
    }

    /// Asks the reference about all pairs.
    pub(super) fn ask(&mut self, reference: &CausalLm, cx: &OpCx<'_>) -> Result<(), OpError> {
        let all = self.pairs.len() + self.held_out.len();
        cx.progress.phase("asking the reference", Some(all as u64), "pairs");
        for (done, pair) in self.pairs.iter_mut().chain(&mut self.held_out).enumerate() {
            cx.check_cancelled()?;
            let asked = reference.log_probs(&pair.packed());
            let asked = asked.map_err(|error| OpError::caused("cannot ask the reference", error))?;
            pair.reference = pair.answers(&asked);
            cx.progress.position(done as u64 + 1);
        }
        Ok(())
    }

    /// Returns the better answers, with their chats.
    pub(super) fn chosen(&self) -> impl Iterator<Item = &Sample> {
        self.pairs.iter().map(|pair| &pair.chosen)
    }

    /// Returns how many pairs there are to learn from, and how many are kept apart.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.pairs.len(), self.held_out.len())
    }

    /// Returns the loss of a pair, what its gradient is multiplied by, and the margin.
    fn loss(&self, pair: &Pair, log_probs: &[f32]) -> Judged {
        let [chosen, rejected] = pair.answers(log_probs);
        let margin = self.beta * ((chosen - pair.reference[0]) - (rejected - pair.reference[1]));
        let (right, wrong) = (1.0 - self.smoothing, self.smoothing);
        Judged {
            loss: right * softplus(-margin) + wrong * softplus(margin),
            // The derivative of the loss by the margin, the other way round: it is made greater.
            push: right * sigmoid(-margin) - wrong * sigmoid(margin),
            margin,
        }
    }
}

/// What the model thinks of a pair.
struct Judged {
    loss: f64,
    push: f64,
    margin: f64,
}

impl Pair {
    /// Returns both conversations as documents.
    fn packed(&self) -> Packed {
        let mut packed = Packed::default();
        packed.push(&self.chosen.ids);
        packed.push(&self.rejected.ids);
        packed
    }

    fn len(&self) -> usize {
        self.chosen.ids.len() + self.rejected.ids.len()
    }

    /// Returns the logarithms of the probabilities of both answers, from those of all tokens.
    fn answers(&self, log_probs: &[f32]) -> [f64; 2] {
        let (chosen, rejected) = log_probs.split_at(self.chosen.ids.len());
        [(&self.chosen, chosen), (&self.rejected, rejected)].map(|(sample, log_probs)| {
            let trained = sample.trained.iter().zip(log_probs).filter(|(trained, _)| **trained);
            trained.map(|(_, log_prob)| f64::from(*log_prob)).sum()
        })
    }
}

impl Objective for Preferences {
    fn lengths(&self) -> Vec<usize> {
        self.pairs.iter().map(Pair::len).collect()
    }

    fn room(&self, params: &SftParams) -> usize {
        2 * params.sequence_len
    }

    fn count(&self, _unit: usize) -> usize {
        1
    }

    fn trained_tokens(&self, unit: usize) -> usize {
        self.pairs[unit].chosen.trained_tokens() + self.pairs[unit].rejected.trained_tokens()
    }

    fn name(&self, unit: usize) -> String {
        let (data, row) = self.pairs[unit].chosen.origin;
        format!("row {row} of `{}`", self.names[data])
    }

    fn add_gradients(&self, model: &mut CausalLm, units: &[usize], pass: Pass) -> Result<Added, ModelError> {
        let pairs: Vec<&Pair> = units.iter().map(|unit| &self.pairs[*unit]).collect();
        let mut packed = Packed::default();
        let mut trained = Vec::new();
        for pair in &pairs {
            for sample in [&pair.chosen, &pair.rejected] {
                packed.push(&sample.ids);
                trained.extend_from_slice(&sample.trained);
            }
        }
        let mut added = Added { loss: 0.0, more: vec![("reward_margin".into(), 0.0), ("reward_accuracy".into(), 0.0)] };
        model.add_weighed_gradients(&packed, &trained, pass, &mut |log_probs| {
            let mut factors = Vec::with_capacity(log_probs.len());
            let mut start = 0;
            for pair in &pairs {
                let judged = self.loss(pair, &log_probs[start..start + pair.len()]);
                added.loss += judged.loss;
                added.more[0].1 += judged.margin;
                added.more[1].1 += f64::from(u8::from(judged.margin > 0.0));
                let push = (self.beta * judged.push) as f32;
                factors.resize(factors.len() + pair.chosen.ids.len(), push);
                factors.resize(factors.len() + pair.rejected.ids.len(), -push);
                start += pair.len();
            }
            factors
        })?;
        Ok(added)
    }

    fn loss_of(&self, model: &CausalLm, unit: usize) -> Result<f64, ModelError> {
        let pair = &self.pairs[unit];
        Ok(self.loss(pair, &model.log_probs(&pair.packed())?).loss)
    }

    fn evaluate(&self, model: &CausalLm, cx: &OpCx<'_>) -> Result<Score, OpError> {
        cx.progress.phase("evaluating", Some(self.held_out.len() as u64), "pairs");
        let (mut loss, mut margin, mut right) = (0.0, 0.0, 0);
        for (done, pair) in self.held_out.iter().enumerate() {
            cx.check_cancelled()?;
            let log_probs = model.log_probs(&pair.packed());
            let judged = self.loss(pair, &log_probs.map_err(|error| OpError::caused("cannot evaluate", error))?);
            loss += judged.loss;
            margin += judged.margin;
            right += usize::from(judged.margin > 0.0);
            cx.progress.position(done as u64 + 1);
        }
        let count = self.held_out.len();
        let mean = |sum: f64| sum / count as f64;
        let more = [("pairs", count as f64), ("reward_margin", mean(margin)), ("reward_accuracy", mean(right as f64))];
        Ok(Score { loss: mean(loss), more: more.map(|(name, figure)| (name.to_owned(), figure)).into() })
    }
}

/// Returns the tokens of both conversations, of which the answers are marked.
fn encode(both: &Preference, tokenizer: &Tokenizer) -> Result<Both, crate::data::DataError> {
    let (chosen, rejected) = (&both.chosen.messages, &both.rejected.messages);
    let common = chosen.iter().zip(rejected).take_while(|(a, b)| a == b).count();
    if common == chosen.len() && common == rejected.len() {
        return Ok(Err("it holds a pair whose answers are the same"));
    }
    let said_before = chosen[..common].iter().filter(|message| message.role == "assistant").count();
    let answer = |chat| turns::answer(chat, said_before, tokenizer);
    Ok(Ok((answer(&both.chosen)?, answer(&both.rejected)?)))
}

/// Returns `log(1 + eˣ)`.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) }
}
