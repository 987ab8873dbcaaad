//! From the rows of a data set to questions: templates filled, choices listed, examples chosen. Nothing here knows a model.

mod columns;
mod shots;

use serde_json::{Map, Value};

use self::columns::{Columns, Row};
use self::shots::Pool;
use super::judge::Judge;
use crate::data::{Expression, Record, TextTemplate};
use crate::ops::OpError;
use crate::spec::params::{Request, TaskDefinition};

/// One row as a question.
#[derive(Debug, Clone)]
pub(super) struct Question {
    /// The place of the row in the data.
    pub(super) row: usize,
    pub(super) group: Option<String>,
    pub(super) cluster: Option<String>,
    pub(super) instruction: Option<String>,
    /// Solved examples: what was asked, and the answer.
    pub(super) shots: Vec<(String, String)>,
    pub(super) prompt: String,
    pub(super) answer_start: Option<String>,
    pub(super) asked: Asked,
    /// What is right.
    pub(super) gold: Value,
    /// What judges read of the row.
    pub(super) columns: Map<String, Value>,
}

/// What the model is asked for.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    /// How likely each of these is, behind the prompt or behind a context of its own.
    Choices { texts: Vec<String>, contexts: Option<Vec<String>>, unconditioned: Option<String> },
    /// How likely each of these is by itself.
    Pair([String; 2]),
    /// How likely this is.
    Text(String),
    /// An answer, and one to each further question.
    Answer { stop: Vec<String>, then: Vec<String> },
}

/// The templates of a task, compiled.
pub(super) struct Templates<'a> {
    task: &'a str,
    definition: &'a TaskDefinition,
    columns: Columns,
    instruction: Option<TextTemplate>,
    prompt: TextTemplate,
    answer_start: Option<TextTemplate>,
    shot_answer: Option<TextTemplate>,
    texts: Vec<TextTemplate>,
    list: Option<Expression>,
    contexts: Option<Expression>,
    unconditioned: Option<TextTemplate>,
    stop: Vec<TextTemplate>,
    then: Option<Expression>,
    gold: Option<Expression>,
}

impl<'a> Templates<'a> {
    /// Compiles what a task says.
    pub(super) fn new(task: &'a str, definition: &'a TaskDefinition) -> Result<Self, OpError> {
        let wrong = |field: &str, why: String| OpError::new(format!("`{field}` of the task `{task}`: {why}")).at(field);
        let template = |field: &str, text: &String| TextTemplate::new(text).map_err(|why| wrong(field, why));
        let maybe = |field: &str, text: &Option<String>| text.as_ref().map(|text| template(field, text)).transpose();
        let expression = |field: &str, text: &Option<String>| {
            text.as_ref().map(|text| Expression::new(text).map_err(|why| wrong(field, why))).transpose()
        };
        let mut new = Self {
            task,
            definition,
            columns: Columns::new(task, definition)?,
            instruction: maybe("instruction", &definition.instruction)?,
            prompt: template("prompt", &definition.prompt)?,
            answer_start: maybe("answer_start", &definition.answer_start)?,
            shot_answer: maybe("fewshot.answer", &definition.fewshot.answer)?,
            texts: Vec::new(),
            list: None,
            contexts: None,
            unconditioned: None,
            stop: Vec::new(),
            then: None,
            gold: None,
        };
        let all = |field: &str, texts: &[String]| {
            let one = |(i, text)| template(&format!("{field}[{i}]"), text);
            texts.iter().enumerate().map(one).collect::<Result<Vec<_>, _>>()
        };
        match &definition.request {
            Request::Choices(choices) => {
                new.texts = all("request.choices.texts", &choices.texts)?;
                new.list = expression("request.choices.list", &choices.list)?;
                new.contexts = expression("request.choices.contexts", &choices.contexts)?;
                new.unconditioned = maybe("request.choices.unconditioned", &choices.unconditioned)?;
                new.gold = expression("request.choices.gold", &Some(choices.gold.clone()))?;
                if new.texts.is_empty() == new.list.is_none() {
                    return Err(wrong("request.choices", "give the choices as `texts` or as `list`".into()));
                }
            }
            Request::Pair(pair) => {
                new.texts = vec![template("request.pair.good", &pair.good)?, template("request.pair.bad", &pair.bad)?];
            }
            Request::Text(text) => new.texts = vec![template("request.text.text", &text.text)?],
            Request::Generate(generate) => {
                new.stop = all("request.generate.stop", &generate.stop)?;
                new.then = expression("request.generate.then", &generate.then)?;
                new.gold = expression("request.generate.gold", &generate.gold)?;
            }
        }
        Ok(new)
    }

    /// Makes questions of rows, with as many examples in front as `shots` says.
    pub(super) fn questions(
        &self,
        rows: &[Record],
        examples: &[Record],
        shots: usize,
        limit: usize,
        seed: u64,
    ) -> Result<Vec<Question>, OpError> {
        let pool = Pool::new(self, examples, shots, seed)?;
        let mut questions = Vec::new();
        for row in self.columns.rows(rows) {
            if questions.len() >= limit {
                break;
            }
            let row = row?;
            if row.wanted {
                questions.push(self.question(&row, &pool, shots)?);
            }
        }
        if questions.is_empty() {
            return Err(OpError::new(format!("the task `{}` has no row to ask", self.task)));
        }
        Ok(questions)
    }

    fn question(&self, row: &Row, pool: &Pool, shots: usize) -> Result<Question, OpError> {
        let text = |field: &str, template: &TextTemplate| row.text(self.task, field, template);
        let maybe = |field: &str, template: &Option<TextTemplate>| {
            template.as_ref().map(|template| text(field, template)).transpose()
        };
        let asked = self.asked(row)?;
        let gold = match (&self.gold, &asked) {
            (Some(gold), _) => self.gold(row, gold, &asked)?,
            (None, Asked::Pair(_)) => 0.into(),
            (None, _) => Value::Null,
        };
        let named = |column: &Option<String>| column.as_ref().map(|column| row.named(self.task, column)).transpose();
        let judged = Judge::columns(&self.definition.metrics).into_iter();
        let kept = judged.filter_map(|name| Some((name.to_owned(), row.values.get(name)?.clone())));
        let prompt = text("prompt", &self.prompt)?;
        Ok(Question {
            row: row.place,
            group: named(&self.definition.group)?,
            cluster: named(&self.definition.cluster)?,
            instruction: maybe("instruction", &self.instruction)?,
            shots: pool.choose(row, &prompt, shots, self.definition.fewshot.order),
            prompt,
            answer_start: maybe("answer_start", &self.answer_start)?,
            asked,
            gold,
            columns: kept.collect(),
        })
    }

    fn asked(&self, row: &Row) -> Result<Asked, OpError> {
        let list = |field: &str, list: &Expression| row.texts(self.task, field, list);
        Ok(match &self.definition.request {
            Request::Choices(choices) => {
                let texts = self.fill(row, "request.choices.texts", &self.texts)?;
                let texts = match &self.list {
                    Some(expression) => list("request.choices.list", expression)?,
                    None => texts,
                };
                let contexts =
                    self.contexts.as_ref().map(|contexts| list("request.choices.contexts", contexts)).transpose()?;
                if texts.is_empty() {
                    return Err(row.wrong(self.task, "request.choices", "there is no choice"));
                }
                if contexts.as_ref().is_some_and(|contexts| contexts.len() != texts.len()) {
                    let why = "there must be a context for each choice";
                    return Err(row.wrong(self.task, "request.choices.contexts", why));
                }
                let texts = texts.into_iter().map(|text| format!("{}{text}", choices.delimiter)).collect();
                let field = "request.choices.unconditioned";
                let unconditioned = self.unconditioned.as_ref().map(|alone| row.text(self.task, field, alone));
                Asked::Choices { texts, contexts, unconditioned: unconditioned.transpose()? }
            }
            Request::Pair(_) => {
                let mut texts = self.fill(row, "request.pair", &self.texts)?.into_iter();
                let pair = [texts.next().unwrap_or_default(), texts.next().unwrap_or_default()];
                if pair.iter().any(String::is_empty) {
                    return Err(row.wrong(self.task, "request.pair", "one of the two texts is empty"));
                }
                Asked::Pair(pair)
            }
            Request::Text(_) => Asked::Text(self.fill(row, "request.text", &self.texts)?.concat()),
            Request::Generate(_) => {
                let stop = self.fill(row, "request.generate.stop", &self.stop)?;
                let then = self.then.as_ref().map(|then| list("request.generate.then", then)).transpose()?;
                Asked::Answer { stop, then: then.unwrap_or_default() }
            }
        })
    }

    fn fill(&self, row: &Row, field: &str, templates: &[TextTemplate]) -> Result<Vec<String>, OpError> {
        templates.iter().map(|template| row.text(self.task, field, template)).collect()
    }

    fn gold(&self, row: &Row, gold: &Expression, asked: &Asked) -> Result<Value, OpError> {
        let value = row.value(self.task, "gold", gold)?;
        let Asked::Choices { texts, .. } = asked else { return Ok(value) };
        let wrong = |why: String| row.wrong(self.task, "request.choices.gold", &why);
        // A number that went through a table or a text is a place all the same.
        let place = |value: &Value| {
            let number = match value {
                Value::String(text) => text.trim().parse::<f64>().ok(),
                other => other.as_f64(),
            };
            let number = number.filter(|number| number.fract() == 0.0 && *number >= 0.0);
            let place = number.map(|number| number as usize).filter(|place| *place < texts.len());
            place.ok_or_else(|| wrong(format!("{value} is not the place of one of {} choices", texts.len())))
        };
        Ok(match &value {
            Value::Array(places) if places.is_empty() => return Err(wrong("no choice is right".into())),
            Value::Array(places) => places.iter().map(place).collect::<Result<Vec<_>, _>>()?.into(),
            one => place(one)?.into(),
        })
    }

    /// Returns an example as what is asked and its answer.
    fn shot(&self, row: &Row) -> Result<(String, String), OpError> {
        let prompt = row.text(self.task, "prompt", &self.prompt)?;
        if let Some(answer) = &self.shot_answer {
            return Ok((prompt, row.text(self.task, "fewshot.answer", answer)?));
        }
        let asked = self.asked(row)?;
        let gold = self.gold.as_ref().map(|gold| self.gold(row, gold, &asked)).transpose()?.unwrap_or_default();
        let first = match gold {
            Value::Array(golds) => golds.into_iter().next().unwrap_or_default(),
            one => one,
        };
        let answer = match (&asked, first) {
            (Asked::Choices { texts, .. }, place) => {
                let text = place.as_u64().and_then(|place| texts.get(usize::try_from(place).ok()?));
                text.cloned().unwrap_or_default()
            }
            (_, Value::String(text)) => format!(" {text}"),
            (_, Value::Number(number)) => format!(" {number}"),
            _ => {
                let why = "the answer of an example is no text; say what it is";
                return Err(row.wrong(self.task, "fewshot.answer", why));
            }
        };
        Ok((prompt, answer))
    }
}
