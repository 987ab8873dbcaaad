//! Questions put to a model: each made a request of tokens, looked up among the answers that came before, and computed if it
//! is not there. Every answer is kept by the model's digest and the tokens, before anything is made of it: a run that was
//! killed goes on, and what one task asked is known to all.

mod likelihood;
mod prompt;
mod store;
mod words;

use std::path::Path;

use super::sampled::Sampled;
use super::task::{Asked, Question};
use crate::generate::Generator;
use crate::model::DeviceChoice;
use crate::ops::{OpCx, OpError, exits};
use crate::spec::params::EvalParams;

pub(super) use prompt::Manner;
pub(super) use store::Answers;
pub(super) use words::Writing;

/// A model, and what it said before.
pub(super) struct Witness<'a> {
    generator: Generator,
    answers: Answers,
    cx: &'a OpCx<'a>,
    /// Answers that are written at once.
    batch: usize,
    pub(super) counts: std::cell::Cell<Counts>,
}

/// How much was asked.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    /// Requests that were computed.
    pub(super) computed: u64,
    /// Requests whose answers were known.
    pub(super) known: u64,
    /// Tokens that went through the model.
    pub(super) tokens: u64,
}

impl<'a> Witness<'a> {
    /// Opens a model folder.
    pub(super) fn open(dir: &Path, params: &EvalParams, cx: &'a OpCx<'a>) -> Result<Self, OpError> {
        let unusable = |error| OpError::caused("cannot use the model", error);
        let exit = exits::stop(dir, params.exit)?;
        let generator = Generator::load_at(dir, &crate::data::TemplateSettings::default(), cx.device, exit);
        let device = if cx.device == DeviceChoice::Cpu { String::new() } else { format!(" on {}", cx.device) };
        let at = exits::said(exit);
        let answers = Answers::open(dir, &format!("{device}{at}"), cx)?;
        let batch = params.batch;
        Ok(Self { generator: generator.map_err(unusable)?, answers, cx, batch, counts: std::cell::Cell::default() })
    }

    /// Returns the tokenizer of the model.
    pub(super) fn tokenizer(&self) -> &crate::data::Tokenizer {
        self.generator.tokenizer()
    }

    /// Puts questions to the model. `writing` says how answers are written, and is not asked where none are.
    pub(super) fn ask(
        &self,
        task: &str,
        questions: &[Question],
        manner: &Manner,
        writing: &Writing,
    ) -> Result<Vec<Sampled>, OpError> {
        let written = questions.iter().any(|question| matches!(question.asked, Asked::Answer { .. }));
        if written {
            words::ask(self, task, questions, manner, writing)
        } else {
            likelihood::ask(self, task, questions, manner)
        }
    }

    fn count(&self, more: Counts) {
        let Counts { computed, known, tokens } = self.counts.get();
        self.counts.set(Counts {
            computed: computed + more.computed,
            known: known + more.known,
            tokens: tokens + more.tokens,
        });
    }
}

/// Returns what is known of a row before it is answered.
fn begun(question: &Question, prompt: String, prompt_tokens: usize) -> Sampled {
    Sampled {
        row: question.row,
        group: question.group.clone(),
        cluster: question.cluster.clone(),
        prompt,
        prompt_tokens,
        gold: question.gold.clone(),
        columns: question.columns.clone(),
        ..Sampled::default()
    }
}
