//! What can be said against the order of steps before any row is read. Never a mistake: whoever wrote it may mean it.
//!
//! Three things go wrong without a word. Rows that differ only in what a later step repairs were compared apart, so repeated
//! and contaminated rows stay. A share, a sample or a count is no longer what was asked for once later steps drop or change rows.
//! And a model, or MinHash over everything, is spent on rows that a cheap filter drops. A step that reads what an earlier one
//! left behind (its column, its flags) has to come after it, and nothing is said.

use super::super::Mistake;
use super::{CurateStep as Step, FilterMode, PassageAction};

/// Returns what speaks against the order of the steps, each with the field of the step that should move.
pub(super) fn advice(steps: &[Step]) -> Vec<Mistake> {
    let mut found = Vec::new();
    for (i, first) in steps.iter().enumerate() {
        let mut told = Vec::new();
        for (j, then) in steps.iter().enumerate().skip(i + 1) {
            let Some((rule, why)) = against(first, then) else { continue };
            // Of each kind once: the steps behind a `sample` may be many.
            if told.contains(&rule) {
                continue;
            }
            told.push(rule);
            let (field, help) = if rule == Rule::Repair {
                (format!("steps[{j}]"), format!("put `{}` before step {} (`{}`)", then.name(), i + 1, first.name()))
            } else {
                (format!("steps[{i}]"), format!("put `{}` after step {} (`{}`)", first.name(), j + 1, then.name()))
            };
            found.push(Mistake::new(field, why).help(help));
        }
    }
    found
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Repair,
    Share,
    Order,
    Count,
    Cost,
}

/// Says what speaks against `first` before `then`.
fn against(first: &Step, then: &Step) -> Option<(Rule, String)> {
    let (a, b) = (first.name(), then.name());
    let repairs = matches!(then, Step::FixText(_) | Step::Normalize(_));
    let masks = matches!(then, Step::Pii(_));
    if compares(first) && (repairs || masks || matches!(then, Step::Replace(_))) {
        return Some((Rule::Repair, format!("`{b}` makes rows alike that `{a}` has already taken for different")));
    }
    if matches!(first, Step::Decontaminate(_)) && repairs {
        return Some((
            Rule::Repair,
            format!("`{a}` does not see what damaged text says, and `{b}` mends it only then"),
        ));
    }
    if matches!(first, Step::Language(_) | Step::Classify(_)) && repairs {
        return Some((Rule::Repair, format!("`{a}` judges damaged text, which `{b}` mends only then")));
    }
    let drops = compares(then) || matches!(then, Step::Decontaminate(_));
    if drops && then.mode() == FilterMode::Drop {
        if matches!(first, Step::Sample(_) | Step::Mix(_)) {
            return Some((Rule::Share, format!("`{b}` drops rows of what `{a}` has measured out")));
        }
        if matches!(first, Step::Shuffle(_)) && compares(then) {
            let why = format!("`{b}` keeps the first of equal rows, and after `{a}` that is any of them");
            return Some((Rule::Order, why));
        }
    }
    if matches!(first, Step::CountTokens(_)) && changes_text(then) {
        return Some((Rule::Count, format!("`{b}` changes texts that `{a}` has already counted")));
    }
    if cost(first) > cost(then) && drops_rows(then) && !reads_what_it_left(first, then) {
        return Some((Rule::Cost, format!("`{a}` is spent on rows that `{b}` drops for much less")));
    }
    None
}

/// Says whether a step compares rows with each other.
fn compares(step: &Step) -> bool {
    matches!(
        step,
        Step::Dedup(_) | Step::DedupExact(_) | Step::DedupFuzzy(_) | Step::DedupSemantic(_) | Step::DedupSubstring(_)
    )
}

fn changes_text(step: &Step) -> bool {
    match step {
        Step::DedupSubstring(settings) => settings.action == PassageAction::Remove,
        Step::Messages(_)
        | Step::FixText(_)
        | Step::Normalize(_)
        | Step::Replace(_)
        | Step::Pii(_)
        | Step::CheckMessages(_) => true,
        _ => false,
    }
}

/// Returns how much a row costs: a look at it, a comparison with all others, a model.
fn cost(step: &Step) -> u32 {
    match step {
        Step::Perplexity(_) | Step::DedupSemantic(_) => 3,
        Step::DedupFuzzy(_) | Step::DedupSubstring(_) => 2,
        Step::Dedup(_) | Step::DedupExact(_) => 1,
        _ => 0,
    }
}

fn drops_rows(step: &Step) -> bool {
    let filters = matches!(
        step,
        Step::Where(_)
            | Step::Length(_)
            | Step::Language(_)
            | Step::Classify(_)
            | Step::Matches(_)
            | Step::Quality(_)
            | Step::Toxicity(_)
            | Step::CheckMessages(_)
    );
    (filters || compares(step)) && step.mode() == FilterMode::Drop
}

/// Says whether an expression of a step reads the column or the flags that an earlier one gave.
fn reads_what_it_left(first: &Step, then: &Step) -> bool {
    let left = match first {
        Step::Perplexity(settings) => Some(settings.column.as_str()),
        Step::DedupFuzzy(settings) => settings.cluster.as_deref(),
        _ => None,
    };
    let read = match then {
        Step::Where(condition) => Some(condition.0.as_str()),
        Step::DedupExact(settings) => settings.score.as_deref(),
        Step::DedupFuzzy(settings) => settings.score.as_deref(),
        Step::DedupSemantic(settings) => settings.score.as_deref(),
        _ => None,
    };
    let names = left.into_iter().chain(["flags"]);
    read.is_some_and(|read| names.into_iter().any(|name| read.contains(name)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(steps: &Value) -> Vec<String> {
        let steps: Vec<Step> = serde_json::from_value(steps.clone()).unwrap();
        advice(&steps).into_iter().map(|mistake| format!("{}: {}", mistake.field, mistake.help.unwrap())).collect()
    }

    #[test]
    fn an_order_that_loses_something_is_told_once() {
        for (steps, wanted) in [
            (json!([{"dedup_fuzzy": {}}, {"fix_text": {}}]), "steps[1]: put `fix_text` before step 1 (`dedup_fuzzy`)"),
            (json!([{"dedup_exact": {}}, {"pii": {}}]), "steps[1]: put `pii` before step 1 (`dedup_exact`)"),
            (
                json!([{"language": {"keep": ["fr"]}}, {"normalize": {}}]),
                "steps[1]: put `normalize` before step 1 (`language`)",
            ),
            (
                json!([{"classify": {"model": "m", "keep": {"hq": 0.5}}}, {"fix_text": {}}]),
                "steps[1]: put `fix_text` before step 1 (`classify`)",
            ),
            (
                json!([{"perplexity": {"model": "m"}}, {"classify": {"model": "m", "remove": {"spam": 0.8}}}]),
                "steps[0]: put `perplexity` after step 2 (`classify`)",
            ),
            (
                json!([{"decontaminate": {"evals": [{"node": "a", "name": "a"}]}}, {"fix_text": {}}]),
                "steps[1]: put `fix_text` before step 1 (`decontaminate`)",
            ),
            (
                json!([{"sample": {"rows": 9}}, {"dedup_exact": {}}]),
                "steps[0]: put `sample` after step 2 (`dedup_exact`)",
            ),
            (
                json!([{"shuffle": {}}, {"dedup": "exact"}, {"dedup_fuzzy": {}}]),
                "steps[0]: put `shuffle` after step 2 (`dedup`)",
            ),
            (
                json!([{"count_tokens": {"tokenizer": "t"}}, {"replace": {"pattern": "a", "with": "b"}}]),
                "steps[0]: put `count_tokens` after step 2 (`replace`)",
            ),
            (
                json!([{"perplexity": {"model": "m"}}, {"length": {"min_chars": 9}}]),
                "steps[0]: put `perplexity` after step 2 (`length`)",
            ),
            (
                json!([{"dedup_fuzzy": {}}, {"dedup_exact": {}}]),
                "steps[0]: put `dedup_fuzzy` after step 2 (`dedup_exact`)",
            ),
        ] {
            assert_eq!(told(&steps), [wanted], "{steps}");
        }
    }

    #[test]
    fn nothing_is_said_of_what_is_in_order() {
        for steps in [
            json!([{"fix_text": {}}, {"normalize": {}}, {"language": {"keep": ["fr"]}}, {"dedup_exact": {}}, {"dedup_fuzzy": {}},
                {"perplexity": {"model": "m"}}, {"count_tokens": {"tokenizer": "t"}}, {"shuffle": {}}, {"split": {"eval": 0.1}}]),
            json!([{"perplexity": {"model": "m"}}, {"where": "bits_per_byte < 2"}]),
            json!([{"perplexity": {"model": "m"}}, {"dedup_exact": {"keep": ["score"], "score": "-bits_per_byte"}}]),
            json!([{"dedup_fuzzy": {"mode": "flag"}}, {"where": "not flags"}]),
            json!([{"perplexity": {"model": "m"}}, {"length": {"min_chars": 9, "mode": "flag"}}]),
        ] {
            assert_eq!(told(&steps), [""; 0], "{steps}");
        }
    }
}
