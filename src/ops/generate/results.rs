//! What is kept, in the order of the rows, and an account of what is not.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::Serialize;
use serde_json::{Value, json};

use super::answer::{Judge, Verdict};
use super::no_answers;
use super::votes::Poll;
use crate::data::{Record, RowWriter};
use crate::endpoint::{EndpointError, Reply, Trouble};
use crate::ops::OpError;
use crate::spec::params::{GenerateParams, OnError, Prices};

/// Rows after which too many failures end the node early.
const EARLY: u64 = 200;

/// The rows on their way out.
pub(super) struct Results<'a> {
    params: &'a GenerateParams,
    out: PathBuf,
    rows: RowWriter,
    failures: fs::File,
    stats: Stats,
}

/// `stats.json`.
#[derive(Debug, Default, Serialize)]
pub(super) struct Stats {
    rows_in: u64,
    rows_out: u64,
    /// Answers of all rows; one that several rows share counts for each.
    answers: u64,
    kept: u64,
    /// Answers that a rule was against.
    pub(super) left_out: u64,
    /// Votes for another answer than the one that is kept.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) outvoted: u64,
    /// Rows in which too few agree.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) rows_undecided: u64,
    /// Answers that did not come to their end.
    unfinished: u64,
    /// Answers that did not come, or were of no use, by reason.
    failed: BTreeMap<String, u64>,
    /// Rows without an answer, one of which failed.
    rows_failed: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
    /// What these tokens cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<f64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl<'a> Results<'a> {
    pub(super) fn create(params: &'a GenerateParams, out: &Path) -> Result<Self, OpError> {
        Ok(Self {
            params,
            out: out.to_owned(),
            rows: RowWriter::create(&out.join("rows"))?,
            failures: fs::File::create(out.join("failures.jsonl"))?,
            stats: Stats::default(),
        })
    }

    /// Takes the next row with its answers.
    pub(super) fn row(
        &mut self,
        mut row: Record,
        answers: Vec<Result<Reply, Trouble>>,
        judge: &Judge,
    ) -> Result<(), OpError> {
        self.stats.rows_in += 1;
        let number = self.stats.rows_in;
        let (mut kept, mut failed) = (Vec::new(), None);
        let mut votes = Poll::default();
        for (sample, answer) in answers.into_iter().enumerate() {
            let missing = match answer {
                Ok(reply) => {
                    self.stats.answers += 1;
                    self.stats.prompt_tokens += reply.prompt_tokens;
                    self.stats.completion_tokens += reply.completion_tokens;
                    let verdict = match self.params.votes {
                        Some(_) => votes.cast(reply, judge)?,
                        None => judge.verdict(&reply, &row, number)?,
                    };
                    match verdict {
                        Verdict::Kept(value) => {
                            kept.push(value);
                            continue;
                        }
                        Verdict::LeftOut => {
                            self.stats.left_out += 1;
                            continue;
                        }
                        Verdict::Counted => continue,
                        Verdict::Unfinished(reason) => {
                            self.stats.unfinished += 1;
                            format!("finish_reason {reason}")
                        }
                    }
                }
                Err(trouble) => {
                    let word = trouble.word();
                    failed = Some(trouble);
                    *self.stats.failed.entry(word.clone()).or_default() += 1;
                    word
                }
            };
            writeln!(self.failures, "{}", json!({"row": number, "sample": sample, "reason": missing}))?;
        }
        if let Some(settings) = &self.params.votes {
            kept.extend(votes.elected(settings, (&mut row, number), (self.params, judge), &mut self.stats)?);
        }
        self.stats.kept += kept.len() as u64;
        if kept.is_empty() {
            let failed = failed.filter(|_| !votes.any());
            self.stats.rows_failed += u64::from(failed.is_some());
            if let (Some(trouble), OnError::Fail) = (failed, self.params.on_error) {
                return Err(no_answers(EndpointError::One(trouble), Some(number)));
            }
            return self.check_share(self.stats.rows_in >= EARLY);
        }
        let value = if self.params.n == 1 { kept.remove(0) } else { Value::Array(kept) };
        row.0.insert(self.params.into.clone(), value);
        self.rows.write_line(&Value::Object(row.0).to_string())?;
        self.stats.rows_out += 1;
        Ok(())
    }

    /// Returns how many rows are done.
    pub(super) fn done(&self) -> u64 {
        self.stats.rows_in
    }

    /// Ends the data set, and returns the metrics.
    pub(super) fn finish(mut self) -> Result<BTreeMap<String, f64>, OpError> {
        self.check_share(true)?;
        let stats = &mut self.stats;
        stats.cost = self.params.prices.map(|prices| cost(prices, stats.prompt_tokens, stats.completion_tokens));
        if stats.rows_in == 0 {
            return Err(OpError::new("there is nothing to ask: the input holds no rows"));
        }
        if stats.rows_out == 0 {
            let failed: u64 = stats.failed.values().sum();
            let (left_out, unfinished) = (stats.left_out, stats.unfinished);
            let message = format!(
                "no row is left: of all answers, rules left {left_out} out, {unfinished} did not end, {failed} failed"
            );
            return Err(OpError::new(message).help("look at `keep_if`, `keep_matching` and `params.max_tokens`"));
        }
        self.rows.finish()?;
        self.failures.flush()?;
        let mut text = serde_json::to_string_pretty(&self.stats).unwrap_or_default();
        text.push('\n');
        fs::write(self.out.join("stats.json"), text)?;
        let stats = &self.stats;
        let mut metrics = BTreeMap::from([
            ("rows_in", stats.rows_in),
            ("rows_out", stats.rows_out),
            ("answers", stats.answers),
            ("left_out", stats.left_out),
            ("unfinished", stats.unfinished),
            ("failed", stats.failed.values().sum()),
            ("prompt_tokens", stats.prompt_tokens),
            ("completion_tokens", stats.completion_tokens),
        ])
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count as f64))
        .collect::<BTreeMap<_, _>>();
        metrics.extend(stats.cost.map(|cost| ("cost".to_owned(), cost)));
        Ok(metrics)
    }

    /// Fails if more rows have no answer than may.
    fn check_share(&self, now: bool) -> Result<(), OpError> {
        let (failed, all) = (self.stats.rows_failed, self.stats.rows_in);
        let most = self.params.max_failed;
        if !now || self.params.on_error == OnError::Fail || failed as f64 <= most * all as f64 {
            return Ok(());
        }
        let reasons: Vec<String> =
            self.stats.failed.iter().map(|(reason, count)| format!("{reason} ({count})")).collect();
        let message =
            format!("{failed} of {all} rows have no answer, more than `max_failed: {most}`: {}", reasons.join(", "));
        Err(OpError::new(message).help("what was answered is kept: run again to go on"))
    }
}

/// Returns what tokens cost.
pub(super) fn cost(prices: Prices, prompt: u64, completion: u64) -> f64 {
    (prompt as f64 * prices.prompt + completion as f64 * prices.completion) / 1e6
}
