//! Answers from a server: many requests under way, rows in order.
//!
//! A window of rows is open at any time. Rows enter it in order, and leave it in order, each once all its answers are
//! there; in between requests go out on as many threads as may ask at once. A request that two open rows share goes out
//! once. When something ends the run early nothing new is sent, and what is under way still comes into the store.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::Scope;
use std::time::Duration;

use super::results::{Results, cost};
use super::{Work, no_answers};
use crate::data::{DataError, Record};
use crate::digest::Digest;
use crate::endpoint::{Account, Client, EndpointError, Limits, Reply, Request, Settings, Trouble};
use crate::ops::{OpError, Outcome};
use crate::spec::params::{Endpoint, GenerateParams};

/// The least number of rows in the window: behind a slow answer others go on.
const WINDOW: usize = 1024;
/// How often is looked whether the user wants to stop.
const LOOK: Duration = Duration::from_millis(50);

/// Has all rows answered.
pub(super) fn run(
    work: &Work<'_>,
    endpoint: &Endpoint,
    rows: impl Iterator<Item = Result<Record, DataError>>,
    results: &mut Results<'_>,
) -> Result<Outcome, OpError> {
    let halt = AtomicBool::new(false);
    let client = Client::new(settings(work, endpoint)?, &work.store, &halt);
    let asked = std::thread::scope(|scope| {
        let (requests, waiting) = channel();
        let (answers, answered) = channel();
        let waiting = Mutex::new(waiting);
        let pool = Pool { scope, client: &client, work, halt: &halt, waiting: std::sync::Arc::new(waiting), answers };
        let mut window = Window {
            work,
            endpoint,
            results,
            pool,
            threads: 0,
            requests,
            answered,
            open: VecDeque::new(),
            first: 0,
            wanted: BTreeMap::new(),
        };
        let asked = window.run(rows);
        // Threads end once nothing waits; what they are at goes into the store.
        halt.store(true, Ordering::Relaxed);
        drop(window);
        asked
    });
    asked?;
    Ok(Outcome { measured: measured(client.account(), work.params), ..Outcome::default() })
}

fn settings(work: &Work<'_>, endpoint: &Endpoint) -> Result<Settings, OpError> {
    let request = &work.params.request;
    let key = match &endpoint.key_env {
        None => Ok(None),
        Some(name) => match (work.cx.environment)(name).filter(|key| !key.is_empty()) {
            None => Err(name.clone()),
            Some(key) => {
                let key = key.to_str().map(str::trim).filter(|key| key.bytes().all(|byte| byte.is_ascii_graphic()));
                let key = key.ok_or_else(|| OpError::new(format!("`{name}` holds characters that no key has")))?;
                Ok(Some(key.to_owned()))
            }
        },
    };
    Ok(Settings {
        url: endpoint.url.clone(),
        key,
        timeout: Duration::try_from_secs_f64(request.timeout_seconds).unwrap_or(Duration::MAX),
        retries: request.retries,
        backoff: request.backoff_seconds,
        invalid_retries: request.invalid_retries,
        limits: Limits {
            rpm: request.rpm,
            tpm: request.tpm,
            requests: request.budget.requests,
            tokens: request.budget.tokens,
        },
        offline: request.offline,
        concurrency: request.concurrency,
    })
}

/// Figures about this run: what it sent and paid for.
fn measured(account: Account, params: &GenerateParams) -> BTreeMap<String, f64> {
    let paid = params.prices.map(|prices| cost(prices, account.prompt_tokens, account.completion_tokens));
    let figures = [
        ("requests_sent", account.sent as f64),
        ("requests_retried", account.retried as f64),
        ("answers_from_cache", account.stored as f64),
        ("sent_prompt_tokens", account.prompt_tokens as f64),
        ("sent_completion_tokens", account.completion_tokens as f64),
    ];
    figures.into_iter().chain(paid.map(|paid| ("paid", paid))).map(|(name, figure)| (name.to_owned(), figure)).collect()
}

type Asked = (Digest, Result<Reply, EndpointError>);

/// Threads that ask.
struct Pool<'scope, 'env, 'a> {
    scope: &'scope Scope<'scope, 'env>,
    client: &'env Client<'a>,
    work: &'env Work<'a>,
    halt: &'env AtomicBool,
    waiting: std::sync::Arc<Mutex<Receiver<(Digest, Request)>>>,
    answers: Sender<Asked>,
}

impl Pool<'_, '_, '_> {
    /// Starts one more.
    fn start(&self) -> Result<(), OpError> {
        let (client, work, halt) = (self.client, self.work, self.halt);
        let (waiting, answers) = (std::sync::Arc::clone(&self.waiting), self.answers.clone());
        let ask = move || {
            loop {
                let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok((key, request)) = next else { break };
                if halt.load(Ordering::Relaxed) {
                    break;
                }
                let reply = client.ask(&request, &|reply| work.judge.accept(reply));
                if answers.send((key, reply)).is_err() {
                    break;
                }
            }
        };
        std::thread::Builder::new().name("ask".into()).spawn_scoped(self.scope, ask)?;
        Ok(())
    }
}

/// A row whose answers are not all there.
struct Open {
    row: Record,
    answers: Vec<Option<Result<Reply, Trouble>>>,
}

/// The rows between the first that is not done and the last that was begun.
struct Window<'scope, 'env, 'a, 'r, 'p> {
    work: &'env Work<'a>,
    endpoint: &'env Endpoint,
    results: &'r mut Results<'p>,
    pool: Pool<'scope, 'env, 'a>,
    threads: usize,
    requests: Sender<(Digest, Request)>,
    answered: Receiver<Asked>,
    open: VecDeque<Open>,
    /// The number of rows before the window.
    first: u64,
    /// What is under way, and which rows and samples want it.
    wanted: BTreeMap<Digest, Vec<(u64, u32)>>,
}

impl Window<'_, '_, '_, '_, '_> {
    fn run(&mut self, mut rows: impl Iterator<Item = Result<Record, DataError>>) -> Result<(), OpError> {
        let concurrency = self.work.params.request.concurrency;
        let mut more = true;
        loop {
            self.work.cx.check_cancelled()?;
            while more && self.open.len() < WINDOW.max(4 * concurrency) && self.wanted.len() < 2 * concurrency {
                match rows.next().transpose()? {
                    Some(row) => self.begin(row)?,
                    None => more = false,
                }
                self.write_done()?;
            }
            if self.open.is_empty() {
                return Ok(());
            }
            match self.answered.recv_timeout(LOOK) {
                Ok((key, reply)) => self.take(&key, reply)?,
                // What was said last may not have been passed on yet.
                Err(RecvTimeoutError::Timeout) => self.work.cx.progress.position(self.results.done()),
                // It holds a sender itself.
                Err(RecvTimeoutError::Disconnected) => return Err(OpError::new("the threads that ask are gone")),
            }
            self.write_done()?;
        }
    }

    /// Looks for the answers to a row, and sends for those that are not there.
    fn begin(&mut self, row: Record) -> Result<(), OpError> {
        let number = self.first + self.open.len() as u64;
        let conversation = self.work.prompts.conversation(&row, number + 1)?;
        let mut answers = vec![None; self.work.params.answers() as usize];
        for (sample, place) in (0..).zip(&mut answers) {
            let model = (self.endpoint.model.as_str(), self.endpoint.revision.as_deref());
            let request = self.work.prompts.request(model, &conversation, sample);
            let key = request.key();
            if let Some(wanted) = self.wanted.get_mut(&key) {
                wanted.push((number, sample));
                continue;
            }
            let stored = self.pool.client.stored(&request, &|reply| self.work.judge.accept(reply));
            *place = stored.map_err(|error| no_answers(error, None))?.map(Ok);
            if place.is_none() {
                self.wanted.insert(key, vec![(number, sample)]);
                if self.threads < self.work.params.request.concurrency && self.threads < self.wanted.len() {
                    self.pool.start()?;
                    self.threads += 1;
                }
                self.requests.send((key, request)).map_err(|_| OpError::new("the threads that ask are gone"))?;
            }
        }
        self.open.push_back(Open { row, answers });
        Ok(())
    }

    /// Gives an answer to all who want it.
    fn take(&mut self, key: &Digest, reply: Result<Reply, EndpointError>) -> Result<(), OpError> {
        let wanted = self.wanted.remove(key).unwrap_or_default();
        let reply = match reply {
            Ok(reply) => Ok(reply),
            Err(EndpointError::One(trouble)) if !self.work.fails_for(&trouble) => Err(trouble),
            Err(error @ EndpointError::One(_)) => {
                return Err(no_answers(error, wanted.first().map(|(number, _)| number + 1)));
            }
            Err(error) => return Err(no_answers(error, None)),
        };
        for (number, sample) in wanted {
            // Only rows in the window want anything.
            if let Some(open) = self.open.get_mut((number - self.first) as usize) {
                open.answers[sample as usize] = Some(reply.clone());
            }
        }
        Ok(())
    }

    /// Writes the rows at the front that are done.
    fn write_done(&mut self) -> Result<(), OpError> {
        while let Some(open) = self.open.front() {
            if open.answers.iter().any(Option::is_none) {
                break;
            }
            if let Some(Open { row, answers }) = self.open.pop_front() {
                self.first += 1;
                self.results.row(row, answers.into_iter().flatten().collect(), &self.work.judge)?;
                self.work.cx.progress.position(self.results.done());
            }
        }
        Ok(())
    }
}
