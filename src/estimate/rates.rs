//! Speeds that no device table has, each an assumption with a name, and what earlier runs put in their place.

/// Bytes a second to and from a disk: a common NVMe drive under a file system, and the least of what is in use.
pub const DISK: f64 = 1e9;
/// Bytes of rows that a curation goes through in a second: French documents through FineWeb-2's whole chain take 0.13 ms of a
/// core for 1.7 kB (`docs/benchmarks.md`, Curation).
pub const CURATION: f64 = 13e6;
/// Bytes of JSON a token: French chats of 3.8 to 4.0 bytes a token, with what the rows have around them.
pub const BYTES_A_TOKEN: f64 = 4.0;
/// The share of its bandwidth at which a device reads weights while it writes a text.
pub const OF_BANDWIDTH: f64 = 0.8;
/// Tokens of a question, without examples.
pub const QUESTION: f64 = 200.0;
/// Tokens of each answer that is offered to a question.
pub const CHOICE: f64 = 25.0;
/// How many answers are offered.
pub const CHOICES: f64 = 4.0;
/// Tokens of an answer in a model's own words, where it may have more.
pub const ANSWER: f64 = 512.0;
/// Tokens of a sentence of a minimal pair.
pub const SENTENCE: f64 = 15.0;
/// What the program itself takes of the host's memory.
pub const PROGRAM: f64 = 50e6;

/// Speeds of earlier runs on this machine; each with how many nodes it was measured on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Earlier {
    /// Operations a second of trainings.
    pub training: Option<(f64, usize)>,
    /// Operations a second of evals, each token reckoned with those of its products of matrices.
    pub eval: Option<(f64, usize)>,
    /// Rows a second of curations.
    pub curation: Option<(f64, usize)>,
    /// Weights a second of merges.
    pub merge: Option<(f64, usize)>,
}
