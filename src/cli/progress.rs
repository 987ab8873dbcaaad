//! A run for people: bars on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use console::style;
use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use super::output;
use crate::exec::{Event, Observer};
use crate::plan::StaleReason;

/// How often a running node is heard of where there are no bars.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// How many fresh or skipped nodes are named before the rest is only counted at the end.
const NAMED: usize = 12;

/// Shows a run on standard error.
pub(super) struct Human {
    bars: Option<MultiProgress>,
    running: BTreeMap<String, Shown>,
    fresh: usize,
    skipped: usize,
}

struct Shown {
    bar: ProgressBar,
    phase: String,
    began: Instant,
    said: Instant,
}

impl Human {
    /// Returns an observer that draws bars if standard error is a terminal.
    pub(super) fn new() -> Self {
        let terminal = console::Term::stderr().features().is_attended();
        Self { bars: terminal.then(MultiProgress::new), running: BTreeMap::new(), fresh: 0, skipped: 0 }
    }

    fn line(&self, text: &str) {
        match &self.bars {
            Some(bars) => {
                let _ = bars.println(text);
            }
            None => output::say(text),
        }
    }

    fn tagged(&self, tag: &console::StyledObject<&str>, node: &str, rest: &str) {
        let rest = if rest.is_empty() { String::new() } else { format!("  {}", style(rest).for_stderr().dim()) };
        self.line(&format!("{:>9}  {node}{rest}", tag.clone().for_stderr()));
    }

    fn started(&mut self, node: &str, reasons: &[StaleReason]) {
        let why = reasons.iter().take(3).map(ToString::to_string).collect::<Vec<_>>().join("; ");
        self.tagged(&style("run").cyan().bold(), node, &why);
        // The style comes first: a bar is drawn the moment it is added.
        let bar = ProgressBar::hidden().with_style(spinner()).with_prefix(node.to_owned());
        let bar = self.bars.as_ref().map_or(bar.clone(), |bars| bars.add(bar));
        bar.enable_steady_tick(Duration::from_millis(200));
        let now = Instant::now();
        self.running.insert(node.to_owned(), Shown { bar, phase: String::new(), began: now, said: now });
    }

    fn progress(&mut self, node: &str, at: &Position<'_>) {
        let terminal = self.bars.is_some();
        let Some(shown) = self.running.get_mut(node) else { return };
        if shown.phase != at.phase {
            at.phase.clone_into(&mut shown.phase);
            shown.began = Instant::now();
            shown.bar.reset();
            match at.total {
                Some(total) => {
                    shown.bar.set_length(total);
                    shown.bar.set_style(bar(at.unit));
                }
                None => shown.bar.set_style(spinner()),
            }
        }
        shown.bar.set_position(at.done);
        shown.bar.set_message(if at.note.is_empty() {
            at.phase.to_owned()
        } else {
            format!("{}  {}", at.phase, at.note)
        });
        if !terminal && shown.said.elapsed() >= PLAIN_INTERVAL {
            shown.said = Instant::now();
            let text = at.plain(shown.began.elapsed());
            self.tagged(&style("..."), node, &text);
        }
    }

    fn ended(&mut self, node: &str) {
        if let Some(shown) = self.running.remove(node) {
            shown.bar.finish_and_clear();
        }
    }

    fn failed(&mut self, node: &str, error: &[String], help: Option<&str>, log: &std::path::Path) {
        self.ended(node);
        let (first, causes) = error.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
        self.line(&format!("{:>9}  {node}: {first}", style("failed").for_stderr().red().bold()));
        for cause in causes {
            self.line(&format!("{:>9}  {cause}", "because"));
        }
        if let Some(help) = help {
            self.line(&format!("{:>9}  {help}", style("help").for_stderr().cyan()));
        }
        if !log.as_os_str().is_empty() {
            self.line(&format!("{:>9}  {}", "log", log.display()));
        }
    }
}

/// How far a node is.
struct Position<'a> {
    phase: &'a str,
    done: u64,
    total: Option<u64>,
    unit: &'a str,
    note: &'a str,
}

impl Position<'_> {
    /// One line: `training 120/600 steps, 3.1 steps/s, 2 min 35 s left, loss 3.21`.
    fn plain(&self, elapsed: Duration) -> String {
        let rate = self.done as f64 / elapsed.as_secs_f64().max(1e-3);
        let mut text = format!("{} {}", self.phase, self.done);
        if let Some(total) = self.total {
            let _ = write!(text, "/{total}");
        }
        let _ = write!(text, " {}, {rate:.1} {}/s", self.unit, self.unit);
        if let Some(total) = self.total.filter(|_| self.done > 0) {
            let left = total.saturating_sub(self.done) as f64 / rate.max(1e-9);
            let _ = write!(text, ", {} left", output::duration(left));
        }
        if !self.note.is_empty() {
            let _ = write!(text, ", {}", self.note);
        }
        text
    }
}

fn bar(unit: &str) -> ProgressStyle {
    let template = format!("{{prefix}} {{bar:16.cyan}} {{pos}}/{{len}} {unit} {{rate}} {{eta}} left  {{wide_msg}}");
    let rate = |state: &ProgressState, out: &mut dyn Write| {
        let rate = state.per_sec();
        let _ = if rate < 99.5 { write!(out, "{rate:.1}/s") } else { write!(out, "{rate:.0}/s") };
    };
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.with_key("rate", rate).progress_chars("━━╌")
}

fn spinner() -> ProgressStyle {
    let template = "{prefix} {spinner:.cyan} {elapsed}  {wide_msg}";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

impl Observer for Human {
    fn event(&mut self, event: &Event) {
        match event {
            Event::RunStarted { .. } => {}
            Event::RunFinished { .. } => {
                for (_, shown) in std::mem::take(&mut self.running) {
                    shown.bar.finish_and_clear();
                }
            }
            Event::Waiting { holder } => {
                self.tagged(&style("wait").yellow(), "another luthflow uses the cache", holder);
            }
            Event::NodeFresh { node, .. } => {
                self.fresh += 1;
                match self.fresh {
                    ..=NAMED => self.tagged(&style("fresh").green(), node, ""),
                    count if count == NAMED + 1 => self.tagged(&style("fresh").green(), "and others", ""),
                    _ => {}
                }
            }
            Event::NodeElsewhere { node, holder } => {
                self.tagged(&style("wait").yellow(), node, &format!("{holder} runs it"));
            }
            Event::NodeFetched { node, seconds, .. } => {
                self.ended(node);
                self.tagged(&style("fetched").green(), node, &output::duration(*seconds));
            }
            Event::NodeChose { node, instance, value, of, .. } => {
                self.tagged(&style("chose").green().bold(), node, &format!("{instance} of {of}, at {value}"));
            }
            Event::NodeRetrying { node, error, attempt, attempts, wait_seconds, .. } => {
                self.ended(node);
                let why = error.first().map_or("", String::as_str);
                let wait = output::duration(*wait_seconds);
                let text = format!("{why}; new try {attempt} of {attempts} in {wait}");
                self.tagged(&style("again").yellow(), node, &text);
            }
            Event::NodeRehearsed { node, seconds, .. } => {
                self.ended(node);
                self.tagged(&style("redone").green(), node, &output::duration(*seconds));
            }
            Event::NodeStarted { node, reasons, .. } => self.started(node, reasons),
            Event::NodeProgress { node, phase, done, total, unit, note } => {
                self.progress(node, &Position { phase, done: *done, total: *total, unit, note });
            }
            Event::NodeWarned { node, text } => self.tagged(&style("warn").yellow(), node, text),
            Event::NodeFinished { node, seconds, .. } => {
                self.ended(node);
                self.tagged(&style("done").green().bold(), node, &output::duration(*seconds));
            }
            Event::NodeFailed { node, error, help, log, .. } => self.failed(node, error, help.as_deref(), log),
            Event::NodeSkipped { node, because } => {
                self.ended(node);
                self.skipped += 1;
                let stopped = because == "interrupted" || because == "stopped";
                let why = if stopped { because.clone() } else { format!("{because} failed") };
                match self.skipped {
                    ..=NAMED => self.tagged(&style("skip").yellow(), node, &why),
                    count if count == NAMED + 1 => self.tagged(&style("skip").yellow(), "and others", ""),
                    _ => {}
                }
            }
        }
    }
}
