//! `kind: generate`: a language model asked about every row; its answers become a column.
//!
//! Rows come out in the order in which they came in, whatever the order of the answers. Every answer goes into a store by
//! what was asked, before anything is made of it: a run that is killed, or fails at the last row, has paid for nothing in
//! vain. `stats.json` counts what became of the answers, and `failures.jsonl` names every one that is missing.
//!
//! [`prompt`] makes requests of rows, [`remote`] and [`local`] have them answered, [`answer`] reads and judges answers, and
//! [`results`] writes what is kept.

mod answer;
mod local;
mod prompt;
mod remote;
mod results;
mod votes;

use fs_err as fs;

use self::answer::Judge;
use self::prompt::Prompts;
use self::results::Results;
use super::written::mistake;
use super::{OpCx, OpError, Outcome};
use crate::data;
use crate::endpoint::{EndpointError, Store, Trouble};
use crate::spec::params::{GenerateParams, Mistake, OnError};

/// The store of answers, below the folder for what nodes remember. The cache's collection leaves it alone.
const STORE: &str = "answers/answers.sqlite";

/// What all parts of the node share.
struct Work<'a> {
    params: &'a GenerateParams,
    cx: &'a OpCx<'a>,
    prompts: Prompts,
    judge: Judge,
    store: Store,
}

impl Work<'_> {
    /// Says whether the node fails for an answer that did not come. One that is not of the form is no vote, and others are.
    fn fails_for(&self, trouble: &Trouble) -> bool {
        let no_vote = self.params.votes.is_some() && matches!(trouble, Trouble::NoAnswer(_));
        self.params.on_error == OnError::Fail && !no_vote
    }
}

/// Runs the node.
pub(super) fn run(params: &GenerateParams, cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    let work = Work { params, cx, prompts: Prompts::new(params)?, judge: Judge::new(params)?, store: open_store(cx)? };
    let input = cx.inputs.one("from")?;
    let limit = params.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let rows = data::open_records(&input.path)?.unpacking_in(cx.scratch).take(limit);
    let mut results = Results::create(params, cx.out)?;
    cx.progress.phase("asking", None, "rows");
    let told = match &params.endpoint {
        Some(endpoint) => remote::run(&work, endpoint, rows, &mut results)?,
        None => local::run(&work, rows, &mut results)?,
    };
    let metrics = results.finish()?;
    Ok(Outcome { metrics, ..told })
}

/// Returns what cannot be read in the settings, with the field that it stands in.
pub(super) fn unreadable(params: &GenerateParams) -> Vec<Mistake> {
    let prompts = Prompts::unreadable(params);
    prompts.into_iter().chain(Judge::unreadable(params)).map(|(field, error)| mistake(field, &error)).collect()
}

fn open_store(cx: &OpCx<'_>) -> Result<Store, OpError> {
    let Some(memo) = cx.memo else { return Store::passing().map_err(|error| no_answers(error, None)) };
    let path = memo.join(STORE);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    Store::open(&path).map_err(|error| no_answers(error, None))
}

/// Says why there are no answers, and what to do. `row` is the number of the row that has none.
fn no_answers(error: EndpointError, row: Option<u64>) -> OpError {
    let kept = "what was answered is kept: run again to go on";
    let help = match &error {
        EndpointError::All(Trouble::Status { status: 401 | 403, .. }) => {
            "set the environment variable that `endpoint.key_env` names to a key that the server takes".to_owned()
        }
        EndpointError::All(Trouble::Status { status: 404 | 405, .. }) => {
            "look at `endpoint.url`, which ends in `/v1` as a rule, and at `endpoint.model`".to_owned()
        }
        EndpointError::All(Trouble::Status { status: 300..=399, .. }) => {
            "write the address that it leads to as `endpoint.url`: the key is not sent to another one".to_owned()
        }
        EndpointError::All(Trouble::Status { status: 429, .. }) => {
            format!("lower `request.concurrency` or set `request.rpm`; {kept}")
        }
        EndpointError::All(_) => format!("see that the server runs at `endpoint.url`; {kept}"),
        EndpointError::One(_) => format!("`on_error: drop` leaves such rows out; {kept}"),
        EndpointError::Budget { .. } => format!("raise `request.budget`; {kept}"),
        EndpointError::Offline => "set `request.offline` to false".to_owned(),
        EndpointError::NoKey { name } => format!("set `{name}` to the key of the service"),
        EndpointError::Store { path, .. } => {
            format!("move {} aside to begin a new one; its answers will be asked for again", path.display())
        }
        EndpointError::Newer { .. } => "use that luthflow, or a cache of its own (`--cache`)".to_owned(),
        EndpointError::Interrupted => return OpError::new("interrupted"),
    };
    let error = match row {
        Some(row) => OpError::caused(format!("row {row} has no answer"), error),
        None => OpError::caused("the model cannot be asked", error),
    };
    error.help(help)
}
