//! What `generate` and `chat` have in common: their arguments, the model they mean, and the settings they come to.

use std::path::PathBuf;

use chrono::NaiveDateTime;
use clap::Args;
use serde_json::Value;

use super::args::{Cli, DeviceArg, PipelineArgs};
use super::commands::export;
use super::project::{Project, read_cache};
use super::report::CliError;
use crate::generate::{GenerateError, Generator, Options, Sampling, TemplateSettings};

/// Arguments of `generate`.
#[derive(Debug, Args)]
pub(super) struct GenerateArgs {
    /// Which model.
    #[command(flatten)]
    pub(super) model: ModelArgs,

    /// A text to go on from: words, `@file`, or `-` for standard input; `@@` begins words with one `@`
    #[arg(long, value_name = "TEXT | @FILE | -", allow_hyphen_values = true)]
    pub(super) prompt: Vec<String>,

    /// Take each prompt for what a user says, and answer through the chat template
    #[arg(long)]
    pub(super) chat: bool,

    /// What the system message says
    #[arg(long, value_name = "TEXT", requires = "chat")]
    pub(super) system: Option<String>,

    /// The most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(super) max_tokens: usize,

    /// How tokens are chosen.
    #[command(flatten)]
    pub(super) sampling: SamplingArgs,

    /// How many prompts go through the model together
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(super) batch: usize,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Arguments of `chat`.
#[derive(Debug, Args)]
pub(super) struct ChatArgs {
    /// Which model.
    #[command(flatten)]
    pub(super) model: ModelArgs,

    /// What the system message says
    #[arg(long, value_name = "TEXT")]
    pub(super) system: Option<String>,

    /// The most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub(super) max_tokens: usize,

    /// How tokens are chosen.
    #[command(flatten)]
    pub(super) sampling: SamplingArgs,
}

/// Which model, and what its template is told.
#[derive(Debug, Args)]
pub(super) struct ModelArgs {
    /// Which pipeline and which node.
    #[command(flatten)]
    pub(super) pipeline: PipelineArgs,

    /// A model folder, instead of a node
    #[arg(long, value_name = "DIR", conflicts_with_all = ["pipeline", "names"])]
    pub(super) model: Option<PathBuf>,

    /// Stop the model after so many layers, at an exit that `early_exit` of an `sft` node trained
    #[arg(long, value_name = "LAYERS")]
    pub(super) exit: Option<usize>,

    /// What to compute on.
    #[command(flatten)]
    pub(super) device: DeviceArg,

    /// Whether the model may think before it answers, for templates that know `enable_thinking`
    #[arg(long, value_name = "BOOL")]
    pub(super) thinking: Option<bool>,

    /// Another variable of the chat template: JSON, or else words
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) template_variable: Vec<String>,
}

/// How tokens are chosen. What is not given comes from the model's `generation_config.json`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling (else as the model's generation_config.json says)")]
pub(super) struct SamplingArgs {
    /// What logits are divided by; 0 always takes the likeliest token
    #[arg(long, value_name = "T")]
    pub(super) temperature: Option<f32>,

    /// Choose among the likeliest so many tokens; 0 for all
    #[arg(long, value_name = "K")]
    pub(super) top_k: Option<usize>,

    /// Choose among the likeliest tokens whose probabilities add up to this
    #[arg(long, value_name = "P")]
    pub(super) top_p: Option<f32>,

    /// Choose among tokens at least so likely, as a share of the likeliest one
    #[arg(long, value_name = "P")]
    pub(super) min_p: Option<f32>,

    /// Make tokens that were there before less likely: above 1
    #[arg(long, value_name = "X")]
    pub(super) repetition_penalty: Option<f32>,

    /// End an answer at this text
    #[arg(long, value_name = "TEXT")]
    pub(super) stop: Vec<String>,

    /// Where randomness begins
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) seed: u64,
}

impl SamplingArgs {
    /// Returns what was asked for, filled up with what the model's folder asks for.
    pub(super) fn options(&self, generator: &Generator, max_tokens: usize, batch: usize) -> Result<Options, CliError> {
        let defaults = generator.defaults();
        let samples = self.top_k.is_some() || self.top_p.is_some() || self.min_p.is_some();
        let of_model = if samples && defaults.sampling.temperature == 0.0 {
            // Who names how to sample wants to sample.
            defaults.temperature
        } else {
            defaults.sampling.temperature
        };
        let sampling = Sampling {
            temperature: self.temperature.unwrap_or(of_model),
            top_k: self.top_k.unwrap_or(defaults.sampling.top_k),
            top_p: self.top_p.unwrap_or(defaults.sampling.top_p),
            min_p: self.min_p.unwrap_or(defaults.sampling.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(defaults.sampling.repetition_penalty),
        };
        sampling.check()?;
        if self.stop.iter().any(String::is_empty) {
            return Err(CliError::user("`--stop` names no text"));
        }
        Ok(Options { sampling, max_tokens, stop: self.stop.clone(), seed: self.seed, batch })
    }
}

impl ModelArgs {
    /// Loads the model that is meant: a folder, or what a node gave. `date` is what templates take for today.
    pub(super) fn load(&self, cli: &Cli, date: Option<NaiveDateTime>) -> Result<Generator, CliError> {
        let mut settings = TemplateSettings { date, ..TemplateSettings::default() };
        for argument in &self.template_variable {
            let (name, value) = argument.split_once('=').ok_or_else(|| {
                CliError::user(format!("`--template-variable {argument}`: write `--template-variable name=value`"))
            })?;
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            settings.variables.insert(name.trim().to_owned(), value);
        }
        if let Some(thinking) = self.thinking {
            settings.variables.insert("enable_thinking".into(), thinking.into());
        }
        let folder = self.folder(cli)?;
        Ok(Generator::load_at(&folder, &settings, self.device.checked()?, self.exit)?)
    }

    fn folder(&self, cli: &Cli) -> Result<PathBuf, CliError> {
        if let Some(folder) = &self.model {
            if folder.is_dir() {
                return Ok(folder.clone());
            }
            let why = format!("there is no model folder {}", folder.display());
            return Err(CliError::user(why).help("a model folder holds config.json, weights and a tokenizer"));
        }
        if self.pipeline.names.is_empty() && self.pipeline.pipeline.is_none() {
            let help = "for example `luthflow generate sft --prompt …`, or `--model DIR`";
            return Err(CliError::user("name a node whose model is meant, or a model folder").help(help));
        }
        let project = Project::load(&self.pipeline, cli)?;
        let cache = read_cache(cli)?;
        let decider = project.decider(&cache);
        let (id, action) = export::origin(&project, &decider, project.target()?, "no model to talk to")?;
        cache.check(&action.artifact)?;
        let instance = project.plan.instance(id);
        let outputs = instance.op.outputs();
        let subfolder = outputs.iter().find(|output| output.name.is_empty()).map_or("", |output| output.path.as_ref());
        let folder = cache.artifact_path(&action.artifact).join(subfolder);
        if folder.join("config.json").is_file() {
            return Ok(folder);
        }
        let why = format!("`{}` is a {} node, which gives no model", instance.name, instance.kind().name());
        Err(CliError::user(why).help("name a node that gives a model: a source, an init, an sft or a merge"))
    }
}

impl From<GenerateError> for CliError {
    fn from(error: GenerateError) -> Self {
        let help = match &error {
            GenerateError::NoModel { .. } => "a model folder holds config.json, weights and a tokenizer",
            GenerateError::PromptTooLong { .. } => "shorten it; the model has no positions for more",
            GenerateError::EmptyPrompt { .. } => "give it at least a word",
            _ => return CliError::user(error.to_string()),
        };
        CliError::user(error.to_string()).help(help)
    }
}
