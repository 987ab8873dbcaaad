//! A page to read the rows of an eval: filters, a search, and each row opens to all that is known of it.
//!
//! It needs nothing but itself, and its policy forbids it any request. What a model wrote is hostile: rows are data (JSON in
//! which no `<`, `>` or `&` is left), and the script only ever makes text of them. The browser draws a few rows at a time, so
//! that 20,000 are no burden.

use std::fmt::Write;

use serde::Serialize;

use super::samples::Sampled;
use super::scores::{Score, Scores};
use super::verdict::{Verdict, deciding, right_choices, verdict};

const PAGE: &str = include_str!("page.html");
/// The colours and tables of all pages, and what only this one has.
const STYLE: &str = concat!(include_str!("../../ops/page.css"), include_str!("page.css"));
const SCRIPT: &str = include_str!("page.js");
/// More scores than this are folded away, so that rows are in sight.
const OPEN: usize = 6;

/// The rows of one task: those of each run.
#[derive(Debug)]
pub struct TaskRows {
    /// The task.
    pub name: String,
    /// What became of each row, by run.
    pub runs: Vec<Vec<Sampled>>,
}

#[derive(Serialize)]
struct Data<'a> {
    tasks: Vec<TaskData<'a>>,
}

#[derive(Serialize)]
struct TaskData<'a> {
    name: &'a str,
    /// The score that says what is right.
    metric: Option<&'a str>,
    runs: usize,
    rows: Vec<RowData<'a>>,
}

#[derive(Serialize)]
struct RowData<'a> {
    run: usize,
    verdict: Option<Verdict>,
    right: Vec<usize>,
    #[serde(flatten)]
    row: &'a Sampled,
}

/// Returns the page. `keep` chooses rows by what became of them.
pub fn render(
    title: &str,
    about: &str,
    scores: &Scores,
    tasks: &[TaskRows],
    keep: &dyn Fn(Option<Verdict>) -> bool,
) -> Result<String, serde_json::Error> {
    let data = Data { tasks: tasks.iter().map(|task| of_task(task, scores, keep)).collect() };
    let data = serde_json::to_string(&data)?;
    let parts = [
        ("{{title}}", escaped(title)),
        ("{{about}}", escaped(about)),
        ("{{open}}", if scores.tasks.len() <= OPEN { " open" } else { "" }.to_owned()),
        ("{{scores}}", table(scores)),
        ("{{style}}", STYLE.to_owned()),
        ("{{script}}", SCRIPT.to_owned()),
        ("{{data}}", inert(&data)),
    ];
    Ok(fill(PAGE, &parts))
}

fn of_task<'a>(task: &'a TaskRows, scores: &'a Scores, keep: &dyn Fn(Option<Verdict>) -> bool) -> TaskData<'a> {
    let deciding = task.runs.iter().find_map(|rows| deciding(scores, &task.name, rows));
    let mut rows = Vec::new();
    for (run, sampled) in task.runs.iter().enumerate() {
        for row in sampled {
            let verdict = deciding.and_then(|score| verdict(row, score));
            if keep(verdict) {
                rows.push(RowData { run: run + 1, verdict, right: right_choices(row), row });
            }
        }
    }
    TaskData { name: &task.name, metric: deciding.map(|score| score.metric.as_str()), runs: task.runs.len(), rows }
}

/// Fills each place once, from the front to the back: what is filled in is never looked at again.
fn fill(page: &str, parts: &[(&str, String)]) -> String {
    let mut out = String::with_capacity(page.len() + parts.iter().map(|(_, text)| text.len()).sum::<usize>());
    let mut rest = page;
    while let Some((at, (place, text))) =
        parts.iter().filter_map(|part| Some((rest.find(part.0)?, part))).min_by_key(|(at, _)| *at)
    {
        out.push_str(&rest[..at]);
        out.push_str(text);
        rest = &rest[at + place.len()..];
    }
    out + rest
}

fn table(scores: &Scores) -> String {
    let mut out = String::new();
    for (i, score) in scores.tasks.iter().enumerate() {
        let first = i == 0 || scores.tasks[i - 1].name != score.name;
        let name = if first { escaped(&score.name) } else { String::new() };
        let class = if first { " class=\"first\"" } else { "" };
        let Score { metric, value, n, .. } = score;
        let stderr = score.stderr.map_or_else(String::new, |stderr| format!(" ± {stderr:.4}"));
        let arrow = if score.higher_is_better { "↑" } else { "↓" };
        let _ = write!(
            out,
            "<tr{class}><th>{name}</th><td class=\"metric\">{} {arrow}</td><td>{value:.4}<span class=\"stderr\">{stderr}</span></td><td>{n}</td></tr>",
            escaped(metric)
        );
    }
    out
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Returns JSON in which nothing can end the element that it stands in. These characters are only ever found inside of texts,
/// where JSON has another way to write them.
fn inert(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::samples::Written;
    use super::*;

    fn rows_of(page: &str) -> Option<Value> {
        let (_, rest) = page.split_once("<script type=\"application/json\" id=\"data\">")?;
        serde_json::from_str(rest.split_once("</script>")?.0).ok()
    }

    #[test]
    fn what_a_model_wrote_ends_no_element_and_fills_no_place() {
        let hostile = "</script><script>alert(1)</script> <!-- {{scores}} \u{2028} & \u{0}";
        let mut row = Sampled { prompt: hostile.into(), gold: json!(hostile), ..Sampled::default() };
        row.answers = vec![Written { text: hostile.into(), ..Written::default() }];
        row.values = json!({"em": 0.0}).as_object().unwrap().clone();
        let score = Score { name: "t<b>".into(), metric: "em".into(), higher_is_better: true, ..Score::default() };
        let tasks = [TaskRows { name: "t<b>".into(), runs: vec![vec![row]] }];
        let page = render(hostile, hostile, &Scores::new(vec![score]), &tasks, &|_| true).unwrap();
        assert_eq!(page.matches("<script").count(), 2);
        assert_eq!(page.matches("</script>").count(), 2);
        assert!(!page.contains("alert(1)</script>") && !page.contains("<!-- {{"), "{page}");
        let data = rows_of(&page).unwrap();
        assert_eq!(data["tasks"][0]["rows"][0]["answers"][0]["text"], hostile);
        assert_eq!(data["tasks"][0]["rows"][0]["verdict"], "wrong");
    }

    #[test]
    fn a_page_asks_for_nothing() {
        let page = render("t", "a", &Scores::new(Vec::new()), &[], &|_| true).unwrap();
        assert!(page.contains("default-src 'none'"));
        for word in ["http:", "https:", "src=", "url(", "innerHTML", "@import", "fetch(", "eval("] {
            assert!(!page.contains(word), "{word}");
        }
        assert!(!page.contains("{{"));
    }
}
