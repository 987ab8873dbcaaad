//! The text of PDF files: a row a page, or one a file.
//!
//! A PDF is a program that draws, written by strangers. `lopdf` reads its objects; what is drawn is followed here, as far
//! as it is text ([`draw`]), since where words end is told by nothing but their places ([`lay`]), and what a code of a font
//! means stands in up to four places ([`font`]).
//!
//! All that a file can ask for is bounded before it is given: its size, its pages, what its streams unpack to, and how
//! much is drawn. The bounds count work and never time, so a file that is read once is read everywhere. What is encrypted is
//! opened where that takes no password ([`locked`]).

mod cmap;
mod draw;
mod encoding;
mod font;
mod lay;
mod locked;

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::VecDeque;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use lopdf::{Document, LoadOptions, Object, ObjectId};
use serde_json::{Map, Value};

use self::draw::Work;
use super::lines::LONGEST_ROW;
use super::packed::Unpacked;
use super::{DataError, NoText, Record};

/// The largest file.
const LARGEST_FILE: usize = 256 << 20;
/// The most that one stream with objects may unpack to.
const LARGEST_STREAM: usize = 16 << 20;
/// The most that all objects of a file may take.
const MOST_OBJECTS: usize = 1 << 30;
/// The most pages of a file.
const MOST_PAGES: usize = 20_000;

/// The rows of a PDF file.
pub(super) struct PdfFile {
    /// What the file is called in its data set.
    name: String,
    path: PathBuf,
    whole: bool,
    no_text: NoText,
    /// The rows that are still to be given; nothing before the file was read.
    rows: Option<VecDeque<Record>>,
    row: u64,
}

impl PdfFile {
    /// Opens a file. It is read when its first row is asked for.
    pub(super) fn open(name: &str, path: &Path, whole: bool, no_text: NoText) -> Result<Self, DataError> {
        fs_err::metadata(path)?;
        Ok(Self { name: name.to_owned(), path: path.to_owned(), whole, no_text, rows: None, row: 0 })
    }

    /// Returns the row that was given last, counted from 1.
    pub(super) fn row(&self) -> u64 {
        self.row
    }

    /// Returns the next row.
    pub(super) fn next_record(&mut self) -> Result<Option<Record>, DataError> {
        if self.rows.is_none() {
            // After an error the file has no more rows.
            self.rows = Some(VecDeque::new());
            self.row = 1;
            let pages = self.pages()?;
            self.row = 0;
            self.rows = Some(self.rows_of(pages));
        }
        let row = self.rows.as_mut().and_then(VecDeque::pop_front);
        self.row += u64::from(row.is_some());
        Ok(row)
    }

    /// Passes over so many rows at most, and returns how many there were.
    pub(super) fn skip_rows(&mut self, count: u64) -> Result<u64, DataError> {
        for skipped in 0..count {
            if self.next_record()?.is_none() {
                return Ok(skipped);
            }
        }
        Ok(count)
    }

    fn pages(&self) -> Result<Vec<String>, DataError> {
        let bad = |reason: String| DataError::BadAt { path: self.path.clone(), row: 1, reason };
        let mut bytes = Vec::new();
        Unpacked::open(&self.path)?.take(LARGEST_FILE as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > LARGEST_FILE {
            return Err(bad(format!("the PDF is larger than {} MiB", LARGEST_FILE >> 20)));
        }
        // Others' code on foreign bytes.
        let read = catch_unwind(AssertUnwindSafe(|| read(&bytes))).unwrap_or_else(|_| Err(Why::is("it is damaged")));
        match read {
            Ok(pages) if self.no_text == NoText::Keep || pages.iter().any(|page| !page.is_empty()) => Ok(pages),
            Err(Why::Encrypted) if self.no_text == NoText::Keep => Ok(vec![String::new()]),
            Ok(_) => {
                Err(bad("the PDF has no text, its pages are pictures; recognise their text first (`ocrmypdf`), or \
                              keep it with empty text, `no_text: keep`"
                    .into()))
            }
            Err(Why::Encrypted) => {
                Err(bad("the PDF is encrypted and takes a password; write it without (`qpdf --decrypt`), or keep it \
                                            with empty text, `no_text: keep`"
                    .into()))
            }
            Err(Why::Other(why)) => Err(bad(format!("the PDF cannot be read: {why}"))),
        }
    }

    fn rows_of(&self, pages: Vec<String>) -> VecDeque<Record> {
        let count = pages.len();
        let row = |text: String, place: (&str, usize)| {
            let mut columns = Map::new();
            columns.insert("file".into(), self.name.clone().into());
            columns.insert(place.0.into(), place.1.into());
            columns.insert("text".into(), Value::String(text));
            Record(columns)
        };
        if self.whole {
            let filled: Vec<String> = pages.into_iter().filter(|page| !page.is_empty()).collect();
            return VecDeque::from([row(filled.join("\n\n"), ("pages", count))]);
        }
        pages.into_iter().enumerate().map(|(i, text)| row(text, ("page", i + 1))).collect()
    }
}

/// Why a file cannot be read.
enum Why {
    Encrypted,
    Other(String),
}

impl Why {
    fn is(why: impl Into<String>) -> Self {
        Why::Other(why.into())
    }
}

thread_local! {
    /// What the objects of the file that is read on this thread may still take, and what one whose length is not known is
    /// counted as. `lopdf` takes a function for this, and no closure.
    static LEFT: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// Returns the text of every page.
fn read(bytes: &[u8]) -> Result<Vec<String>, Why> {
    let broken = |error: lopdf::Error| Why::is(error.to_string());
    let encrypted = Document::load_metadata_mem(bytes).map_err(broken)?.encrypted;
    let bytes = if encrypted { Cow::Owned(locked::as_plain(bytes)) } else { Cow::Borrowed(bytes) };
    LEFT.set((MOST_OBJECTS, bytes.len()));
    let options =
        LoadOptions { filter: Some(count), max_decompressed_size: Some(LARGEST_STREAM), ..LoadOptions::default() };
    let mut document = Document::load_mem_with_options(&bytes, options).map_err(broken)?;
    if encrypted {
        locked::open(&mut document)?;
    }
    if LEFT.get().0 == 0 {
        return Err(Why::is(format!("its objects take more than {} MiB", MOST_OBJECTS >> 20)));
    }
    if document.was_encrypted() || document.is_encrypted() {
        return Err(Why::Encrypted);
    }
    let pages: Vec<ObjectId> = document.page_iter().take(MOST_PAGES + 1).collect();
    if pages.is_empty() {
        return Err(Why::is("it has no page"));
    }
    if pages.len() > MOST_PAGES {
        return Err(Why::is(format!("it has more than {MOST_PAGES} pages")));
    }
    let mut work = Work::new(&document);
    let mut texts = Vec::new();
    let mut length = 0;
    for (i, page) in pages.into_iter().enumerate() {
        let glyphs = work.page(page).map_err(|why| Why::is(format!("page {}: {why}", i + 1)))?;
        texts.push(lay::text(&glyphs));
        length += texts[i].len();
        if length > LONGEST_ROW {
            return Err(Why::is(format!("its text is longer than {LONGEST_ROW} bytes")));
        }
    }
    Ok(texts)
}

/// Counts an object, and leaves it out once all take too much.
fn count(id: ObjectId, object: &mut Object) -> Option<(ObjectId, Object)> {
    let (left, file) = LEFT.get();
    let left = left.saturating_sub(weight(object, file, 0));
    LEFT.set((left, file));
    // What is returned is looked at of objects in streams alone, and a stream is none of them.
    let kept = if object.as_stream().is_ok() { Object::Null } else { object.clone() };
    (left > 0).then_some((id, kept))
}

/// Returns about how many bytes an object takes.
fn weight(object: &Object, file: usize, depth: usize) -> usize {
    const EACH: usize = 96;
    // The reader stops at a depth of 100 by itself.
    if depth > 200 {
        return MOST_OBJECTS;
    }
    let inside = |dict: &lopdf::Dictionary| {
        dict.iter().map(|(key, value)| EACH + key.len() + weight(value, file, depth + 1)).sum::<usize>()
    };
    EACH + match object {
        Object::Array(array) => array.iter().map(|object| weight(object, file, depth + 1)).sum(),
        Object::Dictionary(dict) => inside(dict),
        Object::String(bytes, _) | Object::Name(bytes) => bytes.len(),
        // Read later, when its length is known; it may be all of the file.
        Object::Stream(stream)
            if stream.content.is_empty() && stream.dict.get(b"Length").is_ok_and(|length| length.as_i64().is_err()) =>
        {
            file + inside(&stream.dict)
        }
        Object::Stream(stream) => stream.content.len() + inside(&stream.dict),
        _ => 0,
    }
}
