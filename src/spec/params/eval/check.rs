//! What no single field of an eval shows to be wrong.

use super::super::{Exit, Mistake};
use super::{COST, EvalParams, NamedTask, Profile, Request, Task, TaskDefinition};
use crate::spec::suggest;
use crate::spec::tasks;

pub(super) fn mistakes(params: &EvalParams) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    if params.tasks.is_empty() {
        mistakes.push(Mistake::new("tasks", "there is nothing to score"));
    }
    if params.max_length < 2 {
        mistakes.push(Mistake::new("max_length", format!("{} leaves no token to predict", params.max_length)));
    }
    for (field, count) in
        [("runs", params.runs), ("batch", params.batch), ("max_tokens", params.max_tokens.unwrap_or(1))]
    {
        if count == 0 {
            mistakes.push(Mistake::new(field, "must be 1 or more"));
        }
    }
    mistakes.extend(params.exit.and_then(Exit::mistake));
    for (i, task) in params.tasks.iter().enumerate() {
        mistakes.extend(of_task(task, i, &params.tasks[..i], params));
    }
    mistakes
}

fn of_task(task: &Task, i: usize, earlier: &[Task], params: &EvalParams) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let at = |field: &str| format!("tasks[{i}].{}.{field}", task.field());
    if task.limit() == Some(0) {
        let help = "set it to 1 or more, or leave it out to score all rows";
        mistakes.push(Mistake::new(at("limit"), "0 rows leave nothing to score").help(help));
    }
    if let Task::Named(task) = task {
        mistakes.extend(of_named(task, i, params.profile));
        if task.definition.is_none() {
            return mistakes;
        }
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if task.name().is_empty() || !task.name().chars().all(plain) {
        let message = format!("`{}` is not a task name", task.name());
        mistakes.push(Mistake::new(at("name"), message).help("use letters, digits, `-` and `_`"));
    }
    if params.exit.is_some() && task.name() == COST {
        let mistake = Mistake::new(at("name"), format!("with `exit` the score `{COST}` says what a token costs"));
        mistakes.push(mistake.help("give the task another `name`"));
    }
    if earlier.iter().any(|earlier| earlier.name() == task.name()) {
        let mistake = Mistake::new(at("name"), format!("two tasks are called `{}`", task.name()));
        mistakes.push(mistake.help("give one another `name`"));
    }
    mistakes
}

/// The most draws before those of the rows.
const MOST_SKIPPED: usize = 10_000_000;
/// The most answers to a question.
const MOST_SAMPLES: usize = 10_000;

/// Says which number of a task would have it run for ever, or take all memory, and in which of its fields that stands.
fn beyond(task: &NamedTask, definition: &TaskDefinition) -> Option<(&'static str, String)> {
    if let Some(draw) = definition.draw {
        if draw.below == 0 || draw.below > u32::MAX as usize {
            let why = format!("`draw.below` is {}; it goes from 1 to {}", draw.below, u32::MAX);
            return Some(("definition.draw.below", why));
        }
        if draw.skip > MOST_SKIPPED {
            let why = format!("`draw.skip` is {}; it goes up to {MOST_SKIPPED}", draw.skip);
            return Some(("definition.draw.skip", why));
        }
    }
    let Request::Generate(generate) = &definition.request else { return None };
    let (field, samples) = match task.samples {
        Some(samples) => ("samples", samples),
        None => ("definition.request.generate.samples", generate.samples),
    };
    (samples > MOST_SAMPLES).then(|| (field, format!("`samples` is {samples}; it goes up to {MOST_SAMPLES}")))
}

/// Says why a task has no definition.
fn unknown(task: &NamedTask, entry: String, profile: Profile) -> Mistake {
    let found = tasks::find(&task.key, task.language.as_deref(), task.define.as_ref());
    let settled = found.map_err(|why| (why, true)).and_then(|(raw, language)| {
        let settled = tasks::settle(raw, language.as_deref(), profile.word());
        settled.map_err(|why| (format!("`{}`: {why}", task.key), false))
    });
    let (why, name) = settled.err().unwrap_or_else(|| (format!("`{}` cannot be read", task.key), false));
    let mistake = Mistake::new(entry, why);
    if !name {
        return mistake;
    }
    let names = tasks::names();
    let known = names.iter().map(String::as_str).chain(["bits_per_byte", "minimal_pairs"]);
    let near = suggest::nearest(&task.key, known).map(|near| format!("did you mean `{near}`?"));
    mistake.help(near.unwrap_or_else(|| "`luthflow eval tasks` lists those that there are".into()))
}

fn of_named(task: &NamedTask, i: usize, profile: Profile) -> Vec<Mistake> {
    let entry = format!("tasks[{i}]");
    let at = |field: &str| format!("{entry}.{}.{field}", task.key);
    let Some(definition) = &task.definition else {
        return vec![unknown(task, entry, profile)];
    };
    let mut mistakes = Vec::new();
    if task.data.is_none() {
        let help = "give the node with its rows: `data: NODE`";
        mistakes.push(Mistake::new(&entry, format!("nothing says where the rows of `{}` are", task.key)).help(help));
    }
    let shots = task.shots.unwrap_or(definition.fewshot.shots);
    if shots > 0 && task.examples.is_none() {
        let help = "give the node with solved rows: `examples: NODE`, or `shots: 0`";
        let message = format!("`{}` has {shots} examples in front, and nothing says where they are", task.key);
        mistakes.push(Mistake::new(&entry, message).help(help));
    }
    if shots > 1000 {
        mistakes.push(Mistake::new(at("shots"), "more than 1000 examples"));
    }
    if definition.metrics.is_empty() {
        mistakes.push(Mistake::new(at("definition.metrics"), format!("`{}` has no metrics", task.key)));
    }
    let numbers = [("max_tokens", task.max_tokens), ("samples", task.samples)];
    for (field, number) in numbers {
        if number == Some(0) {
            mistakes.push(Mistake::new(at(field), "must be 1 or more"));
        }
        if number.is_some() && !matches!(definition.request, Request::Generate(_)) {
            mistakes.push(Mistake::new(at(field), format!("`{}` asks for no answers in words", task.key)));
        }
    }
    let beyond = beyond(task, definition);
    mistakes.extend(beyond.map(|(field, why)| Mistake::new(at(field), format!("`{}`: {why}", task.key))));
    let drawn = [("temperature", task.temperature, f64::INFINITY), ("top_p", task.top_p, 1.0)];
    for (field, number, most) in drawn {
        if number.is_some_and(|number| !(0.0..=most).contains(&number) || !number.is_finite()) {
            mistakes.push(Mistake::new(at(field), "is out of range"));
        }
    }
    mistakes
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(more: &Value) -> Vec<String> {
        let mut definition =
            json!({"task": "t", "request": {"generate": {"gold": "'x'"}}, "metrics": ["em"], "prompt": "?"});
        for (name, value) in more.as_object().unwrap() {
            definition[name] = value.clone();
        }
        let tasks = json!([{"t": {"name": "t", "data": "rows", "define": {}, "definition": definition}}]);
        let params: EvalParams = serde_json::from_value(json!({"model": "m", "tasks": tasks})).unwrap();
        mistakes(&params).into_iter().map(|mistake| mistake.message).collect()
    }

    #[test]
    fn numbers_without_bounds_are_mistakes() {
        assert_eq!(told(&json!({})), [""; 0]);
        for (more, field) in [
            (json!({"draw": {"seed": 1, "below": 0}}), "draw.below"),
            (json!({"draw": {"seed": 1, "below": 1_u64 << 40}}), "draw.below"),
            (json!({"draw": {"seed": 1, "below": 4, "skip": 1_u64 << 60}}), "draw.skip"),
            (json!({"request": {"generate": {"gold": "'x'", "samples": 1_000_000_000}}}), "samples"),
        ] {
            let told = told(&more);
            assert!(told.len() == 1 && told[0].contains(field), "{more}: {told:?}");
        }
    }
}
