//! Beginnings that several prompts share, read once: a system prompt, examples, a passage with many questions, or the whole
//! prompt where several answers to it are wanted.
//!
//! A prompt that is about to begin is compared with those that come next. What pays most (tokens that need not be read
//! again, by all of them) is read into a text of its own, and each prompt goes on from a fork of it. No answer depends on
//! it: a token's logits are the same however the tokens before it were fed.

use crate::model::{ModelError, SequenceId, Session};

/// Prompts that are looked at.
pub(super) const AHEAD: usize = 64;
/// The fewest tokens that are worth a text of their own.
const LEAST: usize = 64;
/// Texts that are kept: prompts of several kinds may take turns.
const KEPT: usize = 8;
/// Tokens that go into the model at once.
const CHUNK: usize = 512;

/// Texts that prompts may begin with, the one that was used last at the end.
#[derive(Debug, Default)]
pub(super) struct Stems(Vec<(SequenceId, Vec<u32>)>);

impl Stems {
    /// Returns a text for a prompt to go on in, and how many tokens of it are read already, never all of them.
    ///
    /// `went_on` hears how many tokens were read and says whether to go on.
    pub(super) fn begin<'a>(
        &mut self,
        session: &mut Session<'_>,
        prompt: &[u32],
        ahead: impl Iterator<Item = &'a [u32]>,
        went_on: &mut dyn FnMut(usize) -> bool,
    ) -> Result<(SequenceId, usize), ModelError> {
        let fits = |stem: &[u32]| stem.len() < prompt.len() && prompt.starts_with(stem);
        let longest = |at: &usize| self.0[*at].1.len();
        let known = (0..self.0.len()).filter(|at| fits(&self.0[*at].1)).max_by_key(longest);
        let read = known.as_ref().map_or(0, longest);
        if let Some(known) = known {
            // Used last.
            self.0[known..].rotate_left(1);
        }
        if let Some(length) = worth(prompt, read, ahead) {
            let text = self.start(session, known.is_some())?;
            for chunk in prompt[read..length].chunks(CHUNK) {
                session.feed(&[(text, chunk)])?;
                if !went_on(chunk.len()) {
                    session.end(text);
                    return Ok((session.start(), 0));
                }
            }
            if self.0.len() == KEPT {
                session.end(self.0.remove(0).0);
            }
            self.0.push((text, prompt[..length].to_vec()));
            return Ok((session.fork(text)?, length));
        }
        Ok((self.start(session, known.is_some())?, read))
    }

    /// Returns a new text, which goes on from the stem that was used last or from nothing.
    fn start(&self, session: &mut Session<'_>, known: bool) -> Result<SequenceId, ModelError> {
        match self.0.last() {
            Some((text, _)) if known => session.fork(*text),
            _ => Ok(session.start()),
        }
    }
}

/// Returns how many tokens of a prompt are to be read for those that come next too, if any beyond the first so many.
fn worth<'a>(prompt: &[u32], read: usize, ahead: impl Iterator<Item = &'a [u32]>) -> Option<usize> {
    // The last token of a prompt is read by each.
    let shared = |other: &[u32]| {
        let most = prompt.len().min(other.len()).saturating_sub(1);
        prompt[..most].iter().zip(other).take_while(|(a, b)| a == b).count()
    };
    let mut lengths: Vec<usize> = ahead.map(shared).filter(|length| *length >= read + LEAST).collect();
    lengths.sort_unstable_by(|a, b| b.cmp(a));
    let saved = lengths.iter().enumerate().map(|(others, length)| ((length - read) * (others + 1), *length));
    saved.max().map(|(_, length)| length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pays_most_is_read_for_all() {
        let prompt = |shared: u32, rest: u32| (0..shared).chain([1000 + rest; 9]).collect::<Vec<u32>>();
        let worth = |prompts: &[Vec<u32>], read| worth(&prompts[0], read, prompts[1..].iter().map(Vec::as_slice));
        let pair = [prompt(300, 1), prompt(300, 2)];
        assert_eq!(worth(&pair, 0), Some(300));
        assert_eq!(worth(&pair, 236), Some(300));
        assert_eq!(worth(&pair, 237), None);
        assert_eq!(worth(&pair[..1], 0), None);
        // 200 tokens for two others are more than 300 for one, and less than 100 more for it once they are read.
        let three = [prompt(300, 1), prompt(300, 2), prompt(200, 3)];
        assert_eq!((worth(&three, 0), worth(&three, 200)), (Some(200), Some(300)));
        // A prompt that comes again is read but for its last token.
        assert_eq!(worth(&[prompt(100, 1), prompt(100, 1)], 0), Some(108));
        // So is one that another begins with.
        assert_eq!(worth(&[prompt(100, 1), (0..90).collect()], 0), Some(89));
    }
}
