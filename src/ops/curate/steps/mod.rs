//! The steps themselves, one file each.

mod check_answers;
mod check_messages;
mod classify;
mod columns;
mod decontaminate;
mod dedup;
mod exact;
mod fix_text;
mod join;
mod language;
mod length;
mod measure;
mod messages;
mod mix;
mod near;
mod normalize;
mod order;
mod pattern;
mod pii;
mod quality;
mod sample;
mod semantic;
mod spoken;
mod substring;
mod toxicity;
mod where_;

pub(super) use where_::{View, expression, failed};

use super::flow::Step;
use super::spool::Spool;
use crate::ops::{OpCx, OpError};
use crate::spec::params::CurateStep;

/// Begins the step with the number `at`; nothing for the split, which is no step of the flow.
pub(super) fn begin<'a>(
    at: usize,
    step: &CurateStep,
    (entries, priorities): (&[String], &[i64]),
    cx: &'a OpCx<'a>,
) -> Result<Option<Box<dyn Step + 'a>>, OpError> {
    let file = format!("step{at}");
    let from = (entries, priorities);
    Ok(Some(match step {
        CurateStep::Messages(messages) => Box::new(messages::ToMessages::new(messages)?),
        CurateStep::Rename(names) => Box::new(columns::RenameColumns(names.clone())),
        CurateStep::Select(names) => Box::new(columns::KeepColumns(names.clone())),
        CurateStep::Set(columns) => Box::new(columns::WriteColumns::new(columns)?),
        CurateStep::Where(condition) => Box::new(where_::KeepWhere::new(condition, entries)?),
        CurateStep::Explode(column) => Box::new(columns::ExplodeColumn(column.clone())),
        CurateStep::Join(join) => Box::new(join::JoinRows::new(join, at, cx)?),
        CurateStep::CheckAnswers(check) => Box::new(check_answers::CheckTexts { settings: check.clone() }),
        CurateStep::FixText(fix) => Box::new(fix_text::MendText::new(fix)),
        CurateStep::Normalize(normalize) => Box::new(normalize::Tidy { form: normalize.form }),
        CurateStep::Replace(replace) => Box::new(pattern::ReplaceMatches::new(replace)?),
        CurateStep::Length(length) => Box::new(length::KeepLengths { bounds: *length }),
        CurateStep::Quality(quality) => Box::new(quality::KeepGood::new(quality)),
        CurateStep::Pii(pii) => Box::new(pii::HidePii::new(pii)),
        CurateStep::Toxicity(toxicity) => Box::new(toxicity::FindWords::new(toxicity)?),
        CurateStep::Language(language) => Box::new(language::KeepLanguages::new(language, at, cx)?),
        CurateStep::Classify(classify) => Box::new(classify::Labelled::new(classify, at, cx)?),
        CurateStep::Matches(matches) => Box::new(pattern::KeepMatches::new(matches)?),
        CurateStep::Dedup(_) => Box::new(dedup::DropRepeats::default()),
        CurateStep::DedupExact(exact) => {
            let ranks = near::Ranks::new(&exact.keep, exact.score.as_ref(), from)?;
            Box::new(exact::DropSame::new(exact, ranks, Spool::new(cx.scratch, &file)))
        }
        CurateStep::DedupFuzzy(fuzzy) => {
            let ranks = near::Ranks::new(&fuzzy.keep, fuzzy.score.as_ref(), from)?;
            Box::new(near::DropNear::new(fuzzy, at, ranks, cx)?)
        }
        CurateStep::DedupSemantic(semantic) => {
            let ranks = near::Ranks::new(&semantic.keep, semantic.score.as_ref(), from)?;
            Box::new(semantic::DropAlike::new(semantic, at, (ranks, entries), cx)?)
        }
        CurateStep::DedupSubstring(settings) => Box::new(substring::DropPassages::new(settings, &file, cx)),
        CurateStep::CheckMessages(settings) => Box::new(check_messages::CheckChats(settings.clone())),
        CurateStep::CountTokens(settings) => Box::new(measure::TokenCounts::new(settings, at, cx)?),
        CurateStep::Perplexity(settings) => Box::new(measure::KeepLikely::new(settings, at, cx)?),
        CurateStep::Decontaminate(settings) => {
            Box::new(decontaminate::DropContaminated::new(settings, at, entries, cx)?)
        }
        CurateStep::Mix(mix) => Box::new(mix::TakeShares::new(mix, entries, cx.scratch, &file)?),
        CurateStep::Shuffle(shuffle) => Box::new(order::InOrder::shuffled(*shuffle, cx.scratch, &file)),
        CurateStep::Sort(sort) => Box::new(order::InOrder::sorted(sort, entries, cx.scratch, &file)?),
        CurateStep::Sample(sample) => Box::new(sample::KeepSample::new(*sample)),
        CurateStep::Split(_) => return Ok(None),
    }))
}
