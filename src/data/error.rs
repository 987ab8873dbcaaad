//! Why data, a tokenizer or a chat template could not be used.

use std::path::PathBuf;

/// What is wrong with data or with a tokenizer, and where.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file could not be read or written; the message names it.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// A line, paragraph or file is longer than a row may be.
    #[error("{}, line {line}: the row is longer than {limit} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// The greatest length in bytes.
        limit: usize,
    },
    /// A line isn't UTF-8.
    #[error("{}, line {line}: byte {column} of the line is not UTF-8; convert the file to UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// The first offending byte of the line, counted from 1.
        column: usize,
    },
    /// A line does not hold a row.
    #[error("{}, line {line}: {reason}", path.display())]
    BadRow {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A row of a file that has no lines isn't one.
    #[error("{}, row {row}: {reason}", path.display())]
    BadAt {
        /// The file.
        path: PathBuf,
        /// The row, counted from 1.
        row: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A file cannot be read as what it is.
    #[error("{}: {reason}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A folder isn't a data set.
    #[error("{} is not a data set: {reason}", path.display())]
    BadDataset {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The files of a tokenizer can't be used.
    #[error("the tokenizer in {} cannot be used: {reason}", path.display())]
    BadTokenizer {
        /// The folder or the file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Text could not be turned into tokens.
    #[error("cannot tokenize the text that begins `{start}`: {reason}")]
    Tokenize {
        /// The first characters of the text.
        start: String,
        /// What the tokenizer says.
        reason: String,
    },
    /// A chat could not be turned into text.
    #[error("the chat template fails on the chat that begins `{start}`: {reason}")]
    Template {
        /// The first characters of the chat.
        start: String,
        /// What the template says.
        reason: String,
    },
    /// A chat has nothing to learn from.
    #[error("the chat that begins `{start}` has no token to train: {reason}")]
    NothingTrained {
        /// The first characters of the chat.
        start: String,
        /// Why.
        reason: &'static str,
    },
    /// A tokenizer could not be trained.
    #[error("cannot train a tokenizer of {wanted} entries: {possible} are what the data and the special tokens yield")]
    VocabularySize {
        /// The entries asked for.
        wanted: usize,
        /// The entries that the data yields.
        possible: usize,
    },
}

impl DataError {
    /// Says whether it is about one row, and the next may be sound.
    pub fn is_of_one_row(&self) -> bool {
        matches!(self, DataError::BadRow { .. } | DataError::BadAt { .. } | DataError::NotUtf8 { .. })
    }
}

/// Returns the first characters of a text on one line, for messages.
pub fn beginning(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown: String = text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}
