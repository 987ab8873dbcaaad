//! Errors on their way to the user: what went wrong, where, the way out, and the exit code. The one place that judges.

use std::error::Error as StdError;
use std::fmt;
use std::path::{Path, PathBuf};

use miette::{Diagnostic as MietteDiagnostic, LabeledSpan, NamedSource, Severity, SourceCode};

use super::exit::Exit;
use crate::cache::CacheError;
use crate::exec::ExecError;
use crate::spec::Diagnostic;

/// An error that ends a command.
#[derive(Debug)]
pub(super) struct CliError {
    message: String,
    help: Option<String>,
    causes: Vec<String>,
    mistakes: Vec<Mistake>,
    /// How the program ends.
    pub(super) exit: Exit,
}

impl CliError {
    /// Returns a mistake of the user's.
    pub(super) fn user(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, causes: Vec::new(), mistakes: Vec::new(), exit: Exit::UserError }
    }

    /// Returns a failure of the program or of the machine.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self { exit: Exit::Internal, ..Self::user(message) }
    }

    /// Returns the end of a command whose reader has gone away: no failure, and nothing to say.
    pub(super) fn nobody_listens() -> Self {
        Self { exit: Exit::Success, ..Self::user("") }
    }

    /// Returns a report of all mistakes in a pipeline: each is drawn in its own one of its files.
    pub(super) fn mistakes(path: &Path, files: &[(PathBuf, String)], diagnostics: Vec<Diagnostic>) -> Self {
        let count = diagnostics.len();
        let mistake = |diagnostic: Diagnostic| {
            let (file, text) = files.get(diagnostic.file).map_or((path, ""), |(file, text)| (file.as_path(), text));
            Mistake::new(&file.display().to_string(), text, diagnostic)
        };
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        Self {
            mistakes: diagnostics.into_iter().map(mistake).collect(),
            ..Self::user(format!("{} has {count} {noun}", path.display()))
        }
    }

    /// Returns what is to be drawn, one after the other: every mistake, and last what ends the command.
    ///
    /// miette would draw the mistakes as related to the last one, each below a heading `Error:` that says nothing.
    pub(super) fn into_reports(mut self) -> Vec<miette::Report> {
        let mistakes = std::mem::take(&mut self.mistakes);
        // A mistake in an argument is none of the file's.
        let last =
            if mistakes.iter().all(Mistake::is_of_arguments) && !mistakes.is_empty() { None } else { Some(self) };
        mistakes.into_iter().map(miette::Report::new).chain(last.map(miette::Report::new)).collect()
    }

    /// Adds the way out.
    #[must_use]
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Makes it a difference from the lockfile rather than a mistake.
    #[must_use]
    pub(super) fn differs(mut self) -> Self {
        self.exit = Exit::Differs;
        self
    }

    /// Adds details, one a line.
    #[must_use]
    pub(super) fn details(mut self, details: impl IntoIterator<Item = String>) -> Self {
        self.causes.extend(details);
        self
    }
}

impl From<ExecError> for CliError {
    fn from(error: ExecError) -> Self {
        let exit = match &error {
            ExecError::Cache(error) => return cache_error(error),
            ExecError::SourceMissing { .. }
            | ExecError::SourceUnusable { .. }
            | ExecError::Outside { .. }
            | ExecError::LockFile { .. } => Exit::UserError,
            ExecError::SourceDrifted { .. } | ExecError::Locked { .. } => Exit::Differs,
            ExecError::LockUnwritable { .. } | ExecError::Io(_) => Exit::Internal,
        };
        let details = match &error {
            ExecError::Locked { differences, .. } => differences.clone(),
            _ => Vec::new(),
        };
        Self { help: error.help(), exit, ..Self::user(error.to_string()) }.details(details)
    }
}

impl From<CacheError> for CliError {
    fn from(error: CacheError) -> Self {
        cache_error(&error)
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        Self::internal(error.to_string())
    }
}

fn cache_error(error: &CacheError) -> CliError {
    let mut details = Vec::new();
    let mut next = StdError::source(error);
    while let Some(cause) = next {
        details.push(cause.to_string());
        next = cause.source();
    }
    CliError { help: error.way_out().map(str::to_owned), ..CliError::internal(error.to_string()) }.details(details)
}

impl fmt::Display for CliError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        self.causes.iter().try_for_each(|cause| write!(formatter, "\n{cause}"))
    }
}

impl StdError for CliError {}

impl MietteDiagnostic for CliError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }
}

/// One mistake in a file, with the text to underline it in.
#[derive(Debug)]
struct Mistake {
    diagnostic: Diagnostic,
    source: NamedSource<String>,
    severity: Severity,
}

/// Draws what is no mistake in a pipeline and probably not meant.
pub(super) fn warnings(files: &[(PathBuf, String)], diagnostics: &[Diagnostic]) -> Vec<miette::Report> {
    let drawn = |diagnostic: &Diagnostic| {
        let (file, text) = files.get(diagnostic.file).map_or((Path::new(""), ""), |(file, text)| (file, text));
        let mistake = Mistake::new(&file.display().to_string(), text, diagnostic.clone());
        miette::Report::new(Mistake { severity: Severity::Warning, ..mistake })
    };
    diagnostics.iter().map(drawn).collect()
}

impl Mistake {
    fn new(name: &str, text: &str, diagnostic: Diagnostic) -> Self {
        Self { diagnostic, source: NamedSource::new(name, text.to_owned()), severity: Severity::Error }
    }

    fn is_of_arguments(&self) -> bool {
        self.diagnostic.message.starts_with("`--")
    }

    fn has_place(&self) -> bool {
        self.diagnostic.span != (0, 0)
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.diagnostic.message)
    }
}

impl StdError for Mistake {}

impl MietteDiagnostic for Mistake {
    fn severity(&self) -> Option<Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.diagnostic.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.has_place().then_some(&self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        if !self.has_place() {
            return None;
        }
        let (start, end) = self.diagnostic.span;
        Some(Box::new(std::iter::once(LabeledSpan::new(self.diagnostic.label.clone(), start, end - start))))
    }
}

/// Sets how miette draws, once for the whole program.
pub(super) fn install(color: bool) {
    let width = console::Term::stderr().size_checked().map_or(100, |(_, columns)| usize::from(columns).clamp(60, 120));
    let hook: miette::ErrorHook = Box::new(move |_| {
        let options = miette::MietteHandlerOpts::new().terminal_links(false).unicode(true).color(color).width(width);
        Box::new(options.context_lines(1).build())
    });
    // A second call keeps the first hook, which is as good.
    let _ = miette::set_hook(hook);
}
