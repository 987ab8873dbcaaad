//! The digest type: 32 bytes of BLAKE3, the same in memory, in text and in JSON.
//!
//! A newtype, because a digest that came from text was checked exactly once, when it was read, and can be used as a file
//! name from then on: 64 lower-case hex digits can never climb out of a folder.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The prefix that names the algorithm in text written for people: `blake3:…`.
const PREFIX: &str = "blake3:";

/// A BLAKE3 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Returns the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).into())
    }

    /// Returns the digest that these 32 bytes are.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the 64 lower-case hex digits.
    pub fn hex(&self) -> String {
        self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(HEX[usize::from(digit)])).collect()
    }

    /// Returns the first 12 hex digits, for people.
    pub fn short(&self) -> String {
        let mut hex = self.hex();
        hex.truncate(12);
        hex
    }
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        Self(hash.into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Digest({})", self.short())
    }
}

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseDigestError {
    /// Another number of characters.
    #[error("a digest has 64 hex digits, this has {0} characters")]
    Length(usize),
    /// A character that is no hex digit.
    #[error("a digest has 64 hex digits, and `{found}` at place {place} is none")]
    Character {
        /// The character.
        found: char,
        /// Its place, from 1, after a `blake3:` prefix.
        place: usize,
    },
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    /// Reads 64 hex digits of either case, with or without the prefix `blake3:`.
    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        let hex = text.strip_prefix(PREFIX).unwrap_or(text);
        let length = hex.chars().count();
        if length != 64 {
            return Err(ParseDigestError::Length(length));
        }
        let mut bytes = [0; 32];
        for (index, found) in hex.chars().enumerate() {
            let place = index + 1;
            let digit = found.to_digit(16).ok_or(ParseDigestError::Character { found, place })?;
            bytes[index / 2] = bytes[index / 2] << 4 | digit as u8;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.hex())
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_empty_input_has_the_published_blake3_digest() {
        let published = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(Digest::of(b"").hex(), published);
        assert_eq!(Digest::of(b"").short(), "af1349b9f5f9");
        assert_eq!(format!("{:?}", Digest::of(b"")), "Digest(af1349b9f5f9)");
        assert_eq!(format!("{}", Digest::of(b"")), published);
    }

    #[test]
    fn a_wrong_text_is_refused_with_its_place() {
        let good = Digest::of(b"x").hex();
        assert_eq!("".parse::<Digest>(), Err(ParseDigestError::Length(0)));
        assert_eq!(good[1..].parse::<Digest>(), Err(ParseDigestError::Length(63)));
        assert_eq!(format!("{good}0").parse::<Digest>(), Err(ParseDigestError::Length(65)));
        assert_eq!(format!("sha256:{good}").parse::<Digest>(), Err(ParseDigestError::Length(71)));
        let wrong = format!("blake3:{}g{}", &good[..9], &good[10..]);
        assert_eq!(wrong.parse::<Digest>(), Err(ParseDigestError::Character { found: 'g', place: 10 }));
        // Multi-byte characters count as one and are never split.
        let wide = "é".repeat(64);
        assert_eq!(wide.parse::<Digest>(), Err(ParseDigestError::Character { found: 'é', place: 1 }));
        assert!(serde_json::from_str::<Digest>("\"00\"").is_err());
        assert!(serde_json::from_str::<Digest>("7").is_err());
    }

    proptest! {
        #[test]
        fn text_and_json_bring_a_digest_back(bytes: [u8; 32]) {
            let digest = Digest::from_bytes(bytes);
            prop_assert_eq!(digest.hex().parse::<Digest>(), Ok(digest));
            prop_assert_eq!(digest.hex().to_uppercase().parse::<Digest>(), Ok(digest));
            prop_assert_eq!(format!("blake3:{digest}").parse::<Digest>(), Ok(digest));
            let json = serde_json::to_string(&digest).unwrap();
            prop_assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
            prop_assert!(digest.hex().starts_with(&digest.short()));
        }

        #[test]
        fn any_text_is_read_or_refused_without_panic(text in ".{0,80}|[0-9a-f]{60,68}|blake3:[0-9a-fA-F]{64}") {
            if let Ok(digest) = text.parse::<Digest>() {
                let bare = text.strip_prefix("blake3:").unwrap_or(&text);
                prop_assert_eq!(digest.hex(), bare.to_lowercase());
            }
        }

        #[test]
        fn digests_sort_as_their_text(a: [u8; 32], b: [u8; 32]) {
            let (a, b) = (Digest::from_bytes(a), Digest::from_bytes(b));
            prop_assert_eq!(a.cmp(&b), a.hex().cmp(&b.hex()));
        }
    }
}
