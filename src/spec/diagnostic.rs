//! A mistake in a file: what, where, and the way out. Drawn by the command line, never here.

use std::ops::Range;

/// A place in one of the files that a pipeline is written in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Which of [`super::Parsed::files`]; 0 is the file that the user named.
    pub file: usize,
    /// The bytes; `(0, 0)` for the file as a whole.
    pub span: (usize, usize),
}

impl Place {
    /// Returns a place in a file.
    pub fn new(file: usize, span: Range<usize>) -> Self {
        Self { file, span: (span.start, span.end) }
    }
}

impl From<Range<usize>> for Place {
    fn from(span: Range<usize>) -> Self {
        Self::new(0, span)
    }
}

/// A mistake at a place in a text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Diagnostic {
    /// The file it is in, as in [`Place`].
    pub file: usize,
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
    /// Returns a mistake that underlines a place; of a bare span, in the file that the user named.
    pub fn new(place: impl Into<Place>, message: impl Into<String>) -> Self {
        let Place { file, span } = place.into();
        Self { file, span, message: message.into(), label: None, help: None }
    }

    /// Returns the same mistake in another file.
    #[must_use]
    pub fn in_file(mut self, file: usize) -> Self {
        self.file = file;
        self
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
