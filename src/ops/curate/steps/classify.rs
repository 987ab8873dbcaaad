//! `classify`: rows by the labels of a model of fastText.
//!
//! The verdicts are those of datatrove's `FastTextClassifierFilter` on whole documents: white space around the text goes, a score that
//! equals its threshold is enough, a label that the model does not name is never enough, and a row without text goes whatever the model
//! says of it. Its ways of cutting documents into sentences or paragraphs are left out: they change what rows say.

use std::borrow::Cow;

use crate::data::Row;
use crate::ops::curate::flow::{Step, Verdict, Why, each};
use crate::ops::curate::item::Item;
use crate::ops::{OpCx, OpError};
use crate::spec::params::{Classify, LineEnd};
use crate::spec::suggest;
use crate::text::fasttext::Model;
use crate::text::python;

use super::language::model_in;
use super::spoken::texts;

/// The longest label that an error shows: they come from a file that may hold anything.
const LONGEST: usize = 60;

pub(super) struct Labelled {
    settings: Classify,
    model: Model,
}

impl Labelled {
    pub(super) fn new(settings: &Classify, at: usize, cx: &OpCx<'_>) -> Result<Self, OpError> {
        let folder = &cx.inputs.one(&format!("steps[{at}].classify.model"))?.path;
        let path = model_in(folder)?;
        let model = Model::open(&path).map_err(OpError::new)?;
        for wanted in settings.labels().keys() {
            if !model.labels().any(|label| bare(label) == wanted) {
                let message = format!("{} has no label `{wanted}`", path.display());
                let shown = |label: &&str| label.len() <= LONGEST && !label.contains(char::is_control);
                let help = suggest::help(wanted, model.labels().map(bare).filter(shown));
                let error = OpError::new(message);
                return Err(if let Some(help) = help { error.help(help) } else { error });
            }
        }
        Ok(Self { settings: settings.clone(), model })
    }

    /// What is judged, as one line.
    fn line<'r>(&self, row: &'r Row) -> Cow<'r, str> {
        let text = if self.settings.roles.is_empty() {
            row.text()
        } else {
            texts(row, &self.settings.roles).join("\n").into()
        };
        let line = python::strip(&text);
        match self.settings.line_end {
            LineEnd::Nothing => line.replace('\n', "").into(),
            // To the model a line feed is a space.
            LineEnd::Space if line.len() == text.len() => text,
            LineEnd::Space => line.to_owned().into(),
        }
    }

    /// The scores of the labels that decide, in their order; nothing for one that the model does not name.
    fn scores(&self, line: &str) -> Vec<Option<f64>> {
        let said = self.model.predict(line, self.model.labels().count());
        let score = |wanted: &String| {
            let (_, score) = said.iter().find(|(label, _)| bare(label) == wanted)?;
            Some(f64::from(*score))
        };
        self.settings.labels().keys().map(score).collect()
    }

    /// Says what is against a row with these scores.
    fn against(&self, scores: &[Option<f64>]) -> Option<Why> {
        let judged = || self.settings.labels().iter().zip(scores.iter().copied());
        let reached = judged().find(|((_, least), score)| score.is_some_and(|score| score >= **least));
        match (reached, self.settings.keep.is_empty()) {
            (Some(((label, _), score)), true) => {
                Some(Why::of_rule(format!("is_{label}"), format!("`{label}` has {:.4}", score.unwrap_or_default())))
            }
            (None, false) => {
                let labels: Vec<&str> = self.settings.keep.keys().map(String::as_str).collect();
                let told = |((label, least), score): ((&String, &f64), Option<f64>)| match score {
                    Some(score) => format!("`{label}` has {score:.4}, less than {least}"),
                    None => format!("the model does not name `{label}`"),
                };
                let told: Vec<String> = judged().map(told).collect();
                Some(Why::of_rule(format!("not_{}", labels.join("_or_")), told.join("; ")))
            }
            _ => None,
        }
    }
}

/// A label as the settings have it.
fn bare(label: &str) -> &str {
    label.strip_prefix("__label__").unwrap_or(label)
}

impl Step for Labelled {
    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        Ok(each(items, |mut item| {
            let line = self.line(item.row());
            let (scores, empty) = (self.scores(&line), line.is_empty());
            drop(line);
            if let Some(column) = &self.settings.column {
                let score = scores.first().copied().flatten().unwrap_or_default();
                // What is certain comes out a little above 1.
                let shown = (score.min(1.0) * 1e6).round() / 1e6;
                item.columns_mut().insert(column.clone(), shown.into());
            }
            let why =
                if empty { Some(Why::of_rule("empty", "there is no text to judge")) } else { self.against(&scores) };
            match why {
                Some(why) => Verdict::Drop(item, why),
                None => Verdict::Keep(item),
            }
        }))
    }
}
