//! Tokenized samples, kept by content: whoever changes a learning rate does not tokenize a million chats again.
//!
//! A file holds what [`super::samples::read`] gave for data of some bytes, a tokenizer of some bytes and the settings that
//! matter; its name is the digest of all these. It begins with the digest of the rest, so a damaged one is passed over. It
//! is no artifact: it may be deleted at any time, and `cache gc` does so when it was not used for long.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::json;

use super::samples::{Counts, Sample};
use crate::data::TOKENIZER_FILES;
use crate::digest::{Digest, Manifest, file_digest, value_digest};
use crate::ops::{OpCx, OpError};
use crate::spec::params::SftParams;

/// Changed with whatever changes samples of the same data, tokenizer and settings.
const VERSION: u32 = 1;

/// Where the samples of a slot are kept.
pub(super) struct Memo {
    path: PathBuf,
}

impl Memo {
    /// Finds out where the samples of a slot are kept; nothing if this run keeps none.
    pub(super) fn of(slot: &str, params: &SftParams, model: &Path, cx: &OpCx<'_>) -> Result<Option<Self>, OpError> {
        let Some(folder) = cx.memo else { return Ok(None) };
        let failed = |error| OpError::caused("cannot digest the data", error);
        let mut data = Vec::new();
        for input in cx.inputs.list(slot) {
            data.push(Manifest::of_dir(&input.path).map_err(failed)?.digest().hex());
        }
        let mut tokenizer = Vec::new();
        for name in TOKENIZER_FILES.iter().filter(|name| model.join(name).is_file()) {
            tokenizer.push((name, file_digest(&model.join(name)).map_err(failed)?.0.hex()));
        }
        let parts = json!({
            "version": VERSION,
            "program": env!("CARGO_PKG_VERSION"),
            "data": data,
            "tokenizer": tokenizer,
            "train_on": params.train_on,
            "train_on_eos": params.train_on_eos,
            "long_samples": params.long_samples,
            "sequence_len": params.sequence_len,
            "template_variables": params.template_variables,
            "template_date": params.template_date,
        });
        Ok(Some(Self { path: folder.join(format!("{}.samples", value_digest(&parts).hex())) }))
    }

    /// Returns the samples, if they are kept whole.
    pub(super) fn read(&self) -> Option<(Vec<Sample>, Counts)> {
        let bytes = fs_err::read(&self.path).ok()?;
        let (digest, payload) = bytes.split_at_checked(Digest::of(b"").hex().len())?;
        if Digest::of(payload).hex().as_bytes() != digest {
            return None;
        }
        // Used now. Only `cache gc` looks at it.
        let _ = fs_err::File::options()
            .append(true)
            .open(&self.path)
            .map(|file| file.into_file().set_modified(SystemTime::now()));
        decode(payload)
    }

    /// Keeps samples. That they cannot be kept costs time later and nothing else.
    pub(super) fn write(&self, samples: &[Sample], counts: Counts) {
        let payload = encode(samples, counts);
        let unfinished = self.path.with_extension(format!("{}.unfinished", std::process::id()));
        let write = || -> std::io::Result<()> {
            fs_err::create_dir_all(self.path.parent().unwrap_or(Path::new(".")))?;
            fs_err::write(&unfinished, [Digest::of(&payload).hex().as_bytes(), &payload].concat())?;
            fs_err::rename(&unfinished, &self.path)
        };
        if write().is_err() {
            let _ = fs_err::remove_file(&unfinished);
        }
    }
}

fn encode(samples: &[Sample], counts: Counts) -> Vec<u8> {
    let mut out = Vec::new();
    for number in [samples.len(), counts.truncated, counts.split, counts.dropped] {
        out.extend((number as u64).to_le_bytes());
    }
    for sample in samples {
        out.extend((sample.ids.len() as u64).to_le_bytes());
        out.extend((sample.origin.0 as u64).to_le_bytes());
        out.extend(sample.origin.1.to_le_bytes());
        sample.ids.iter().for_each(|id| out.extend(id.to_le_bytes()));
        out.extend(
            sample.trained.chunks(8).map(|eight| {
                eight.iter().enumerate().fold(0u8, |byte, (bit, trained)| byte | u8::from(*trained) << bit)
            }),
        );
    }
    out
}

fn decode(mut bytes: &[u8]) -> Option<(Vec<Sample>, Counts)> {
    let mut take = |count: usize| {
        let (taken, rest) = bytes.split_at_checked(count)?;
        bytes = rest;
        Some(taken)
    };
    let number = |taken: &[u8]| Some(u64::from_le_bytes(taken.try_into().ok()?));
    let count = number(take(8)?)?;
    let counts = Counts {
        truncated: number(take(8)?)? as usize,
        split: number(take(8)?)? as usize,
        dropped: number(take(8)?)? as usize,
    };
    let mut samples = Vec::new();
    for _ in 0..count {
        let length = number(take(8)?)? as usize;
        let origin = (number(take(8)?)? as usize, number(take(8)?)?);
        let ids = take(length.checked_mul(4)?)?.as_chunks().0.iter().map(|id| u32::from_le_bytes(*id)).collect();
        let bits = take(length.div_ceil(8))?;
        let trained = (0..length).map(|place| bits[place / 8] >> (place % 8) & 1 == 1).collect();
        samples.push(Sample { ids, trained, origin });
    }
    Some((samples, counts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_back_as_they_were_and_damaged_ones_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let memo = Memo { path: folder.path().join("deep").join("a.samples") };
        let sample = |length: u32| Sample {
            ids: (0..length).map(|id| id * 70_000).collect(),
            trained: (0..length).map(|place| place % 3 == 1).collect(),
            origin: (1, u64::from(length)),
        };
        let samples: Vec<Sample> = [1, 7, 8, 9, 100].map(sample).into();
        let counts = Counts { truncated: 1, split: 2, dropped: 3 };
        assert!(memo.read().is_none());
        memo.write(&samples, counts);
        assert_eq!(memo.read(), Some((samples, counts)));
        let bytes = fs_err::read(&memo.path).unwrap();
        for place in (0..bytes.len()).step_by(7) {
            let mut bytes = bytes.clone();
            bytes[place] ^= 1;
            fs_err::write(&memo.path, &bytes).unwrap();
            assert!(memo.read().is_none());
            fs_err::write(&memo.path, &bytes[..place]).unwrap();
            assert!(memo.read().is_none());
        }
    }
}
