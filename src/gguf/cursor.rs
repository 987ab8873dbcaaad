//! Reads numbers and strings from bytes that may lie about themselves.
//!
//! A length is compared with what is left before anything is done with it, so the worst a header can cause is an error.
//! Errors say at which byte of the file they are.

/// The longest string that is taken, in bytes: chat templates have some ten thousand, tokens some hundred.
const LONGEST_STRING: u64 = 16 << 20;

/// A place in the bytes of a file.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Returns how far it is, in bytes from the beginning of the file.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Returns how many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Returns the next bytes.
    pub(super) fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8], String> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest
            .get(..count)
            .ok_or_else(|| format!("{what} at byte {} takes {count} bytes, and {} are left", self.at, rest.len()))?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        let taken = self.take(N, what)?;
        let mut out = [0; N];
        out.copy_from_slice(taken);
        Ok(out)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// Returns the next string: its length, then that many bytes of UTF-8.
    pub(super) fn string(&mut self, what: &str) -> Result<&'a str, String> {
        let at = self.at;
        let length = self.u64(what)?;
        if length > LONGEST_STRING {
            return Err(format!("{what} at byte {at} claims {length} bytes, more than the {LONGEST_STRING} allowed"));
        }
        let bytes = self.take(length as usize, what)?;
        std::str::from_utf8(bytes).map_err(|_| format!("{what} at byte {at} is not UTF-8"))
    }
}
