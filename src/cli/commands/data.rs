//! `luthflow data`: the rows of a node, to be looked at. They are read where they lie, in a stream.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use console::style;
use serde_json::{Map, Value, json};

use super::export::{folder_of, origin, output_of};
use super::receipt::{self, Receipt};
use crate::cli::args::{Cli, PipelineArgs};
use crate::cli::data_args::{DataArgs, DataCommand, RowsArgs, StatsArgs};
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::project::{Project, read_cache};
use crate::cli::report::CliError;
use crate::data::{self, Record, Row};
use crate::digest::Digest;

/// Lengths of which a share of the rows is shorter.
const SHARES: [(&str, f64); 4] = [("p5", 0.05), ("median", 0.5), ("p95", 0.95), ("longest", 1.0)];

pub(in crate::cli) fn run(args: &DataArgs, cli: &Cli) -> Result<Exit, CliError> {
    match &args.command {
        DataCommand::Head(args) => head(args, cli),
        DataCommand::Sample(args) => sample(args, cli),
        DataCommand::Stats(args) => stats(args, cli),
        DataCommand::Diff(args) => diff(args, cli),
    }
}

/// Returns the folder of the data set that a name stands for.
fn folder(args: &PipelineArgs, cli: &Cli) -> Result<PathBuf, CliError> {
    let mut pipeline = args.clone();
    let output = pipeline.names.last_mut().filter(|name| !is_file(name)).and_then(output_of);
    let project = Project::load(&pipeline, cli)?;
    let cache = read_cache(cli)?;
    let decider = project.decider(&cache);
    let (id, action) = origin(&project, &decider, project.target()?, "no row to show")?;
    cache.check(&action.artifact)?;
    let subfolder = folder_of(project.plan.instance(id), output.as_deref())?;
    let folder = cache.artifact_path(&action.artifact).join(subfolder);
    let split = output.is_none() && folder.join("train").is_dir();
    if split {
        let name = &project.plan.instance(id).name;
        let help = format!("name one of its outputs: `{name}.train`, `{name}.eval`");
        return Err(CliError::user(format!("`{name}` is split")).help(help));
    }
    Ok(folder)
}

/// Returns whether a name on the command line is that of a pipeline file.
pub(super) fn is_file(name: &str) -> bool {
    let end = std::path::Path::new(name).extension();
    end.is_some_and(|end| end.eq_ignore_ascii_case("yaml") || end.eq_ignore_ascii_case("yml"))
}

fn records(args: &PipelineArgs, cli: &Cli) -> Result<data::Records, CliError> {
    open(&folder(args, cli)?)
}

fn open(folder: &Path) -> Result<data::Records, CliError> {
    Ok(data::open_records(folder).map_err(unreadable)?.unpacking_in(&std::env::temp_dir()))
}

#[expect(clippy::needless_pass_by_value, reason = "an error is handed on")]
fn unreadable(error: data::DataError) -> CliError {
    CliError::user(error.to_string())
}

fn head(args: &RowsArgs, cli: &Cli) -> Result<Exit, CliError> {
    for (i, record) in records(&args.pipeline, cli)?.take(args.rows).enumerate() {
        show(&(i + 1).to_string(), record.map_err(unreadable)?, args.json)?;
    }
    Ok(Exit::Success)
}

/// The rows whose digests are the smallest, in the order of the data.
fn sample(args: &RowsArgs, cli: &Cli) -> Result<Exit, CliError> {
    let mut drawn: BTreeMap<(String, usize), Record> = BTreeMap::new();
    for (i, record) in records(&args.pipeline, cli)?.enumerate() {
        let record = record.map_err(unreadable)?;
        drawn.insert((digest(&record, args.seed), i), record);
        if drawn.len() > args.rows {
            drawn.pop_last();
        }
    }
    let mut rows: Vec<(usize, Record)> = drawn.into_iter().map(|((_, i), record)| (i, record)).collect();
    rows.sort_by_key(|(i, _)| *i);
    rows.into_iter().try_for_each(|(i, record)| show(&(i + 1).to_string(), record, args.json))?;
    Ok(Exit::Success)
}

fn digest(record: &Record, seed: u64) -> String {
    Digest::of(format!("{seed} {}", Value::Object(record.0.clone())).as_bytes()).hex()
}

fn show(mark: &str, record: Record, json: bool) -> Result<(), CliError> {
    if json {
        return output::data(&Value::Object(record.0).to_string());
    }
    let mut rest = record.clone();
    output::data(&style(format!("── {mark}")).dim().to_string())?;
    match rest.take_row() {
        Ok(row) => {
            said(&row)?;
            columns(&rest.0)
        }
        Err(_) => columns(&record.0),
    }
}

fn said(row: &Row) -> Result<(), CliError> {
    let turn = |who: &str, text: &str| output::data(&format!("{}  {}", style(who).bold(), clean(text)));
    match row {
        Row::Text(text) => output::data(&clean(text))?,
        Row::Chat(chat) => chat.messages.iter().try_for_each(|message| turn(&message.role, &message.content.text()))?,
        Row::Preference(both) => {
            let last = |chat: &data::Chat| {
                chat.messages.last().map_or_else(String::new, |last| last.content.text().into_owned())
            };
            both.chosen
                .messages
                .iter()
                .rev()
                .skip(1)
                .rev()
                .try_for_each(|message| turn(&message.role, &message.content.text()))?;
            turn("chosen", &last(&both.chosen))?;
            turn("rejected", &last(&both.rejected))?;
        }
        Row::Pair { good, bad } => {
            turn("good", good)?;
            turn("bad", bad)?;
        }
    }
    Ok(())
}

/// Rows are foreign text: what would move the cursor or change colours is shown as what it is.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{FFFD}' } else { c }).collect()
}

fn columns(columns: &Map<String, Value>) -> Result<(), CliError> {
    for (name, value) in columns {
        let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        output::data(&format!("{}  {}", style(clean(name)).cyan(), clean(&shown)))?;
    }
    Ok(())
}

/// What a data set is made of.
#[derive(Default)]
struct Counted {
    rows: u64,
    kinds: BTreeMap<&'static str, u64>,
    columns: BTreeMap<String, u64>,
    messages: BTreeMap<String, u64>,
    lengths: Vec<u64>,
}

impl Counted {
    fn add(&mut self, mut record: Record) {
        self.rows += 1;
        for name in record.0.keys() {
            *self.columns.entry(name.clone()).or_default() += 1;
        }
        let row = record.take_row();
        let kind = match &row {
            Ok(Row::Text(_)) => "text",
            Ok(Row::Chat(_)) => "chat",
            Ok(Row::Preference(_)) => "preference",
            Ok(Row::Pair { .. }) => "pair",
            Err(_) => "columns",
        };
        *self.kinds.entry(kind).or_default() += 1;
        if let Ok(Row::Chat(chat)) = &row {
            for message in &chat.messages {
                *self.messages.entry(message.role.clone()).or_default() += 1;
            }
        }
        self.lengths.extend(row.ok().map(|row| row.chars()));
    }

    fn shown(mut self) -> Value {
        self.lengths.sort_unstable();
        let at = |share: f64| self.lengths.get(((self.lengths.len() as f64 - 1.0) * share).round() as usize);
        let lengths: Map<String, Value> =
            SHARES.iter().filter_map(|(name, share)| Some(((*name).to_owned(), json!(at(*share)?)))).collect();
        json!({
            "rows": self.rows,
            "kinds": self.kinds,
            "columns": self.columns,
            "messages": self.messages,
            "chars": self.lengths.iter().sum::<u64>(),
            "chars_in_a_row": lengths,
        })
    }
}

fn stats(args: &StatsArgs, cli: &Cli) -> Result<Exit, CliError> {
    let mut counted = Counted::default();
    let folder = folder(&args.pipeline, cli)?;
    for record in open(&folder)? {
        counted.add(record.map_err(unreadable)?);
    }
    let mut all = counted.shown();
    let Receipt { sources, steps } = Receipt::of(&folder);
    if args.json {
        for (name, parts) in [("sources", &sources), ("steps", &steps)] {
            if !parts.is_empty() {
                all[name] = json!(parts);
            }
        }
        output::json(&all)?;
        return Ok(Exit::Success);
    }
    for (name, value) in all.as_object().into_iter().flatten() {
        let shown = match value {
            Value::Object(parts) => {
                parts.iter().map(|(part, count)| format!("{} {count}", clean(part))).collect::<Vec<_>>().join(", ")
            }
            other => other.to_string(),
        };
        if !shown.is_empty() {
            output::data(&format!("{:>16}  {shown}", name.replace('_', " ")))?;
        }
    }
    for source in &sources {
        output::data(&format!("{:>16}  {}", "source", clean(&receipt::line(source))))?;
    }
    for (number, step) in (1..).zip(&steps) {
        output::data(&format!("{:>16}  {}", format!("step {number}"), clean(&receipt::line(step))))?;
    }
    Ok(Exit::Success)
}

fn diff(args: &RowsArgs, cli: &Cli) -> Result<Exit, CliError> {
    let mut before = args.pipeline.clone();
    let after = before.names.pop();
    let (Some(after), true) = (after, before.names.last().is_some_and(|name| !is_file(name))) else {
        let help = "for example `luthflow data diff raw clean.train`";
        return Err(CliError::user("name two nodes").help(help));
    };
    let mut second = before.clone();
    second.names.pop();
    second.names.push(after);
    // How often each row is in the first and not yet in the second.
    let mut count: HashMap<String, i64> = HashMap::new();
    for record in records(&before, cli)? {
        *count.entry(digest(&record.map_err(unreadable)?, 0)).or_default() += 1;
    }
    let (mut same, mut added, mut shown) = (0u64, 0u64, Vec::new());
    for record in records(&second, cli)? {
        let record = record.map_err(unreadable)?;
        let left = count.entry(digest(&record, 0)).or_default();
        *left -= 1;
        if *left >= 0 {
            same += 1;
        } else {
            added += 1;
            shown.extend((shown.len() < args.rows).then_some(record));
        }
    }
    let mut gone = Vec::new();
    let mut removed = 0u64;
    for record in records(&before, cli)? {
        let record = record.map_err(unreadable)?;
        let left = count.entry(digest(&record, 0)).or_default();
        if *left > 0 {
            *left -= 1;
            removed += 1;
            gone.extend((gone.len() < args.rows).then_some(record));
        }
    }
    if args.json {
        let rows = |rows: Vec<Record>| rows.into_iter().map(|record| Value::Object(record.0)).collect::<Vec<_>>();
        output::json(
            &json!({"same": same, "removed": removed, "added": added, "only_before": rows(gone), "only_after": rows(shown)}),
        )?;
        return Ok(Exit::Success);
    }
    output::data(&format!("{same} rows are in both, {removed} only before, {added} only after"))?;
    gone.into_iter().try_for_each(|record| show("- only before", record, false))?;
    shown.into_iter().try_for_each(|record| show("+ only after", record, false))?;
    Ok(Exit::Success)
}
