//! The settings of every node kind: one file a kind, one struct a file.
//!
//! These structs are three things at once, so that they cannot drift apart: what the parser accepts, what the JSON
//! Schema and the reference page describe, and what enters a node's key. Two rules make that work:
//!
//! * A field that names another node is an [`InputRef`] and is skipped when serialising. What an input is *called* says
//!   nothing about the result; its content does, and enters the key as a digest.
//! * Everything else is serialised, defaults included, so that a changed default is a changed key. A field added later,
//!   whose default keeps the old behaviour, is skipped while it has that default (`skip_serializing_if`): old results
//!   stay valid. Any other change of meaning raises the kind's `VERSION`.
//!
//! No `flatten` and no `untagged`: they would spoil the error messages.

mod command;
mod curate;
mod eval;
mod exit;
mod export;
mod generate;
mod init;
mod input;
mod lora;
mod merge;
mod moe;
mod report;
mod select;
mod sft;
mod source;
mod tokenizer;

pub use command::{Argument, CommandParams, Gives};
pub use curate::{
    CheckAnswers, CheckMessages, Classify, ContaminationMethod, CountTokens, CurateEntry, CurateOutput, CurateParams,
    CurateStep, Decontaminate, Dedup, DedupExact, DedupFuzzy, DedupSemantic, DedupSubstring, DuplicateKey, EvalSet,
    Explode, FilterMode, FixEntities, FixForm, FixProfile, FixSpaces, FixText, Join, KeepRule, Language, LanguageCode,
    LanguageDetector, LanguageScope, Length, LineEnd, Matches, Messages, MessagesFormat, MinHashScheme, Mix, NoProse,
    Normalize, OutputFormat, PassageAction, Perplexity, Pii, PiiAction, PiiType, Quality, QualityProfile, QualityRule,
    Rename, Replace, RuleMode, Sample, SelectColumns, SetColumns, ShingleUnit, ShortRows, Shuffle, Sort, Split,
    TemplateMessage, TextForm, Thinking, Threshold, Toxicity, UnicodeForm, Unmatched, Where, WordKind, WordListName,
};
pub use eval::{
    Average, BitsPerByte, COST, COST_SCORES, Choices, Draw, EvalParams, Extract, FewShot, Generate, IFEVAL_SCORES,
    Ignore, JudgeRules, Metric, MetricName, MinimalPairs, NamedTask, Pair, Profile, Request, Rolling, ShotOrder, Take,
    Task, TaskDefinition, TaskSource,
};
pub use exit::Exit;
pub use export::{ExportFormat, ExportParams, ExportType};
pub use generate::{
    AnswerForm, AnswerParams, Budget, Endpoint, GenerateParams, OnError, Prices, PromptMessage, RequestSettings, Votes,
};
pub use init::{Architecture, ChatTemplate, InitParams, ModelShape};
pub use input::{Input, InputRef, InputType};
pub use lora::{ApplyLoraParams, ExtractLoraParams};
pub use merge::{
    Amount, BaseUse, Body, Compat, ConfigModel, ConfigModule, ConfigSlice, ConfigSource, ConfigToken, ConfigTokenizer,
    MergeConfig, MergeMethod, MergeModel, MergeParameters, MergeParams, Parameter, ParameterKind, Precision, Scope,
    Setting, Settings, Takes, TokenSource,
};
pub use moe::{GateMode, MoeExpert, MoeLayout, MoeParams};
pub use report::ReportParams;
pub use select::{Goal, Search, SearchMethod, SelectParams};
pub use sft::{
    BranchParams, DpoSettings, EarlyExitParams, ExitHead, ExitWeights, GradientCheckpointing, LongSamples, LoraOutput,
    LoraParams, OptimizerName, Packing, SaveStrategy, Schedule, SftParams, TargetModules, TrainOn, TrainOnEos,
    names_module,
};
pub use source::{Expect, NoText, OnBadRow, RowRange, SourceFormat, SourceParams, TaskPart, TextRows, WeightType};
pub use tokenizer::TokenizerParams;

use std::borrow::{Borrow, Cow};

use serde::{Deserialize, Serialize};

/// What the settings of a node kind can tell the graph about themselves.
pub trait Params: Serialize {
    /// The word in `kind:`.
    const KIND: Kind;
    /// The semantic version of what the kind does: raised when the same settings and inputs give other bytes.
    const VERSION: u32;

    /// The nodes this one reads, with the slot each one fills and what it must be.
    fn inputs(&self) -> Vec<Input<'_>>;

    /// What others may read from this node. The first one without a name, if any, is what the bare node name means.
    fn outputs(&self) -> Vec<Output>;

    /// Mistakes that no single field shows, as `(field, message, help)`.
    fn check(&self) -> Vec<Mistake> {
        Vec::new()
    }

    /// What is no mistake and probably not meant.
    fn advice(&self) -> Vec<Mistake> {
        Vec::new()
    }
}

/// A mistake in a node's settings that the types alone cannot catch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The field it is about, as a path below the node: `split.eval`.
    pub field: String,
    /// What is wrong, a lower-case fragment without a full stop.
    pub message: String,
    /// The way out, if there is one to name.
    pub help: Option<String>,
}

impl Mistake {
    /// Returns a mistake in `field`.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into(), help: None }
    }

    /// Adds the way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// One thing a node offers to others: a folder inside its artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The name after the dot (`train` in `corpus.train`); empty for what the bare node name means.
    pub name: Cow<'static, str>,
    /// The folder or file inside the artifact, empty for all of it.
    pub path: Cow<'static, str>,
    /// What it is.
    pub kind: InputType,
}

/// The closed set of node kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Content pinned from outside.
    Source,
    /// Rows filtered, cleaned and split.
    Curate,
    /// A language model asked about every row.
    Generate,
    /// A tokenizer trained on data.
    Tokenizer,
    /// A model with random weights.
    Init,
    /// Supervised fine-tuning.
    Sft,
    /// Weights of several models combined.
    Merge,
    /// A mixture of experts from several models.
    Moe,
    /// An adapter added to a model.
    #[serde(rename = "apply_lora")]
    ApplyLora,
    /// The difference of two models as an adapter.
    #[serde(rename = "extract_lora")]
    ExtractLora,
    /// Scores of a model.
    Eval,
    /// A model in the format of another program.
    Export,
    /// The best instance of a swept node.
    Select,
    /// Any other program.
    Command,
    /// Tables and curves over everything gathered.
    Report,
}

impl Kind {
    /// Every kind, in the order a pipeline usually runs them.
    pub const ALL: [Kind; 15] = [
        Kind::Source,
        Kind::Curate,
        Kind::Generate,
        Kind::Tokenizer,
        Kind::Init,
        Kind::Sft,
        Kind::Merge,
        Kind::Moe,
        Kind::ApplyLora,
        Kind::ExtractLora,
        Kind::Eval,
        Kind::Export,
        Kind::Select,
        Kind::Command,
        Kind::Report,
    ];

    /// Returns the word written in `kind:`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Source => SourceParams::NAME,
            Kind::Curate => CurateParams::NAME,
            Kind::Generate => GenerateParams::NAME,
            Kind::Tokenizer => TokenizerParams::NAME,
            Kind::Init => InitParams::NAME,
            Kind::Sft => SftParams::NAME,
            Kind::Merge => MergeParams::NAME,
            Kind::Moe => MoeParams::NAME,
            Kind::ApplyLora => ApplyLoraParams::NAME,
            Kind::ExtractLora => ExtractLoraParams::NAME,
            Kind::Eval => EvalParams::NAME,
            Kind::Export => ExportParams::NAME,
            Kind::Select => SelectParams::NAME,
            Kind::Command => CommandParams::NAME,
            Kind::Report => ReportParams::NAME,
        }
    }

    /// Returns the kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The settings of one node, of whatever kind.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "one a node; a box would be in the way of every match")]
pub enum Op {
    /// See [`SourceParams`].
    Source(SourceParams),
    /// See [`CurateParams`].
    Curate(CurateParams),
    /// See [`GenerateParams`].
    Generate(GenerateParams),
    /// See [`TokenizerParams`].
    Tokenizer(TokenizerParams),
    /// See [`InitParams`].
    Init(InitParams),
    /// See [`SftParams`].
    Sft(SftParams),
    /// See [`MergeParams`].
    Merge(MergeParams),
    /// See [`MoeParams`].
    Moe(MoeParams),
    /// See [`ApplyLoraParams`].
    ApplyLora(ApplyLoraParams),
    /// See [`ExtractLoraParams`].
    ExtractLora(ExtractLoraParams),
    /// See [`EvalParams`].
    Eval(EvalParams),
    /// See [`ExportParams`].
    Export(ExportParams),
    /// See [`SelectParams`].
    Select(SelectParams),
    /// See [`CommandParams`].
    Command(CommandParams),
    /// See [`ReportParams`].
    Report(ReportParams),
}

/// Calls `$body` with `$params` bound to the settings inside an [`Op`], whatever its kind.
macro_rules! with_params {
    ($op:expr, $params:ident => $body:expr) => {
        match $op {
            Op::Source($params) => $body,
            Op::Curate($params) => $body,
            Op::Generate($params) => $body,
            Op::Tokenizer($params) => $body,
            Op::Init($params) => $body,
            Op::Sft($params) => $body,
            Op::Merge($params) => $body,
            Op::Moe($params) => $body,
            Op::ApplyLora($params) => $body,
            Op::ExtractLora($params) => $body,
            Op::Eval($params) => $body,
            Op::Export($params) => $body,
            Op::Select($params) => $body,
            Op::Command($params) => $body,
            Op::Report($params) => $body,
        }
    };
}

impl Op {
    /// Reads the settings of a node of this kind; the error carries the path of the offending field.
    pub fn from_fields(
        kind: Kind,
        fields: impl Borrow<serde_json::Value>,
    ) -> Result<Self, serde_path_to_error::Error<serde_json::Error>> {
        fn read<P: serde::de::DeserializeOwned>(
            fields: &serde_json::Value,
        ) -> Result<P, serde_path_to_error::Error<serde_json::Error>> {
            serde_path_to_error::deserialize(fields)
        }
        let fields = fields.borrow();
        Ok(match kind {
            Kind::Source => Op::Source(read(fields)?),
            Kind::Curate => Op::Curate(read(fields)?),
            Kind::Generate => Op::Generate(read(fields)?),
            Kind::Tokenizer => Op::Tokenizer(read(fields)?),
            Kind::Init => Op::Init(read(fields)?),
            Kind::Sft => Op::Sft(read(fields)?),
            Kind::Merge => Op::Merge(read(fields)?),
            Kind::Moe => Op::Moe(read(fields)?),
            Kind::ApplyLora => Op::ApplyLora(read(fields)?),
            Kind::ExtractLora => Op::ExtractLora(read(fields)?),
            Kind::Eval => Op::Eval(read(fields)?),
            Kind::Export => Op::Export(read(fields)?),
            Kind::Select => Op::Select(read(fields)?),
            Kind::Command => Op::Command(read(fields)?),
            Kind::Report => Op::Report(read(fields)?),
        })
    }

    /// Returns the kind of the node.
    pub fn kind(&self) -> Kind {
        fn of<P: Params>(_: &P) -> Kind {
            P::KIND
        }
        with_params!(self, params => of(params))
    }

    /// Returns the semantic version of what the kind does.
    pub fn version(&self) -> u32 {
        fn of<P: Params>(_: &P) -> u32 {
            P::VERSION
        }
        with_params!(self, params => of(params))
    }

    /// Returns the nodes this one reads.
    pub fn inputs(&self) -> Vec<Input<'_>> {
        with_params!(self, params => params.inputs())
    }

    /// Returns what others may read from this node.
    pub fn outputs(&self) -> Vec<Output> {
        with_params!(self, params => params.outputs())
    }

    /// Returns the mistakes that no single field shows.
    pub fn check(&self) -> Vec<Mistake> {
        with_params!(self, params => params.check())
    }

    /// Returns what is no mistake and probably not meant.
    pub fn advice(&self) -> Vec<Mistake> {
        with_params!(self, params => params.advice())
    }

    /// Returns the settings that decide the result, defaults included and input names left out.
    pub fn config(&self) -> serde_json::Value {
        with_params!(self, params => serde_json::to_value(params).unwrap_or(serde_json::Value::Null))
    }
}
