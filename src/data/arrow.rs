//! Arrow as a file or a stream, message by message.
//!
//! Headers are not believed. Each message is read as far as it is there, and what its buffers claim to unpack to is bounded
//! before anything is unpacked.

use std::collections::VecDeque;
use std::io::Read;
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamDecoder;

use super::DataError;
use super::batches::{bad, guarded};
use super::packed::Unpacked;

/// The largest message of an Arrow stream, and what all its buffers may unpack to.
const LARGEST_BODY: u64 = 2 << 30;
/// The largest description of a message.
const LARGEST_HEAD: u32 = 64 << 20;

/// The batches of a file or a stream.
pub(super) struct Stream {
    input: Unpacked,
    decoder: StreamDecoder,
    waiting: VecDeque<RecordBatch>,
    ended: bool,
}

impl Stream {
    /// Opens a file or a stream.
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let mut input = Unpacked::open(path)?;
        let mut start = [0; 8];
        let began = read_up_to(&mut input, &mut start)?;
        if &start != b"ARROW1\0\0" {
            // A stream has no name of its own in front.
            input = Unpacked::open(path)?;
        } else if began < 8 {
            return Err(bad(path, "it ends before it has begun".into()));
        }
        Ok(Self { input, decoder: StreamDecoder::new(), waiting: VecDeque::new(), ended: false })
    }

    /// Returns the next batch; nothing at the end.
    pub(super) fn next_batch(&mut self, path: &Path) -> Result<Option<RecordBatch>, DataError> {
        while self.waiting.is_empty() && !self.ended {
            match self.frame(path)? {
                None => self.ended = true,
                Some(frame) => {
                    let (decoder, waiting) = (&mut self.decoder, &mut self.waiting);
                    guarded(path, || {
                        let mut buffer = frame.into();
                        loop {
                            waiting.extend(decoder.decode(&mut buffer).map_err(|error| error.to_string())?);
                            if buffer.is_empty() {
                                return Ok(());
                            }
                        }
                    })?;
                }
            }
        }
        if self.decoder.schema().is_none() {
            return Err(bad(path, "it does not begin with a schema".into()));
        }
        Ok(self.waiting.pop_front())
    }

    /// Reads a message with all that belongs to it; nothing at the end.
    fn frame(&mut self, path: &Path) -> Result<Option<Vec<u8>>, DataError> {
        let cut = || bad(path, "it ends in the middle of a message".into());
        let mut word = [0; 4];
        match read_up_to(&mut self.input, &mut word)? {
            0 => return Ok(None),
            4 => {}
            _ => return Err(cut()),
        }
        if word == [0xff; 4] && read_up_to(&mut self.input, &mut word)? < 4 {
            return Err(cut());
        }
        let length = u32::from_le_bytes(word);
        if length == 0 {
            return Ok(None);
        }
        if length > LARGEST_HEAD {
            return Err(bad(path, format!("a message describes itself in {length} bytes, which is no Arrow data")));
        }
        let mut frame = [[0xff; 4], word].concat();
        self.append(&mut frame, u64::from(length))?;
        let head = frame.get(8..8 + length as usize).ok_or_else(cut)?.to_vec();
        let message = arrow_ipc::root_as_message(&head);
        let message = message.map_err(|error| bad(path, format!("a message is damaged: {error}")))?;
        let body = u64::try_from(message.bodyLength()).ok().filter(|body| *body <= LARGEST_BODY);
        let body = body.ok_or_else(|| bad(path, format!("a message has {} bytes", message.bodyLength())))?;
        let before = frame.len();
        self.append(&mut frame, body)?;
        if (frame.len() - before) as u64 != body {
            return Err(cut());
        }
        let dictionary = message.header_as_dictionary_batch().and_then(|batch| batch.data());
        if let Some(batch) = message.header_as_record_batch().or(dictionary)
            && batch.compression().is_some()
        {
            let mut total = 0_u64;
            for buffer in batch.buffers().into_iter().flatten() {
                let at =
                    usize::try_from(buffer.offset()).ok().and_then(|at| frame[before..].get(at..)?.first_chunk::<8>());
                let unpacked = at.map_or(0, |bytes| i64::from_le_bytes(*bytes));
                total = total.saturating_add(u64::try_from(unpacked).unwrap_or(0));
            }
            if total > LARGEST_BODY {
                return Err(bad(path, format!("a message unpacks to {total} bytes")));
            }
        }
        Ok(Some(frame))
    }

    fn append(&mut self, frame: &mut Vec<u8>, count: u64) -> Result<(), DataError> {
        self.input.by_ref().take(count).read_to_end(frame)?;
        Ok(())
    }
}

fn read_up_to(input: &mut impl Read, into: &mut [u8]) -> std::io::Result<usize> {
    let mut read = 0;
    while read < into.len() {
        match input.read(&mut into[read..])? {
            0 => break,
            count => read += count,
        }
    }
    Ok(read)
}
