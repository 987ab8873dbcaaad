//! One answer of many: the one that was given most often (Wang et al. 2022, self-consistency).
//!
//! Answers are equal if they say the same in the form that was asked for: two scores, two truths, two JSON values; texts but for
//! the spaces around them. Of equally frequent answers the one that came first wins, by the number of the sample and not
//! by when it came, so that a run that is repeated elects the same. What is not of the form is no vote, and counts against
//! the share: a majority of three among ten is none.

use serde_json::Value;

use super::answer::{Judge, Verdict};
use super::results::Stats;
use crate::data::Record;
use crate::endpoint::Reply;
use crate::ops::OpError;
use crate::spec::params::{GenerateParams, Votes};

/// The votes of a row: what was said, how often, and the first to say so.
#[derive(Default)]
pub(super) struct Poll(Vec<(Value, u32, Reply)>);

impl Poll {
    /// Counts an answer.
    pub(super) fn cast(&mut self, reply: Reply, judge: &Judge) -> Result<Verdict, OpError> {
        let Some(said) = judge.said(&reply)? else { return Ok(Verdict::Unfinished(reply.finish_reason)) };
        let said = said.as_str().map(|text| text.trim().into()).unwrap_or(said);
        match self.0.iter_mut().find(|(known, ..)| *known == said) {
            Some((_, count, _)) => *count += 1,
            None => self.0.push((said, 1, reply)),
        }
        Ok(Verdict::Counted)
    }

    /// Says whether there is a vote at all.
    pub(super) fn any(&self) -> bool {
        !self.0.is_empty()
    }

    /// Returns the answer that is kept, and writes its share into the row.
    pub(super) fn elected(
        &self,
        settings: &Votes,
        (row, number): (&mut Record, u64),
        (params, judge): (&GenerateParams, &Judge),
        stats: &mut Stats,
    ) -> Result<Option<Value>, OpError> {
        // `max_by_key` gives the last of equals.
        let Some((_, count, reply)) = self.0.iter().rev().max_by_key(|(_, count, _)| *count) else { return Ok(None) };
        let share = f64::from(*count) / f64::from(settings.of);
        stats.outvoted += u64::from(self.0.iter().map(|(_, count, _)| count).sum::<u32>() - count);
        if share < settings.min_share {
            stats.rows_undecided += 1;
            return Ok(None);
        }
        let verdict = judge.verdict(reply, row, number)?;
        let Verdict::Kept(value) = verdict else {
            stats.left_out += 1;
            return Ok(None);
        };
        let column = settings.share.clone().unwrap_or_else(|| format!("{}_share", params.into));
        row.0.insert(column, share.into());
        Ok(Some(value))
    }
}
