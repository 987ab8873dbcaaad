//! What the steps of a curation have in languages of their own, read before there are rows.
//!
//! Nothing but the language is checked here: which columns there will be is known only when they are.

use crate::data::{TextTemplate, pattern_of};
use crate::spec::params::{CurateParams, CurateStep, Mistake};
use crate::text::lists::WordList;

/// Returns what cannot be read, with the field that it stands in.
pub(in crate::ops) fn unreadable(params: &CurateParams) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for (i, step) in params.steps.iter().enumerate() {
        for (field, why, help) in of_step(step) {
            let below = if field.is_empty() { String::new() } else { format!(".{field}") };
            mistakes.push(Mistake::new(format!("steps[{i}].{}{below}", step.name()), why).help(help));
        }
    }
    mistakes
}

type Found = (String, String, &'static str);

const EXPRESSION: &str = "the expression is one of MiniJinja, over the row's columns: `score >= 4 and lang == 'fr'`";
const TEMPLATE: &str = "the template is one of MiniJinja, over the row's columns: `{{context}}`";
/// What to do about a regular expression.
pub(in crate::ops) const PATTERN: &str = "the syntax is that of Rust's `regex`: no look-around, no back references";

fn template(field: String, content: &str) -> Option<Found> {
    let why = TextTemplate::new(content).err()?;
    Some((field, format!("`{content}` cannot be read: {why}"), TEMPLATE))
}

fn of_step(step: &CurateStep) -> Vec<Found> {
    let computed = |field: &str, source: Option<&String>| -> Vec<Found> {
        let wrong = source.and_then(|source| Some((source, crate::data::Expression::new(source).err()?)));
        wrong
            .map(|(source, why)| (field.into(), format!("`{source}` cannot be read: {why}"), EXPRESSION))
            .into_iter()
            .collect()
    };
    let found = |field: &str, pattern: &str| -> Vec<Found> {
        pattern_of(pattern).err().map(|why| (field.into(), why, PATTERN)).into_iter().collect()
    };
    match step {
        CurateStep::Where(condition) => computed("", Some(&condition.0)),
        CurateStep::Sort(sort) => computed("by", Some(&sort.by)),
        CurateStep::Split(split) => {
            let group = computed("group", split.group.as_ref());
            group.into_iter().chain(computed("stratify", split.stratify.as_ref())).collect()
        }
        CurateStep::DedupExact(exact) => computed("score", exact.score.as_ref()),
        CurateStep::DedupFuzzy(fuzzy) => computed("score", fuzzy.score.as_ref()),
        CurateStep::DedupSemantic(semantic) => {
            let read = semantic.template.as_ref().and_then(|source| template("template".into(), source));
            computed("score", semantic.score.as_ref()).into_iter().chain(read).collect()
        }
        CurateStep::Matches(matches) => found("pattern", &matches.pattern),
        CurateStep::Replace(replace) => found("pattern", &replace.pattern),
        CurateStep::Messages(messages) => {
            let contents = messages.template.iter().map(|message| &message.content).enumerate();
            contents.filter_map(|(i, content)| template(format!("template[{i}].content"), content)).collect()
        }
        CurateStep::Set(columns) => {
            columns.0.iter().filter_map(|(column, content)| template(column.clone(), content)).collect()
        }
        CurateStep::Join(join) => {
            let keys = [("key", Some(&join.key)), ("with_key", join.with_key.as_ref())];
            keys.into_iter().filter_map(|(field, key)| template(field.into(), key?)).collect()
        }
        CurateStep::Toxicity(toxicity) => {
            let words: Vec<&str> = toxicity.words.iter().map(String::as_str).collect();
            let wrong = WordList::new(&words).err();
            let help = "write words and short phrases";
            wrong
                .map(|why| ("words".into(), format!("the words cannot be looked for: {why}"), help))
                .into_iter()
                .collect()
        }
        _ => Vec::new(),
    }
}
