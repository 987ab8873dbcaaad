//! Rows, text and tokens: what stands between files and numbers.
//!
//! Reads and writes data sets ([`open`], [`RowWriter`]), turns chats into text by a model's own template, and text into
//! token ids with a mask of what is to be learned ([`Tokenizer`]); trains a tokenizer ([`train_bpe`]). All bytes read
//! here come from outside: every row is bounded, every mistake names its file and line, and a chat template, which is
//! foreign code, runs on a ration. What rows *should* be like is the business of `ops::curate`.

mod arrow;
mod batches;
mod bpe;
mod calls;
mod chat;
mod checked;
mod continuation;
mod control;
mod error;
mod expression;
mod folder;
mod functions;
mod growth;
mod json;
mod json_lines;
mod lines;
mod merges;
mod message;
mod packed;
mod pattern;
mod pdf;
mod reader;
mod record;
mod row;
mod shape;
mod shards;
mod spans;
mod stream;
mod table;
mod template;
mod text_rows;
mod tokenizer;
mod values;
mod words;

pub use bpe::{Bpe, WordCounts, train_bpe};
pub use chat::{ChatTokens, Ending};
pub use continuation::{Joining, Seam, Start};
pub use error::{DataError, beginning};
pub use expression::{Columns, Expression, TextTemplate, pattern_of};
pub use folder::{Records, RowRange, RowWriter, Rows, SourceManifest, open, open_records};
pub use message::{Chat, Content, Message};
pub use pattern::Pattern;
pub use reader::{FileRows, Format, NoText, Reading, TextUnit};
pub use record::Record;
pub use row::{Preference, Row};
pub use shards::{Shard, ShardFormat, ShardWriter};
pub use spans::Rendered;
pub use stream::TextStream;
pub use template::{CHATML_TEMPLATE, TemplateSettings};
pub use tokenizer::{TOKENIZER_FILES, Tokenizer, copy_tokenizer};
