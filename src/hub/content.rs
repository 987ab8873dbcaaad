//! What a file outside holds, as whoever offers it says so: the digest that its bytes must have.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::sha1::Sha1;
use crate::digest::{Digest, file_digest};

/// The digest of a file, in the algorithm in which it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Our own, of an `https://` file or one on this machine.
    Blake3(Digest),
    /// What hubs name large files by.
    Sha256(String),
    /// What git names small files by: of `blob SIZE\0` and the bytes.
    Git(String),
}

impl fmt::Display for Content {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // As in a lockfile.
            Content::Blake3(digest) => digest.fmt(formatter),
            Content::Sha256(hex) => write!(formatter, "sha256:{hex}"),
            Content::Git(hex) => write!(formatter, "git:{hex}"),
        }
    }
}

impl FromStr for Content {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hex = |hex: &str, length: usize| {
            let fits = hex.len() == length && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
            if fits { Ok(hex.to_lowercase()) } else { Err(format!("`{text}` is no digest")) }
        };
        if let Some(rest) = text.strip_prefix("sha256:") {
            return hex(rest, 64).map(Content::Sha256);
        }
        if let Some(rest) = text.strip_prefix("git:") {
            return hex(rest, 40).map(Content::Git);
        }
        text.parse().map(Content::Blake3).map_err(|error| format!("`{text}` is no digest: {error}"))
    }
}

impl Content {
    /// Returns what stands for it in a key. What is known by BLAKE3 stands as a file of this machine does.
    pub fn digest(&self) -> Digest {
        match self {
            Content::Blake3(digest) => *digest,
            other => Digest::of(format!("file outside 1\n{other}").as_bytes()),
        }
    }

    /// Says whether a file holds just this.
    pub fn is_of(&self, path: &Path) -> std::io::Result<bool> {
        match self {
            Content::Blake3(wanted) => {
                file_digest(path).map(|(found, _)| found == *wanted).map_err(std::io::Error::other)
            }
            Content::Sha256(wanted) => {
                let mut sha = Sha256::new();
                each_block(path, |block| sha.update(block))?;
                Ok(hex(&sha.finalize()) == *wanted)
            }
            Content::Git(wanted) => {
                let mut sha = Sha1::new();
                sha.update(format!("blob {}\0", fs_err::metadata(path)?.len()).as_bytes());
                each_block(path, |block| sha.update(block))?;
                Ok(sha.hex() == *wanted)
            }
        }
    }
}

/// Returns bytes as lower-case hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn each_block(path: &Path, mut take: impl FnMut(&[u8])) -> std::io::Result<()> {
    let mut file = fs_err::File::open(path)?;
    let mut block = vec![0; 1 << 18];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(()),
            read => take(&block[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_compared_in_each_algorithm() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), "hello\n").unwrap();
        let digests = [
            "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03".to_owned(),
            "git:ce013625030ba8dba906f756967f9e9ca394464a".to_owned(),
            Digest::of(b"hello\n").hex(),
        ];
        for text in digests {
            let content: Content = text.parse().unwrap();
            assert_eq!(content.to_string(), text);
            assert!(content.is_of(file.path()).unwrap(), "{text}");
        }
        fs_err::write(file.path(), "hello").unwrap();
        assert!(
            !"git:ce013625030ba8dba906f756967f9e9ca394464a".parse::<Content>().unwrap().is_of(file.path()).unwrap()
        );
        assert!("git:..".parse::<Content>().is_err() && "md5:00".parse::<Content>().is_err());
    }
}
