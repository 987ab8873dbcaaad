//! `decontaminate`: no row gives away what a model is to be examined on.
//!
//! Every text of a row (each message, and the prompt with its answer) is searched for n-grams of the items of evaluation
//! sets. By `coverage`, what counts is how much of an *item* a text holds: a row that quotes half a question is out, however
//! long it is, and one that shares a turn of phrase is not. n-grams that many rows have are no evidence; which ones these are
//! is known only when all rows have come, so rows wait.

mod cut;
mod index;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

use self::cut::Cut;
use self::index::{EvalItem, Hit, Index, Shared, word_hashes};
use crate::data::{Row, beginning};
use crate::ops::curate::flow::{Step, Verdict, Why};
use crate::ops::curate::item::Item;
use crate::ops::curate::reader::Reader;
use crate::ops::curate::spool::{Spool, SpoolReader};
use crate::ops::{OpCx, OpError};
use crate::spec::params::{ContaminationMethod, Decontaminate, EvalSet, FilterMode};

/// Fewer rows than these are no evidence that an n-gram is common.
const FEW_ROWS: u64 = 10;
/// How many hits the report names.
const REPORTED: usize = 50;
/// How many words around a hit it shows.
const SHOWN_WORDS: usize = 30;

pub(super) struct DropContaminated {
    settings: Decontaminate,
    index: Index,
    /// In how many rows each n-gram is, by length.
    rows_with: Vec<Vec<AtomicU32>>,
    rows: u64,
    spool: Option<Spool>,
    reading: Option<SpoolReader>,
    /// Items of each set, and those that were found.
    items: Vec<u64>,
    found: Vec<std::collections::BTreeSet<u64>>,
    dropped: Vec<u64>,
    skipped: Vec<u64>,
    /// Rows that stay in pieces.
    cut: u64,
    hits: Vec<Reported>,
    entries: Vec<String>,
}

/// A hit as the report shows it.
#[derive(Debug, Clone, Serialize)]
struct Reported {
    eval: String,
    item: u64,
    question: String,
    source: String,
    row: u64,
    coverage: f64,
    shared: String,
}

impl DropContaminated {
    pub(super) fn new(settings: &Decontaminate, at: usize, entries: &[String], cx: &OpCx<'_>) -> Result<Self, OpError> {
        let sets = settings.evals.len();
        let mut step = Self {
            settings: settings.clone(),
            index: Index::default(),
            rows_with: Vec::new(),
            rows: 0,
            spool: Some(Spool::new(cx.scratch, &format!("step{at}"))),
            reading: None,
            items: vec![0; sets],
            found: vec![std::collections::BTreeSet::new(); sets],
            dropped: vec![0; sets],
            skipped: vec![0; sets],
            cut: 0,
            hits: Vec::new(),
            entries: entries.to_vec(),
        };
        for (set, eval) in settings.evals.iter().enumerate() {
            let input = cx.inputs.one(&format!("steps[{at}].decontaminate.evals[{set}].node"))?;
            for block in Reader::of_folder(&input.path, cx)? {
                for item in block? {
                    step.items[set] += 1;
                    step.add(set, eval, &item)?;
                }
            }
        }
        let count = |size: usize| (0..size).map(|_| AtomicU32::new(0)).collect();
        step.rows_with = step.index.sizes().into_iter().map(count).collect();
        Ok(step)
    }

    fn add(&mut self, set: usize, eval: &EvalSet, entry: &Item) -> Result<(), OpError> {
        let number = self.items[set];
        let n = self.settings.words();
        let texts =
            texts_of(eval, entry).map_err(|why| OpError::new(format!("item {number} of `{}`: {why}", eval.name)))?;
        let simple: Vec<Vec<u64>> = texts.iter().map(|text| self.hashes(&self.simple(text))).collect();
        let item = |words: usize, text: &str| EvalItem {
            set: set as u32,
            number,
            words: words as u32,
            beginning: beginning(text),
        };
        if self.settings.method == ContaminationMethod::Datatrove {
            let answer = eval.answer.as_ref().and_then(|column| entry.columns().get(column));
            let answer = word_hashes(&simplified(answer.and_then(Value::as_str).unwrap_or_default()));
            let question: Vec<u64> = simple.concat();
            // n-grams of the answer, and those that reach from the question into it.
            let seam = [&question[question.len().saturating_sub(n - 1)..], &answer[..answer.len().min(n - 1)]].concat();
            self.index.items.push(item(question.len() + answer.len(), texts.first().map_or("", String::as_str)));
            self.index.extend(&answer, n);
            self.index.extend(&seam, n);
            return Ok(());
        }
        for (text, words) in texts.iter().zip(simple) {
            let whole = if self.settings.method == ContaminationMethod::Gpt3 { n } else { 0 };
            if words.len() < self.settings.min_eval_words.max(whole) {
                self.skipped[set] += 1;
                continue;
            }
            self.index.add(item(words.len(), text), &words, n);
        }
        Ok(())
    }

    /// Brings a text to the form in which its words are compared.
    fn simple(&self, text: &str) -> String {
        if self.settings.method == ContaminationMethod::Gpt3 { cut::words(text).0 } else { simplified(text) }
    }

    fn hashes(&self, simple: &str) -> Vec<u64> {
        if self.settings.method == ContaminationMethod::Gpt3 { cut::hashes(simple) } else { word_hashes(simple) }
    }

    /// Says whether n-grams that many rows have are no evidence.
    fn counts(&self) -> bool {
        matches!(self.settings.method, ContaminationMethod::Coverage | ContaminationMethod::Gpt3)
    }

    /// Says whether so many rows have an n-gram that it is no evidence.
    fn is_common(&self, (length, gram): (u32, u32)) -> bool {
        let few = match self.settings.method {
            ContaminationMethod::Gpt3 => FEW_ROWS,
            _ => FEW_ROWS.max((self.settings.common_share * self.rows as f64) as u64),
        };
        self.counts() && u64::from(self.rows_with[length as usize][gram as usize].load(Ordering::Relaxed)) > few
    }

    /// Returns what stays of a contaminated row, GPT-3's way; nothing where the row goes.
    fn cut(&self, item: &Item) -> Vec<Item> {
        let Row::Text(text) = item.row() else { return Vec::new() };
        if self.settings.method != ContaminationMethod::Gpt3 || self.settings.mode != FilterMode::Drop {
            return Vec::new();
        }
        let (plain, places) = cut::words(text);
        let shared = self.index.search(&cut::hashes(&plain));
        let n = self.settings.words();
        let found = shared.iter().filter(|shared| !self.is_common(shared.gram)).map(|shared| shared.at as usize);
        let found: Vec<_> = found.map(|at| places[at].start..places[at + n - 1].end).collect();
        let piece = |piece: &str| {
            let mut item = item.clone();
            *item.row_mut() = Row::Text(piece.to_owned());
            item
        };
        Cut::of(&self.settings).pieces(text, &found).into_iter().map(piece).collect()
    }

    /// Returns what the texts of a row share with items; each text by itself.
    fn search(&self, row: &Row) -> Vec<(Vec<Shared>, String)> {
        let found = texts_of_row(row).into_iter().map(|text| {
            let simple = self.simple(&text);
            (self.index.search(&self.hashes(&simple)), simple)
        });
        found.filter(|(shared, _)| !shared.is_empty()).collect()
    }

    fn count(&self, row: &Row) {
        let mut grams: Vec<(u32, u32)> =
            self.search(row).iter().flat_map(|(shared, _)| shared.iter().map(|shared| shared.gram)).collect();
        grams.sort_unstable();
        grams.dedup();
        for (length, gram) in grams {
            self.rows_with[length as usize][gram as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the hit that decides about a row, with the words that were shared.
    fn worst(&self, row: &Row) -> Option<(Hit, String)> {
        let common = |gram: (u32, u32)| self.is_common(gram);
        let least =
            if self.settings.method == ContaminationMethod::Coverage { self.settings.min_coverage } else { 0.0 };
        let of_text = |(shared, simple): (Vec<Shared>, String)| {
            let hit = *self.index.coverage(&shared, common).first()?;
            let (from, to) = (hit.span.0 as usize, hit.span.1 as usize);
            let words: Vec<&str> = simple.split_whitespace().skip(from).take((to - from).min(SHOWN_WORDS)).collect();
            (hit.coverage >= least).then(|| (hit, words.join(" ")))
        };
        let hits = self.search(row).into_iter().filter_map(of_text);
        hits.max_by(|(a, _), (b, _)| a.coverage.total_cmp(&b.coverage).then(b.item.cmp(&a.item)))
    }

    fn report(&mut self, item: &Item, hit: Hit, shared: String) -> Why {
        let found = &self.index.items[hit.item as usize];
        let set = found.set as usize;
        let name = self.settings.evals[set].name.clone();
        self.found[set].insert(found.number);
        self.dropped[set] += 1;
        let reason = format!("{:.0} % of item {} of {name}: `{shared}`", hit.coverage * 100.0, found.number);
        self.hits.push(Reported {
            eval: name.clone(),
            item: found.number,
            question: found.beginning.clone(),
            source: self.entries.get(item.from as usize).cloned().unwrap_or_default(),
            row: item.number,
            coverage: (hit.coverage * 1e4).round() / 1e4,
            shared,
        });
        if self.hits.len() > 2 * REPORTED {
            self.shorten();
        }
        Why::of_rule(name, reason)
    }

    /// Keeps the worst hits.
    fn shorten(&mut self) {
        self.hits.sort_by(|a, b| b.coverage.total_cmp(&a.coverage));
        self.hits.truncate(REPORTED);
    }

    fn check_sets(&self) -> Result<(), OpError> {
        let Some(most) = self.settings.fail_if_over else { return Ok(()) };
        for (set, eval) in self.settings.evals.iter().enumerate() {
            let share = self.found[set].len() as f64 / self.items[set].max(1) as f64;
            if share > most {
                let message = format!(
                    "{} of {} items of `{}` are in the data, which is more than `fail_if_over` allows",
                    self.found[set].len(),
                    self.items[set],
                    eval.name
                );
                let help = "leave the data set that they come from out, or raise `fail_if_over` and look at the report";
                return Err(OpError::new(message).help(help));
            }
        }
        Ok(())
    }
}

impl Step for DropContaminated {
    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        self.rows += items.len() as u64;
        if self.counts() {
            items.par_iter().for_each(|item| self.count(item.row()));
        }
        self.spool.as_mut().map_or(Ok(()), |spool| spool.push(items))?;
        Ok(Vec::new())
    }

    fn held(&mut self) -> Result<Option<Vec<Verdict>>, OpError> {
        if let Some(spool) = self.spool.take() {
            self.reading = Some(spool.read()?);
        }
        let Some(reader) = &mut self.reading else { return Ok(None) };
        let items = reader.next_block()?;
        if items.is_empty() {
            self.shorten();
            self.check_sets()?;
            return Ok(None);
        }
        let judge = |item: &Item| self.worst(item.row()).map(|(hit, shared)| (hit, shared, self.cut(item)));
        let hits: Vec<Option<(Hit, String, Vec<Item>)>> = items.par_iter().map(judge).collect();
        let judged = items.into_iter().zip(hits).map(|(item, hit)| match hit {
            None => Verdict::Keep(item),
            Some((hit, shared, pieces)) => {
                let why = self.report(&item, hit, shared);
                self.cut += u64::from(!pieces.is_empty());
                if pieces.is_empty() { Verdict::Drop(item, why) } else { Verdict::Become(pieces) }
            }
        });
        Ok(Some(judged.collect()))
    }

    fn figures(&self) -> Option<Value> {
        let mut sets = BTreeMap::new();
        for (set, eval) in self.settings.evals.iter().enumerate() {
            let (items, found) = (self.items[set], self.found[set].len());
            let about = json!({"items": items, "items_found": found, "rows": self.dropped[set], "texts_too_short": self.skipped[set]});
            sets.insert(eval.name.clone(), about);
        }
        let mut figures = json!({"evals": sets, "worst": self.hits});
        if self.settings.method == ContaminationMethod::Gpt3 {
            figures["rows_cut"] = self.cut.into();
        }
        Some(figures)
    }
}

fn simplified(text: &str) -> String {
    let mut simple = String::new();
    crate::text::simplify_into(text, &mut simple);
    simple
}

/// Returns the texts of an item of an evaluation set.
fn texts_of(eval: &EvalSet, entry: &Item) -> Result<Vec<String>, String> {
    if !eval.fields.is_empty() {
        let mut texts = Vec::new();
        for field in &eval.fields {
            let Some(value) = entry.columns().get(field) else {
                let columns: Vec<&str> = entry.columns().keys().map(String::as_str).collect();
                return Err(format!("there is no column `{field}`; it has `{}`", columns.join("`, `")));
            };
            strings(value, &mut texts);
        }
        return Ok(texts);
    }
    if let Some(row) = entry.to_row() {
        return Ok(match row.into_owned() {
            Row::Pair { good, bad } => vec![good, bad],
            row => texts_of_row(&row),
        });
    }
    Ok(entry.columns().values().filter_map(|value| value.as_str().map(str::to_owned)).collect())
}

fn strings(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(all) => all.iter().for_each(|value| strings(value, texts)),
        Value::Object(all) => all.values().for_each(|value| strings(value, texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Returns the texts of a row that are searched: each message, and all of them one after the other.
fn texts_of_row(row: &Row) -> Vec<String> {
    match row {
        Row::Chat(chat) => {
            let mut texts: Vec<String> =
                chat.messages.iter().map(|message| message.content.text().into_owned()).collect();
            if texts.len() > 1 {
                texts.push(texts.join("\n"));
            }
            texts
        }
        row => vec![row.text().into_owned()],
    }
}
