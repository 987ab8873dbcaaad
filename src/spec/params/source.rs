//! `kind: source`: content from outside, pinned by digest.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Input, InputType, Kind, Mistake, Output, Params, Profile};
use crate::digest::Digest;
use crate::spec::{suggest, tasks};

/// Brings files from outside into the graph. The files enter the key by content, never by place or time.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceParams {
    /// A data set: a path or a glob, relative to the pipeline file. Or one on the hub,
    /// `hf://datasets/OWNER/NAME@REVISION`, with a path, a folder or a glob after it, or as `config` and `split` say. Or
    /// the address of a file, `https://…`, with its `digest`. A revision that is no whole commit is resolved once and kept
    /// in the lockfile; `luthflow run --update` resolves it anew.
    #[serde(default, skip_serializing)]
    pub dataset: Option<String>,
    /// A model, relative to the pipeline file: a folder in Hugging Face layout, or a GGUF file. Of a folder only the files
    /// that lie directly in it are brought in; folders inside it are left out. A GGUF file becomes such a folder: its
    /// weights are decoded, tokenizer and chat template rebuilt. Llama, Qwen2, Qwen3, LFM2 and Gemma 3 can be read.
    /// Or one on the hub: `hf://OWNER/NAME@REVISION`, with a folder or a GGUF file after it. For `curate`, a folder may hold a
    /// model of fastText in its place: a `.bin` or `.ftz` file.
    #[serde(default, skip_serializing)]
    pub model: Option<String>,
    /// A LoRA adapter: a folder as PEFT writes it, relative to the pipeline file. Only the files that lie directly in it
    /// are brought in. Or one on the hub: `hf://OWNER/NAME@REVISION`.
    #[serde(default, skip_serializing)]
    pub adapter: Option<String>,
    /// The rows of an eval task, by its name (`luthflow eval tasks`), in place of `dataset`.
    #[serde(default, skip_serializing)]
    pub task: Option<String>,
    /// The language of the `task`, where it has several.
    #[serde(default, skip_serializing)]
    pub language: Option<String>,
    /// By whose habits the rows of the `task` are chosen.
    #[serde(default, skip_serializing)]
    pub profile: Option<Profile>,
    /// Which rows of the `task`: those that are asked, or those that examples are taken from.
    #[serde(default, skip_serializing)]
    pub part: Option<TaskPart>,
    /// The configuration of a data set on the hub, as its card or `datasets` names it.
    #[serde(default, skip_serializing)]
    pub config: Option<String>,
    /// The split of a data set on the hub: `train`, `validation`, `test`, or as its card names them; all of them when left
    /// out.
    #[serde(default, skip_serializing)]
    pub split: Option<String>,
    /// How the files of a data set are read; by content and file name when left out. All of them may be compressed with
    /// gzip, zstd or bzip2.
    #[serde(default)]
    pub format: Option<SourceFormat>,
    /// What becomes one row of a plain text file, or of a PDF.
    #[serde(default)]
    pub rows: TextRows,
    /// The columns of a data set that are taken; all of them when left out. Others are not read where the format can do
    /// without (Parquet, Arrow).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// The rows of a data set that are taken, counted over all its files in the order of their names; all of them when left
    /// out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<RowRange>,
    /// What is done with a row of a data set that is none. Not more than a tenth of the rows are passed over.
    #[serde(default, skip_serializing_if = "OnBadRow::is_error")]
    pub on_bad_row: OnBadRow,
    /// What becomes of a PDF that has no text to be read: one whose pages are pictures, or one that takes a password. A page without
    /// text among others is a row with empty text in any case.
    #[serde(default, skip_serializing_if = "NoText::is_error")]
    pub no_text: NoText,
    /// How the weights of a GGUF file are stored once they are decoded; `bf16` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<WeightType>,
    /// The digest that the files must have (`blake3:…`, as `luthflow show` prints it); any other content is an error. An
    /// `https://` address needs one, which may also be `sha256:…`.
    #[serde(default, skip_serializing)]
    pub digest: Option<String>,
    /// What a data set is expected to hold, for `luthflow plan --estimate`. Not part of the key.
    #[serde(default, skip_serializing)]
    pub expect: Option<Expect>,
}

/// What data is expected to hold before it is here. An estimate rests on it, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// How many rows.
    #[serde(default)]
    pub rows: Option<u64>,
    /// How many tokens all rows together have, by the tokenizer of the model that reads them.
    #[serde(default)]
    pub tokens: Option<u64>,
}

/// Which rows of an eval task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskPart {
    /// Those that are asked.
    Rows,
    /// Those that examples are taken from.
    Examples,
}

/// How the files of a data set are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceFormat {
    /// One JSON object a line: `{"text": …}`, `{"messages": […]}` or `{"good": …, "bad": …}`.
    Jsonl,
    /// A list of JSON objects, an object with one such list, or objects one after the other.
    Json,
    /// Values separated by commas, below a line with the names of the columns. All values are text, and empty ones `null`.
    Csv,
    /// The same with tabs.
    Tsv,
    /// Parquet. Dates and times are ISO 8601 text, decimals text, bytes base64.
    Parquet,
    /// An Arrow IPC file or stream (`.arrow`, Feather); values as of Parquet.
    Arrow,
    /// Plain text, cut into rows as `rows` says.
    Text,
    /// Minimal pairs as CLAMS writes them: consecutive lines `True<TAB>sentence`, `False<TAB>sentence`.
    Clams,
    /// PDF: the columns `file`, `page` (counted from 1) and `text`, in the order in which the file draws it; with `rows: file`,
    /// `pages` is their number.
    Pdf,
}

/// Some rows of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RowRange {
    /// The first row, counted from 0.
    #[serde(default)]
    pub from: u64,
    /// The row after the last; the end when left out.
    #[serde(default)]
    pub to: Option<u64>,
}

/// What is done with a row that is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnBadRow {
    /// The source fails, and says where the row stands.
    #[default]
    Error,
    /// It is passed over and counted: `rows_skipped`.
    Skip,
}

impl OnBadRow {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_error(&self) -> bool {
        *self == Self::Error
    }
}

/// What becomes of a PDF that has no text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoText {
    /// The source fails, and names the file. With `on_bad_row: skip` the file counts as one row that is none.
    #[default]
    Error,
    /// Its pages are rows with empty text; of one that takes a password, whose pages are not known, one row.
    Keep,
}

impl NoText {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_error(&self) -> bool {
        *self == Self::Error
    }
}

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WeightType {
    /// 16-bit numbers with the range of 32-bit ones (bfloat16).
    Bf16,
    /// 16-bit numbers (IEEE half precision).
    F16,
    /// 32-bit numbers.
    F32,
}

/// What becomes one row of a plain text file, or of a PDF.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TextRows {
    /// Every non-empty line; of a PDF, every page.
    #[default]
    Line,
    /// Every block of lines between empty ones.
    Paragraph,
    /// The whole file.
    File,
    /// Every page of a PDF.
    Page,
}

impl SourceParams {
    /// The word in `kind:`.
    pub const NAME: &'static str = "source";

    /// Says whether it is at an address that begins like this. What is fetched from `http://` is checked by its digest as
    /// well as anything.
    fn is_at(&self, start: &str) -> bool {
        let named = [&self.dataset, &self.model, &self.adapter];
        let plain = |path: &str| start == "https://" && path.starts_with("http://");
        named.into_iter().flatten().any(|path| path.starts_with(start) || plain(path))
    }

    fn mistakes_of_rows(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let given = [
            ("columns", self.columns.is_some()),
            ("range", self.range.is_some()),
            ("on_bad_row", self.on_bad_row != OnBadRow::Error),
            ("expect", self.expect.is_some()),
            ("no_text", self.no_text != NoText::Error),
        ];
        for (field, _) in given.into_iter().filter(|(_, given)| *given && self.dataset.is_none()) {
            mistakes.push(Mistake::new(field, format!("only a data set has `{field}`")).help("leave it out"));
        }
        if self.columns.as_ref().is_some_and(Vec::is_empty) {
            mistakes.push(Mistake::new("columns", "no column is left").help("leave it out to take all"));
        }
        if self.range.is_some_and(|range| range.to.is_some_and(|to| to <= range.from)) {
            mistakes.push(Mistake::new("range", "no row is left").help("`to` is the row after the last one"));
        }
        mistakes
    }

    fn mistake_of_task(&self) -> Option<Mistake> {
        let Some(task) = &self.task else {
            let given = [("language", self.language.is_some()), ("profile", self.profile.is_some())];
            let given = given.into_iter().chain([("part", self.part.is_some())]).find(|(_, given)| *given)?.0;
            return Some(
                Mistake::new(given, format!("only a source with a `task` has a `{given}`")).help("leave it out"),
            );
        };
        if let Err(why) = tasks::find(task, self.language.as_deref(), None) {
            let mistake = Mistake::new("task", why);
            return Some(match suggest::help(task, tasks::names().iter().map(String::as_str)) {
                Some(help) => mistake.help(help),
                None => mistake.help("`luthflow eval tasks` lists those that there are"),
            });
        }
        if self.dataset.is_none() {
            let help = "give a `dataset` of the same columns instead";
            return Some(Mistake::new("task", format!("`{task}` does not say where these rows are")).help(help));
        }
        None
    }

    fn mistakes_outside(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let hub = self.is_at("hf://");
        if self.is_at("https://") && self.digest.is_none() {
            let help = "add `digest: blake3:…` or `digest: sha256:…`, so that everybody gets the same bytes";
            mistakes.push(Mistake::new("digest", "a source at an `https://` address needs a `digest`").help(help));
        }
        if hub && self.digest.is_some() {
            let help = "write the commit into the address, `hf://OWNER/NAME@COMMIT`; the lockfile holds it in any case";
            mistakes.push(Mistake::new("digest", "a source on the hub is pinned by its commit").help(help));
        }
        let data = self.dataset.as_deref().is_some_and(|path| path.starts_with("hf://datasets/"));
        if hub && self.dataset.is_some() && !data {
            let help = "write `hf://datasets/OWNER/NAME`";
            mistakes.push(Mistake::new("dataset", "the address is that of a model").help(help));
        }
        if !hub && self.is_at("https://") && self.adapter.is_some() {
            mistakes.push(Mistake::new("adapter", "an adapter is a folder, and an address is one file"));
        }
        for (field, value) in [("config", &self.config), ("split", &self.split)] {
            if value.is_some() && !data {
                let help = "leave it out, or choose files with the path";
                mistakes.push(Mistake::new(field, format!("only a data set on the hub has a `{field}`")).help(help));
            }
        }
        if self.split.as_deref().is_some_and(|split| split.contains(['[', '+', ' '])) {
            let help = "name one split; `range` takes some of its rows";
            mistakes.push(Mistake::new("split", "it is no name of a split").help(help));
        }
        mistakes
    }
}

impl Params for SourceParams {
    const KIND: Kind = Kind::Source;
    const VERSION: u32 = 1;

    fn inputs(&self) -> Vec<Input<'_>> {
        Vec::new()
    }

    fn outputs(&self) -> Vec<Output> {
        let kind = match (&self.model, &self.adapter) {
            (Some(_), _) => InputType::Model,
            (None, Some(_)) => InputType::Adapter,
            (None, None) => InputType::Dataset,
        };
        vec![Output { name: "".into(), path: "".into(), kind }]
    }

    fn check(&self) -> Vec<Mistake> {
        if let Some(mistake) = self.mistake_of_task() {
            return vec![mistake];
        }
        let help = "give `dataset: data/*.jsonl` or `model: path/to/model`";
        let given = [("dataset", &self.dataset), ("model", &self.model), ("adapter", &self.adapter)];
        let given: Vec<&str> = given.iter().filter(|(_, path)| path.is_some()).map(|(name, _)| *name).collect();
        let mut mistakes = match given[..] {
            [] => vec![Mistake::new("", "a source needs `dataset` or `model`").help(help)],
            [_] => Vec::new(),
            ["dataset", "model"] => {
                vec![Mistake::new("model", "a source is a data set or a model, not both").help(help)]
            }
            _ => vec![Mistake::new("adapter", "a source is one of a data set, a model and an adapter")],
        };
        if self.dtype.is_some() && self.model.is_none() {
            mistakes.push(Mistake::new("dtype", "only a model has a `dtype`").help("leave it out"));
        }
        mistakes.extend(self.mistakes_outside());
        mistakes.extend(self.mistakes_of_rows());
        let sha = |digest: &str| {
            let hex = digest.strip_prefix("sha256:");
            self.is_at("https://")
                && hex.is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
        };
        let wrong = |digest: &&String| digest.parse::<Digest>().is_err() && !sha(digest);
        if let Some(digest) = self.digest.as_ref().filter(wrong) {
            let help = "`luthflow show` prints the one to write: `blake3:` and 64 hexadecimal digits";
            mistakes.push(Mistake::new("digest", format!("`{digest}` is no digest")).help(help));
        }
        mistakes
    }
}
