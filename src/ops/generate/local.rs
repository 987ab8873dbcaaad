//! Answers of a model of the pipeline, in blocks of rows.
//!
//! The model is loaded when the first answer is wanted that the store does not have. What it says follows from the
//! request alone: the random numbers of an answer begin at a place that its key gives, not at its place among the others.
//! Each answer goes into the store as it ends, so a run that is stopped goes on where it was.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::results::Results;
use super::{Work, no_answers};
use crate::data::{DataError, Record};
use crate::digest::{Digest, Manifest};
use crate::endpoint::{EndpointError, Reply, Request, Trouble};
use crate::generate::{Answer, Chat, Defaults, Generator, Listener, Message, Options, TemplateSettings};
use crate::ops::answered::reply_of;
use crate::ops::{DeviceChoice, OpError, Outcome, exits};
use crate::spec::params::{AnswerParams, GenerateParams};
use crate::tensor::device_suffix;

/// Rows that are answered together.
const BLOCK: usize = 256;
/// Answers that the model writes at once.
const BATCH: usize = 8;
/// The most tokens of an answer, if nothing is said.
const MAX_TOKENS: usize = 1024;

/// Has all rows answered.
pub(super) fn run(
    work: &Work<'_>,
    mut rows: impl Iterator<Item = Result<Record, DataError>>,
    results: &mut Results<'_>,
) -> Result<Outcome, OpError> {
    let cx = work.cx;
    let folder = &cx.inputs.one("model")?.path;
    check_votes(work.params, folder)?;
    let digest = Manifest::of_dir(folder).map_err(|error| OpError::caused("cannot digest the model", error))?.digest();
    let device = if cx.device == DeviceChoice::Cpu { String::new() } else { format!(" on {}", cx.device) };
    let exit = exits::stop(folder, work.params.exit)?;
    let revision = format!("luthflow {}{device}{}", env!("CARGO_PKG_VERSION"), exits::said(exit));
    let name = digest.to_string();
    let (mut generator, mut tokens, mut asked) = (None, (0, 0), 0_u64);
    loop {
        cx.check_cancelled()?;
        let block: Vec<Record> = rows.by_ref().take(BLOCK).collect::<Result<_, _>>()?;
        if block.is_empty() {
            break;
        }
        let wanted = requests(work, &block, results.done(), (&name, &revision))?;
        let mut known = BTreeMap::new();
        let mut missing: Vec<&(Digest, Request)> = Vec::new();
        let mut seen = BTreeSet::new();
        for one @ (key, _) in wanted.iter().flatten().filter(|(key, _)| seen.insert(*key)) {
            match work.store.get(key).map_err(|error| no_answers(error, None))? {
                Some(reply) if work.judge.accept(&reply).is_ok() => drop(known.insert(*key, Ok(reply))),
                _ => missing.push(one),
            }
        }
        if !missing.is_empty() {
            let generator = match &mut generator {
                Some(generator) => generator,
                none => {
                    let loaded = Generator::load_at(folder, &TemplateSettings::default(), cx.device, exit);
                    none.insert(loaded.map_err(|error| OpError::caused("cannot use the model", error))?)
                }
            };
            asked += missing.len() as u64;
            answer(work, generator, &missing, &mut known, &mut tokens)?;
        }
        write(work, block, &wanted, &known, results)?;
    }
    let device = if asked > 0 { device_suffix(&cx.open_device()?).map(str::to_owned) } else { None };
    let figures = [("answers_computed", asked), ("sent_prompt_tokens", tokens.0), ("sent_completion_tokens", tokens.1)];
    let measured = figures.map(|(name, count)| (name.to_owned(), count as f64)).into();
    Ok(Outcome { measured, device, ..Outcome::default() })
}

/// Several votes say something only if they are drawn. Many a model's own settings always take the likeliest token.
fn check_votes(params: &GenerateParams, folder: &Path) -> Result<(), OpError> {
    if params.votes.is_none() || params.params.temperature.is_some() {
        return Ok(());
    }
    let defaults = Defaults::load(folder).map_err(|error| OpError::caused("cannot use the model", error))?;
    if defaults.sampling.temperature > 0.0 {
        return Ok(());
    }
    let message = "every vote would be the same: by its own settings the model always takes the likeliest token";
    Err(OpError::new(message).help("set `params.temperature` above 0, or leave `votes` out"))
}

type Wanted = Vec<Vec<(Digest, Request)>>;
type Known = BTreeMap<Digest, Result<Reply, Trouble>>;

/// Returns the requests of each row.
fn requests(work: &Work<'_>, block: &[Record], before: u64, model: (&str, &str)) -> Result<Wanted, OpError> {
    let of_row = |(number, row): (u64, &Record)| {
        let conversation = work.prompts.conversation(row, number)?;
        let request = |sample| work.prompts.request((model.0, Some(model.1)), &conversation, sample);
        Ok((0..work.params.answers()).map(request).map(|request| (request.key(), request)).collect())
    };
    (before + 1..).zip(block).map(of_row).collect()
}

/// Has the model answer what the store does not know.
fn answer(
    work: &Work<'_>,
    generator: &Generator,
    missing: &[&(Digest, Request)],
    known: &mut Known,
    tokens: &mut (u64, u64),
) -> Result<(), OpError> {
    let failed = |error| OpError::caused("the model cannot answer", error);
    let mut prompts = Vec::new();
    let mut streams = Vec::new();
    for (key, request) in missing {
        let message = |message: &serde_json::Value| {
            let part = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
            Message::new(part("role"), part("content"))
        };
        let chat = Chat::from(request.messages.iter().map(message).collect::<Vec<_>>());
        prompts.push(generator.chat_prompt(&chat).map_err(failed)?);
        streams.push(u64::from_le_bytes(*key.as_bytes().first_chunk().unwrap_or(&[0; 8])));
    }
    let options = options(generator, &work.params.params);
    let mut listening = Listening { work, missing, known, tokens, failed: None };
    generator.run_with(&prompts, &streams, &options, &mut listening).map_err(failed)?;
    match listening.failed {
        Some(error) => Err(no_answers(error, None)),
        None => work.cx.check_cancelled(),
    }
}

fn options(generator: &Generator, params: &AnswerParams) -> Options {
    let mut sampling = generator.defaults().sampling;
    if let Some(temperature) = params.temperature {
        sampling.temperature = temperature as f32;
    }
    if let Some(top_p) = params.top_p {
        sampling.top_p = top_p as f32;
    }
    Options {
        sampling,
        max_tokens: params.max_tokens.map_or(MAX_TOKENS, |most| most as usize),
        stop: params.stop.clone(),
        seed: params.seed.unwrap_or(0),
        batch: BATCH,
    }
}

/// Keeps answers as they come.
struct Listening<'a, 'b> {
    work: &'a Work<'b>,
    missing: &'a [&'a (Digest, Request)],
    known: &'a mut Known,
    tokens: &'a mut (u64, u64),
    failed: Option<EndpointError>,
}

impl Listener for Listening<'_, '_> {
    fn text(&mut self, _: usize, _: &str) {}

    fn finished(&mut self, index: usize, answer: &Answer) {
        let Some(reply) = reply_of(answer) else { return };
        self.tokens.0 += reply.prompt_tokens;
        self.tokens.1 += reply.completion_tokens;
        let (key, _) = self.missing[index];
        // The same model would say the same again: it is not asked twice.
        let accepted = self.work.judge.accept(&reply).map_err(Trouble::NoAnswer);
        if accepted.is_ok()
            && let Err(error) = self.work.store.put(key, &reply)
        {
            self.failed = Some(error);
        }
        self.known.insert(*key, accepted.map(|()| reply));
    }

    fn went_on(&mut self, _: usize, _: usize) {}

    fn cancelled(&self) -> bool {
        self.failed.is_some() || self.work.cx.check_cancelled().is_err()
    }
}

fn write(
    work: &Work<'_>,
    block: Vec<Record>,
    wanted: &Wanted,
    known: &Known,
    results: &mut Results<'_>,
) -> Result<(), OpError> {
    for (row, wanted) in block.into_iter().zip(wanted) {
        let mut answers = Vec::new();
        for (key, _) in wanted {
            match known.get(key) {
                Some(Err(trouble)) if work.fails_for(trouble) => {
                    return Err(no_answers(EndpointError::One(trouble.clone()), Some(results.done() + 1)));
                }
                Some(answer) => answers.push(answer.clone()),
                None => return Err(OpError::new("the model left out an answer")),
            }
        }
        results.row(row, answers, &work.judge)?;
        work.cx.progress.position(results.done());
    }
    Ok(())
}
