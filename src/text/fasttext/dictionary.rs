//! From a line to rows of the matrix: its words, their n-grams of characters, and n-grams of words.
//!
//! Two things are fastText's own, and a model learnt with them. Words end at six characters of ASCII's white space and at a zero; a
//! no-break space is a letter, so `demain ?` in printed French is one word. And a byte enters a hash with its sign.

use std::io::BufRead;

use rustc_hash::FxHashMap;

use super::header::Header;
use super::source::Source;

/// What stands at the end of each line.
const END: &[u8] = b"</s>";
/// What a word begins with that is a label. It is not in the file; fastText, too, takes the default for a model that it loads.
const LABEL: &[u8] = b"__label__";
/// What has no word in the table.
const NONE: u32 = u32::MAX;
/// Words that a table of half empty places puts so far from their own are made to be slow.
const FARTHEST: usize = 4096;
const FNV: u32 = 2_166_136_261;

pub(super) struct Dictionary {
    /// All words and labels, one after the other, and where each ends.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Where a word is by its hash, with open addressing.
    table: Vec<u32>,
    words: u32,
    pub(super) labels: Vec<String>,
    /// How often each label was seen in training.
    pub(super) label_counts: Vec<i64>,
    /// Which buckets were kept, and where; all of them if there is nothing here.
    kept: Option<FxHashMap<u32, u32>>,
    buckets: u32,
    ngrams: Ngrams,
}

/// How much is read together.
struct Ngrams {
    words: usize,
    min_chars: usize,
    max_chars: usize,
}

impl Dictionary {
    pub(super) fn read<R: BufRead>(source: &mut Source<R>, header: &Header) -> Result<Self, String> {
        source.part("the dictionary");
        let (size, words, labels) = (source.i32()?, source.i32()?, source.i32()?);
        let (_tokens, kept) = (source.i64()?, source.i64()?);
        if words < 0 || labels < 1 || words.checked_add(labels) != Some(size) {
            return Err(source.wrong(&format!("{size} entries are said to be {words} words and {labels} labels")));
        }
        // A zero, a count and a type at least.
        let size = source.room(size.into(), 10)?;
        let mut dictionary = Self {
            bytes: Vec::new(),
            ends: Vec::with_capacity(size),
            table: vec![NONE; (2 * size).next_power_of_two()],
            words: words.unsigned_abs(),
            labels: Vec::new(),
            label_counts: Vec::new(),
            kept: None,
            buckets: if header.has_ngrams() { header.buckets } else { 0 },
            ngrams: Ngrams { words: header.words, min_chars: header.min_chars, max_chars: header.max_chars },
        };
        for _ in 0..size {
            dictionary.read_entry(source)?;
        }
        if kept >= 0 {
            dictionary.kept = Some(read_kept(source, kept)?);
        } else if kept != -1 {
            return Err(source.wrong(&format!("{kept} buckets were kept")));
        }
        Ok(dictionary)
    }

    fn read_entry<R: BufRead>(&mut self, source: &mut Source<R>) -> Result<(), String> {
        let begin = self.bytes.len();
        source.word(&mut self.bytes)?;
        let (count, kind) = (source.i64()?, source.i8()?);
        let index = self.ends.len() as u32;
        self.ends.push(self.bytes.len());
        match (kind, index < self.words) {
            (0, true) => {}
            (1, false) => {
                let label = str::from_utf8(&self.bytes[begin..]).map_err(|_| source.wrong("a label is not UTF-8"))?;
                self.labels.push(label.to_owned());
                self.label_counts.push(count);
            }
            _ => return Err(source.wrong(&format!("entry {index} is of type {kind}, and labels come after words"))),
        }
        let word = &self.bytes[begin..];
        let place =
            self.place(word, hash(word)).ok_or_else(|| source.wrong("the words were made to collide in a table"))?;
        self.table[place] = index;
        Ok(())
    }

    /// The place of a word in the table, or the empty one where it would be; nothing if it would be too far away.
    fn place(&self, word: &[u8], hash: u32) -> Option<usize> {
        let mask = self.table.len() - 1;
        let places = (0..FARTHEST).map(|step| (hash as usize + step) & mask);
        places.into_iter().find(|place| self.table[*place] == NONE || self.entry(self.table[*place]) == word)
    }

    fn entry(&self, index: u32) -> &[u8] {
        let index = index as usize;
        let begin = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[begin..self.ends[index]]
    }

    pub(super) fn is_pruned(&self) -> bool {
        self.kept.is_some()
    }

    /// How many rows the matrix must have for every line.
    pub(super) fn rows(&self) -> u64 {
        let kept = self.kept.as_ref().map(|kept| kept.values().max().map_or(0, |row| u64::from(*row) + 1));
        u64::from(self.words) + kept.unwrap_or_else(|| self.buckets.into())
    }

    /// Calls `add` with each row that belongs to the line, in fastText's order: sums of small numbers hang on it.
    pub(super) fn each_row(&self, line: &str, mut add: impl FnMut(usize)) {
        let mut hashes = Vec::new();
        let mut marked = Vec::new();
        let words = line.as_bytes().split(|byte| is_space(*byte)).filter(|word| !word.is_empty());
        for word in words.chain([END]) {
            let hash = hash(word);
            let index = self.place(word, hash).map_or(NONE, |place| self.table[place]);
            if index == NONE && word.starts_with(LABEL) || index != NONE && index >= self.words {
                continue;
            }
            if index != NONE {
                add(index as usize);
            }
            if word != END && self.ngrams.max_chars > 0 {
                marked.clear();
                marked.push(b'<');
                marked.extend_from_slice(word);
                marked.push(b'>');
                self.each_part(&marked, &mut add);
            }
            if self.ngrams.words > 1 {
                hashes.push(hash as i32);
            }
            if word == END {
                break;
            }
        }
        self.each_phrase(&hashes, &mut add);
    }

    /// N-grams of the characters of a word between `<` and `>`; the two marks alone are none.
    fn each_part(&self, marked: &[u8], add: &mut impl FnMut(usize)) {
        for (begin, _) in marked.iter().enumerate().filter(|(_, byte)| !continues(**byte)) {
            let (mut hash, mut end) = (FNV, begin);
            for chars in 1..=self.ngrams.max_chars {
                let Some(lead) = marked.get(end) else { break };
                hash = hashed(hash, *lead);
                end += 1;
                while let Some(byte) = marked.get(end).filter(|byte| continues(**byte)) {
                    hash = hashed(hash, *byte);
                    end += 1;
                }
                let mark = chars == 1 && (begin == 0 || end == marked.len());
                if chars >= self.ngrams.min_chars && !mark {
                    self.bucket(hash % self.buckets, add);
                }
            }
        }
    }

    /// N-grams of words, by their hashes, whose sign goes into all 64 bits.
    fn each_phrase(&self, hashes: &[i32], add: &mut impl FnMut(usize)) {
        for (i, first) in hashes.iter().enumerate() {
            let mut hash = i64::from(*first) as u64;
            for next in hashes[i + 1..].iter().take(self.ngrams.words - 1) {
                hash = hash.wrapping_mul(116_049_371).wrapping_add(i64::from(*next) as u64);
                self.bucket((hash % u64::from(self.buckets)) as u32, add);
            }
        }
    }

    fn bucket(&self, bucket: u32, add: &mut impl FnMut(usize)) {
        let row = match &self.kept {
            None => Some(bucket),
            Some(kept) => kept.get(&bucket).copied(),
        };
        if let Some(row) = row {
            add(self.words as usize + row as usize);
        }
    }
}

fn read_kept<R: BufRead>(source: &mut Source<R>, count: i64) -> Result<FxHashMap<u32, u32>, String> {
    let count = source.room(count, 8)?;
    let mut kept = FxHashMap::with_capacity_and_hasher(count, rustc_hash::FxBuildHasher);
    for _ in 0..count {
        let (bucket, row) = (source.i32()?, source.i32()?);
        let (Ok(bucket), Ok(row)) = (bucket.try_into(), row.try_into()) else {
            return Err(source.wrong(&format!("bucket {bucket} became {row}")));
        };
        kept.insert(bucket, row);
    }
    Ok(kept)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | 0x0b | 0x0c | 0)
}

/// Whether a byte goes on with a character of UTF-8.
fn continues(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// FNV-1a, with the sign of each byte.
pub(super) fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(FNV, |hash, byte| hashed(hash, *byte))
}

fn hashed(hash: u32, byte: u8) -> u32 {
    (hash ^ (byte as i8 as u32)).wrapping_mul(16_777_619)
}
