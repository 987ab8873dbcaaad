//! A mistake in a file: what, where, and the way out. Drawn by the command line, never here.

use std::ops::Range;

/// A mistake at a place in a text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Diagnostic {
    /// The bytes to underline; `(0, 0)` for the file as a whole.
    pub span: (usize, usize),
    /// What is wrong: a lower-case fragment without a full stop.
    pub message: String,
    /// What stands beside the underline, if that says more than the message.
    pub label: Option<String>,
    /// The way out, if there is one to name.
    pub help: Option<String>,
}

impl Diagnostic {
    /// Returns a mistake that underlines `span`.
    pub fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span: (span.start, span.end), message: message.into(), label: None, help: None }
    }

    /// Adds what stands beside the underline.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Adds the way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the way out, if there is one.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }
}
