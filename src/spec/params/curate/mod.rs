//! `kind: curate`: rows in, fewer and better rows out.
//!
//! A step is one struct, in the file of what it is about: shaping, text, filters, duplicates. `steps!` makes the enum of
//! them, which is what the parser reads and the schema describes.

mod answers;
mod chat;
mod classify;
mod clean;
mod decontaminate;
mod duplicates;
mod entry;
mod filter;
mod join;
mod measure;
mod order;
mod output;
mod quality;
mod semantic;
mod shape;
mod text;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use answers::{CheckAnswers, RuleMode};
pub use chat::CheckMessages;
pub use classify::{Classify, LineEnd};
pub use clean::{FixEntities, FixForm, FixProfile, FixSpaces, FixText, Pii, PiiAction, PiiType};
pub use decontaminate::{ContaminationMethod, Decontaminate, EvalSet};
pub use duplicates::{
    DedupExact, DedupFuzzy, DedupSubstring, DuplicateKey, KeepRule, MinHashScheme, PassageAction, ShingleUnit,
    ShortRows, TextForm,
};
pub use entry::CurateEntry;
pub use filter::{FilterMode, Language, LanguageCode, LanguageDetector, LanguageScope, Length, Matches, NoProse};
pub use join::{Join, Unmatched};
pub use measure::{CountTokens, Perplexity};
pub use output::{CurateOutput, OutputFormat};
pub use quality::{Quality, QualityProfile, QualityRule, Threshold, Toxicity, WordKind, WordListName};
pub use semantic::DedupSemantic;
pub use shape::{
    Explode, Messages, MessagesFormat, Mix, Rename, Sample, SelectColumns, SetColumns, Shuffle, Sort, Split,
    TemplateMessage, Thinking, Where,
};
pub use text::{Dedup, Normalize, Replace, UnicodeForm};

use super::{Expect, Input, InputRef, InputType, Kind, Mistake, Output, Params};

/// Filters, cleans and splits rows, step by step, with a count of rows in and out of every step.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CurateParams {
    /// The data sets to read, one after the other: the names of nodes, or mappings with what is to be known about each.
    #[serde(skip_serializing_if = "entry::plain")]
    pub from: Vec<CurateEntry>,
    /// What happens to the rows, in this order.
    #[serde(default)]
    pub steps: Vec<CurateStep>,
    /// Columns to keep beside what a row says; `flags` is what filters in the mode `flag` had against it. The others are left
    /// out, so that what is written depends on nothing that was not asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// A tokenizer, or the model that has it: every step's counts have tokens beside rows. A chat is counted through its chat
    /// template, and by its words alone where the template refuses it.
    #[serde(default, skip_serializing)]
    pub tokenizer: Option<InputRef>,
    /// How the rows are written.
    #[serde(default, skip_serializing_if = "CurateOutput::is_default")]
    pub output: CurateOutput,
    /// What comes out of it, as far as that is expected, for `luthflow plan --estimate`. Not part of the key.
    #[serde(default, skip_serializing)]
    pub expect: Option<Expect>,
}

/// What the settings of a step can say about themselves.
pub(super) trait StepParams {
    /// Mistakes that no single field shows; their fields are paths below the step.
    fn mistakes(&self) -> Vec<Mistake> {
        Vec::new()
    }

    /// The nodes that the step reads, by slots below the step's.
    fn reads(&self) -> Vec<Input<'_>> {
        Vec::new()
    }

    /// What happens to a row that the step is against.
    fn filter_mode(&self) -> FilterMode {
        FilterMode::Drop
    }
}

macro_rules! steps {
    ($($(#[$about:meta])+ $name:ident($settings:ty) = $word:literal,)+) => {
        /// One step of curation.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum CurateStep {
            $($(#[$about])+ $name($settings),)+
        }

        impl CurateStep {
            /// Returns the word that names the step.
            pub fn name(&self) -> &'static str {
                match self { $(CurateStep::$name(_) => $word,)+ }
            }

            fn settings(&self) -> &dyn StepParams {
                match self { $(CurateStep::$name(settings) => settings,)+ }
            }
        }
    };
}

steps! {
    /// Brings columns to chat messages.
    Messages(Messages) = "messages",
    /// Gives columns other names.
    Rename(Rename) = "rename",
    /// Keeps the named columns and drops the others.
    Select(SelectColumns) = "select",
    /// Writes columns from others.
    Set(SetColumns) = "set",
    /// Keeps rows for which an expression holds.
    Where(Where) = "where",
    /// Makes a row of every element of a column that is a list.
    Explode(Explode) = "explode",
    /// Gives every row columns of the row of another data set that has the same key.
    Join(Join) = "join",
    /// Drops or flags answers that are cut off, refuse, repeat, or leave something open.
    CheckAnswers(CheckAnswers) = "check_answers",
    /// Mends damaged text.
    FixText(FixText) = "fix_text",
    /// Repairs conversations and drops those that are none.
    CheckMessages(CheckMessages) = "check_messages",
    /// Brings text to one Unicode form and tidies white space.
    Normalize(Normalize) = "normalize",
    /// Replaces what a regular expression finds.
    Replace(Replace) = "replace",
    /// Drops rows that are too short or too long.
    Length(Length) = "length",
    /// Drops or flags rows whose text is no good.
    Quality(Quality) = "quality",
    /// Replaces personal data.
    Pii(Pii) = "pii",
    /// Drops or flags rows with a word of a list.
    Toxicity(Toxicity) = "toxicity",
    /// Keeps rows in the given languages.
    Language(Language) = "language",
    /// Keeps or drops rows by the labels of a model of fastText.
    Classify(Classify) = "classify",
    /// Keeps or drops rows in which a regular expression finds something.
    Matches(Matches) = "matches",
    /// Drops rows that repeat an earlier one.
    Dedup(Dedup) = "dedup",
    /// Drops rows that say the same as another one, and keeps the best of them.
    DedupExact(DedupExact) = "dedup_exact",
    /// Drops rows that are nearly the same as another one, and keeps the best of them.
    DedupFuzzy(DedupFuzzy) = "dedup_fuzzy",
    /// Drops rows that mean nearly the same as another one to a model, and keeps the best of them.
    DedupSemantic(DedupSemantic) = "dedup_semantic",
    /// Finds passages that stood earlier in the data.
    DedupSubstring(DedupSubstring) = "dedup_substring",
    /// Drops rows that give items of evaluation sets away.
    Decontaminate(Decontaminate) = "decontaminate",
    /// Counts tokens, and keeps rows by their number.
    CountTokens(CountTokens) = "count_tokens",
    /// Keeps rows by how likely a model finds them.
    Perplexity(Perplexity) = "perplexity",
    /// Takes as much of every entry of `from` as its weight says.
    Mix(Mix) = "mix",
    /// Puts rows into a random order.
    Shuffle(Shuffle) = "shuffle",
    /// Puts rows into an order.
    Sort(Sort) = "sort",
    /// Keeps a reproducible random sample.
    Sample(Sample) = "sample",
    /// Sets a part aside for evaluation; must be the last step.
    Split(Split) = "split",
}

impl CurateStep {
    /// Returns whether what the step makes of a row depends on nothing but the row.
    pub fn is_by_row(&self) -> bool {
        use CurateStep as Step;
        let alone = matches!(
            self,
            Step::Messages(_)
                | Step::Rename(_)
                | Step::Select(_)
                | Step::Set(_)
                | Step::Where(_)
                | Step::Explode(_)
                | Step::CheckMessages(_)
                | Step::CheckAnswers(_)
                | Step::Normalize(_)
                | Step::Replace(_)
                | Step::FixText(_)
                | Step::Toxicity(_)
                | Step::Quality(_)
                | Step::Length(_)
                | Step::Language(_)
                | Step::Matches(_)
        );
        alone && self.settings().reads().is_empty()
    }

    /// Returns whether the step takes longer than reading rows does, so that what it made of them is worth keeping.
    pub fn is_costly(&self) -> bool {
        use CurateStep as Step;
        matches!(
            self,
            Step::CheckAnswers(_)
                | Step::Replace(_)
                | Step::FixText(_)
                | Step::Toxicity(_)
                | Step::Quality(_)
                | Step::Language(_)
                | Step::Matches(_)
        )
    }

    /// Returns what happens to a row that the step is against.
    pub fn mode(&self) -> FilterMode {
        self.settings().filter_mode()
    }
}

impl CurateParams {
    /// The word in `kind:`.
    pub const NAME: &'static str = "curate";

    /// Returns the split, if there is one.
    pub fn split(&self) -> Option<&Split> {
        self.steps.iter().find_map(|step| if let CurateStep::Split(split) = step { Some(split) } else { None })
    }

    /// Returns what the entries of `from` are called: their own names, or `from[0]`.
    pub fn entry_names(&self) -> Vec<String> {
        let name = |(i, entry): (usize, &CurateEntry)| entry.name.clone().unwrap_or_else(|| format!("from[{i}]"));
        self.from.iter().enumerate().map(name).collect()
    }
}

impl Params for CurateParams {
    const KIND: Kind = Kind::Curate;
    const VERSION: u32 = 2;

    fn inputs(&self) -> Vec<Input<'_>> {
        let entries = self.from.iter().enumerate();
        let mut inputs: Vec<Input<'_>> =
            entries.map(|(i, entry)| Input::one(format!("from[{i}]"), &entry.node, InputType::Dataset)).collect();
        for (i, step) in self.steps.iter().enumerate() {
            for mut input in step.settings().reads() {
                input.slot = format!("steps[{i}].{}.{}", step.name(), input.slot);
                inputs.push(input);
            }
        }
        inputs.extend(self.tokenizer.iter().map(|from| Input::one("tokenizer", from, InputType::Any)));
        inputs
    }

    fn outputs(&self) -> Vec<Output> {
        let kind = InputType::Dataset;
        if self.split().is_some() {
            vec![
                Output { name: "train".into(), path: "train".into(), kind },
                Output { name: "eval".into(), path: "eval".into(), kind },
            ]
        } else {
            vec![Output { name: "".into(), path: "rows".into(), kind }]
        }
    }

    fn advice(&self) -> Vec<Mistake> {
        order::advice(&self.steps)
    }

    fn check(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.from.is_empty() {
            mistakes.push(Mistake::new("from", "there is nothing to curate").help("name at least one source node"));
        }
        mistakes.extend(entry::mistakes(&self.from));
        for (i, step) in self.steps.iter().enumerate() {
            for mut mistake in step.settings().mistakes() {
                mistake.field = match mistake.field.as_str() {
                    "" => format!("steps[{i}].{}", step.name()),
                    field => format!("steps[{i}].{}.{field}", step.name()),
                };
                mistakes.push(mistake);
            }
            if let CurateStep::Mix(mix) = step {
                mistakes.extend(mix.strangers(&self.entry_names(), &format!("steps[{i}].mix.weights")));
            }
            if matches!(step, CurateStep::Split(_)) && i + 1 != self.steps.len() {
                mistakes.push(Mistake::new(format!("steps[{i}]"), "`split` must be the last step"));
            }
        }
        mistakes
    }
}
