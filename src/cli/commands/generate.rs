//! `luthflow generate`: what a model says to prompts, as words while they come or as JSON when all are there.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::cli::args::Cli;
use crate::cli::exit::Exit;
use crate::cli::report::CliError;
use crate::cli::speech::GenerateArgs;
use crate::cli::{interrupt, output};
use crate::generate::{Answer, Chat, Generator, Listener, Message, Options, Stopped};

/// The version of the JSON.
const JSON_VERSION: u32 = 1;
/// The largest prompt, in bytes.
const LARGEST_PROMPT: u64 = 64 << 20;
/// How often progress is told where there is no terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

pub(in crate::cli) fn run(args: &GenerateArgs, cli: &Cli) -> Result<Exit, CliError> {
    if args.prompt.is_empty() {
        let help = "for example `--prompt \"Il était une fois\"`, `--prompt @file` or `--prompt -`";
        return Err(CliError::user("there is no `--prompt` to go on from").help(help));
    }
    let texts = args.prompt.iter().map(|prompt| read_prompt(prompt)).collect::<Result<Vec<_>, _>>()?;
    let generator = args.model.load(cli, None)?;
    let options = args.sampling.options(&generator, args.max_tokens, args.batch)?;
    let prompts = texts.iter().map(|text| tokens(&generator, args, text)).collect::<Result<Vec<_>, _>>()?;
    let cancelled = interrupt::flag()?;
    let streams = prompts.len() == 1 && !args.json;
    let mut shown = Shown::new(&cancelled, streams, prompts.len());
    let answers = generator.run(&prompts, &options, &mut shown)?;
    let seconds = shown.began.elapsed().as_secs_f64();
    shown.end()?;
    if args.json {
        let report = report(&texts, &prompts, &answers, &options, seconds);
        output::json(&report)?;
    } else if streams {
        output::data("")?;
    } else {
        for (number, answer) in answers.iter().enumerate() {
            output::data(&format!("[{}] {}", number + 1, answer.text))?;
        }
    }
    Ok(if cancelled.load(Ordering::Relaxed) { Exit::Interrupted } else { Exit::Success })
}

fn read_prompt(prompt: &str) -> Result<String, CliError> {
    let mut bytes = Vec::new();
    match prompt.strip_prefix('@') {
        _ if prompt == "-" => std::io::stdin().take(LARGEST_PROMPT + 1).read_to_end(&mut bytes)?,
        Some(words) if words.starts_with('@') => return Ok(words.to_owned()),
        Some(file) => {
            let file = fs_err::File::open(file).map_err(|error| CliError::user(error.to_string()))?;
            file.take(LARGEST_PROMPT + 1).read_to_end(&mut bytes).map_err(|error| CliError::user(error.to_string()))?
        }
        None => return Ok(prompt.to_owned()),
    };
    let name = if prompt == "-" { "standard input" } else { &prompt[1..] };
    if bytes.len() as u64 > LARGEST_PROMPT {
        return Err(CliError::user(format!("the prompt in {name} has more than {LARGEST_PROMPT} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| CliError::user(format!("the prompt in {name} is not UTF-8 text")))
}

fn tokens(generator: &Generator, args: &GenerateArgs, text: &str) -> Result<Vec<u32>, CliError> {
    if !args.chat {
        return Ok(generator.text_prompt(text)?);
    }
    let system = args.system.iter().map(|system| Message::new("system", system.as_str()));
    let messages: Vec<Message> = system.chain([Message::new("user", text)]).collect();
    Ok(generator.chat_prompt(&Chat::from(messages))?)
}

/// Prints words as they come, or says how far all prompts are.
struct Shown<'a> {
    cancelled: &'a AtomicBool,
    /// Whether words go out as they come.
    streams: bool,
    bar: Option<ProgressBar>,
    prompts: usize,
    done: usize,
    began: Instant,
    said: Instant,
    failed: Option<CliError>,
}

impl<'a> Shown<'a> {
    fn new(cancelled: &'a AtomicBool, streams: bool, prompts: usize) -> Self {
        let terminal = console::Term::stderr().features().is_attended();
        let style = ProgressStyle::with_template("{bar:16.cyan} {pos}/{len} prompts {eta} left  {msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━━╌");
        let bar = (terminal && !streams).then(|| ProgressBar::new(prompts as u64).with_style(style));
        let now = Instant::now();
        Self { cancelled, streams, bar, prompts, done: 0, began: now, said: now, failed: None }
    }

    fn end(self) -> Result<(), CliError> {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        self.failed.map_or(Ok(()), Err)
    }
}

impl Listener for Shown<'_> {
    fn text(&mut self, _: usize, piece: &str) {
        if self.streams
            && let Err(error) = output::piece(piece)
        {
            self.failed = Some(error);
        }
    }

    fn finished(&mut self, _: usize, _: &Answer) {
        self.done += 1;
        if let Some(bar) = &self.bar {
            bar.set_position(self.done as u64);
        }
    }

    fn went_on(&mut self, _: usize, written: usize) {
        let seconds = self.began.elapsed().as_secs_f64().max(1e-3);
        let speed = format!("{:.1} tokens/s", written as f64 / seconds);
        if let Some(bar) = &self.bar {
            bar.set_message(speed);
        } else if !self.streams && self.said.elapsed() >= PLAIN_INTERVAL {
            self.said = Instant::now();
            let mut line = format!("{}/{} prompts, {written} tokens, {speed}", self.done, self.prompts);
            if self.done > 0 {
                let left = seconds / self.done as f64 * (self.prompts - self.done) as f64;
                line = format!("{line}, {} left", output::duration(left));
            }
            output::say(&line);
        }
    }

    fn cancelled(&self) -> bool {
        self.failed.is_some() || self.cancelled.load(Ordering::Relaxed)
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    sampling: Settings<'a>,
    answers: Vec<Said<'a>>,
    measured: Measured,
}

#[derive(Serialize)]
struct Settings<'a> {
    temperature: f32,
    top_k: usize,
    top_p: f32,
    min_p: f32,
    repetition_penalty: f32,
    seed: u64,
    max_tokens: usize,
    stop: &'a [String],
}

#[derive(Serialize)]
struct Said<'a> {
    prompt: &'a str,
    prompt_ids: &'a [u32],
    ids: &'a [u32],
    log_probs: &'a [f32],
    text: &'a str,
    stop_reason: &'static str,
    stop_token: Option<u32>,
    stop_text: Option<&'a str>,
    prompt_tokens: usize,
    generated_tokens: usize,
}

#[derive(Serialize)]
struct Measured {
    seconds: f64,
    tokens_per_second: f64,
}

fn report<'a>(
    texts: &'a [String],
    prompts: &'a [Vec<u32>],
    answers: &'a [Answer],
    options: &'a Options,
    seconds: f64,
) -> Report<'a> {
    let said = |((text, prompt), answer): ((&'a String, &'a Vec<u32>), &'a Answer)| {
        let (stop_reason, stop_token, stop_text) = match &answer.stopped {
            Stopped::Token(token) => ("token", Some(*token), None),
            Stopped::Text(text) => ("text", None, Some(text.as_str())),
            Stopped::Length => ("length", None, None),
            Stopped::Context => ("context", None, None),
            Stopped::Cancelled => ("interrupted", None, None),
        };
        Said {
            prompt: text,
            prompt_ids: prompt,
            ids: &answer.tokens,
            log_probs: &answer.log_probs,
            text: &answer.text,
            stop_reason,
            stop_token,
            stop_text,
            prompt_tokens: answer.prompt_tokens,
            generated_tokens: answer.tokens.len(),
        }
    };
    let generated: usize = answers.iter().map(|answer| answer.tokens.len()).sum();
    let sampling = options.sampling;
    Report {
        version: JSON_VERSION,
        sampling: Settings {
            temperature: sampling.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            repetition_penalty: sampling.repetition_penalty,
            seed: options.seed,
            max_tokens: options.max_tokens,
            stop: &options.stop,
        },
        answers: texts.iter().zip(prompts).zip(answers).map(said).collect(),
        measured: Measured { seconds, tokens_per_second: generated as f64 / seconds.max(1e-9) },
    }
}
