//! GGUF files that lie: clear errors, soon, in little memory, and never a panic.

use std::path::Path;
use std::time::{Duration, Instant};

use luthflow::gguf::{GgufFile, import};
use luthflow::tensor::Dtype;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::op::repository;

/// Opens bytes as a file and imports it; the error if there is one.
fn read(bytes: &[u8]) -> Result<(), String> {
    let began = Instant::now();
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = (folder.path().join("model.gguf"), folder.path().join("out"));
    std::fs::write(&path, bytes).unwrap();
    std::fs::create_dir(&out).unwrap();
    let done = GgufFile::open(&path).and_then(|file| import(&file, &out, Dtype::F32, &|_| true));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?} for {} bytes", began.elapsed(), bytes.len());
    assert!(std::fs::read_dir(folder.path()).unwrap().count() == 2, "something was written elsewhere");
    match done {
        Ok(_) => Ok(()),
        Err(error) => {
            let message = error.to_string();
            assert!(message.contains(path.to_str().unwrap()), "the file is not named: {message}");
            Err(message)
        }
    }
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(repository()).join("tests/fixtures/gguf").join(name).join("model.gguf")).unwrap()
}

/// A file written by hand.
struct Made(Vec<u8>);

impl Made {
    fn new(tensors: u64, settings: u64) -> Self {
        Self(b"GGUF".to_vec()).u32(3).u64(tensors).u64(settings)
    }

    fn u32(mut self, number: u32) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn u64(mut self, number: u64) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn text(self, text: &str) -> Self {
        let mut longer = self.u64(text.len() as u64);
        longer.0.extend(text.as_bytes());
        longer
    }

    fn tensor(self, name: &str, sides: &[u64], kind: u32, offset: u64) -> Self {
        let named = self.text(name).u32(sides.len() as u32);
        sides.iter().fold(named, |made, side| made.u64(*side)).u32(kind).u64(offset)
    }

    fn data(mut self, bytes: usize) -> Self {
        self.0.resize(self.0.len().next_multiple_of(32) + bytes, 0);
        self
    }
}

#[test]
fn lies_are_found_before_anything_is_done() {
    let long = "x".repeat(300);
    let cases: Vec<(Made, &str)> = vec![
        (Made(b"GGU".to_vec()), "takes 4 bytes, and 3 are left"),
        (Made(b"GGML".to_vec()), "does not begin with GGUF"),
        (Made(b"GGUF".to_vec()).u32(1), "its version 1 is not 2 or 3"),
        (Made(b"GGUF".to_vec()).u32(3_u32.swap_bytes()), "big-endian"),
        (Made::new(1_000_000_000, 0), "claims 1000000000 tensors"),
        (Made::new(0, u64::MAX), "more than the"),
        (Made::new(200_000, 0), "the name of a tensor at byte 24"),
        (Made::new(0, 1).u64(1 << 63), "claims 9223372036854775808 bytes"),
        (Made::new(0, 1).u64(1 << 20), "takes 1048576 bytes, and 0 are left"),
        (Made::new(0, 1).text("a").u32(13), "setting `a` is of unknown type 13"),
        (Made::new(0, 1).text("a").u32(9).u32(9).u64(1), "is of type 9, which no array can have"),
        (Made::new(0, 1).text("a").u32(9).u32(8).u64(u64::MAX), "claims more items than 0 bytes can hold"),
        (Made::new(0, 1).text("a").u32(9).u32(10).u64(1 << 61), "claims more items"),
        (Made::new(0, 1).text("a").u32(7).u32(2), "the truth value at byte"),
        (Made::new(0, 2).text("a").u32(4).u32(1).text("a").u32(4).u32(1), "setting `a` occurs twice"),
        (Made::new(0, 1).text("general.alignment").u32(4).u32(3), "is not a power of two from 8"),
        (Made::new(0, 1).text("general.alignment").u32(4).u32(0), "is not a power of two from 8"),
        (Made::new(1, 0).tensor("", &[1], 0, 0), "has 0 bytes"),
        (Made::new(1, 0).tensor(&long, &[1], 0, 0), "has 300 bytes"),
        (Made::new(1, 0).tensor("a", &[], 0, 0), "it has 0 axes"),
        (Made::new(1, 0).tensor("a", &[1; 5], 0, 0), "it has 5 axes"),
        (Made::new(1, 0).tensor("a", &[0, 3], 0, 0), "an axis is empty"),
        (Made::new(1, 0).tensor("a", &[1 << 32, 1 << 32], 0, 0), "tensor `a`: it is too large"),
        (Made::new(1, 0).tensor("a", &[u64::MAX], 0, 0), "tensor `a`: it is too large"),
        (Made::new(1, 0).tensor("a", &[33], 8, 0), "its rows of 33 numbers are no whole blocks of Q8_0"),
        (Made::new(1, 0).tensor("a", &[256], 23, 0), "its type IQ4_XS cannot be read"),
        (Made::new(1, 0).tensor("a", &[256], 77, 0), "its type 77 is unknown"),
        (Made::new(1, 0).tensor("a", &[8], 0, 32), "it begins at byte 32 of the data, and 0 was to follow"),
        (Made::new(1, 0).tensor("a", &[8], 0, 0), "it takes 32 bytes from byte 64 of the file on, and 0 are there"),
        (Made::new(1, 0).tensor("a", &[1 << 40], 0, 0).data(64), "it takes 4398046511104 bytes"),
        (Made::new(2, 0).tensor("a", &[8], 0, 0).tensor("b", &[8], 0, 0).data(64), "tensor `b`: it begins at byte 0"),
        (Made::new(2, 0).tensor("a", &[8], 0, 0).tensor("a", &[8], 0, 32).data(64), "tensor `a` occurs twice"),
        (Made::new(1, 0).tensor("../../x", &[8], 0, 0).data(32), "`general.architecture` is missing"),
    ];
    for (made, part) in cases {
        let message = read(&made.0).unwrap_err();
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

/// Replaces a text that must be there, by one of the same length.
fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    let mut out = bytes.to_vec();
    out[at..at + to.len()].copy_from_slice(to.as_bytes());
    out
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    let cases = [
        ("qwen3", "qwen3", "mamba", "`general.architecture` is `mamba`; only llama, qwen2, qwen3, lfm2, gemma3"),
        ("qwen3", "qwen3.embedding_length", "qwen3.embedding_scales", "`qwen3.embedding_scales` is not known"),
        ("qwen3", "qwen3.block_count", "qwen2.block_count", "`qwen3.block_count` is missing"),
        ("qwen3", "blk.1.ffn_up", "../../ffn_up", "`blk.1.ffn_up.weight`"),
        ("qwen3", "output.weight", "inputs.weight", "tensor `inputs.weight`"),
        ("smollm", "smollm", "chatgl", "`tokenizer.ggml.pre` is `chatgl`; only gpt-2, smollm,"),
        ("smollm", "gpt2", "bert", "`tokenizer.ggml.model` is `bert`"),
        ("llama", "rope_freqs", "rope_short", "tensor `rope_short.weight`"),
    ];
    for (name, from, to, part) in cases {
        let message = read(&replaced(&fixture(name), from, to)).unwrap_err();
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

#[test]
fn sizes_that_disagree_with_tensors_are_refused() {
    let bytes = fixture("qwen3");
    for (key, number, part) in [
        ("qwen3.block_count", 1_u32, "it has no place in a qwen3 model"),
        ("qwen3.block_count", 3, "`blk.2."),
        ("qwen3.block_count", u32::MAX, "the number of layers is 4294967295"),
        ("qwen3.attention.head_count", 0, "the number of heads is 0"),
        ("qwen3.attention.head_count", 3, "do not divide"),
        ("qwen3.embedding_length", 1 << 30, "the embedding length is 1073741824"),
        ("qwen3.embedding_length", 17, "and the settings ask for"),
        ("qwen3.attention.key_length", 9, "a head is 9 wide"),
        ("tokenizer.ggml.eos_token_id", 302, "is 302, and there are 302 tokens"),
    ] {
        let at = bytes.windows(key.len()).position(|window| window == key.as_bytes()).unwrap() + key.len() + 4;
        let mut changed = bytes.clone();
        changed[at..at + 4].copy_from_slice(&number.to_le_bytes());
        let message = read(&changed).unwrap_err();
        assert!(message.contains(part), "{key} {number}: {message}");
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn any_bytes_are_read_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..400), version in 0_u32..5) {
        let _ = read(&bytes);
        let mut begun = b"GGUF".to_vec();
        begun.extend(version.to_le_bytes());
        begun.extend(&bytes);
        let _ = read(&begun);
    }

    #[test]
    fn counts_that_lie_are_read_to_an_end(tensors in any::<u64>(), settings in 0_u64..9, rest in any::<[u8; 64]>()) {
        let mut made = Made::new(tensors >> 40, settings).0;
        made.extend(rest);
        let _ = read(&made);
    }
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn a_file_cut_short_is_refused(at in any::<Index>()) {
        let bytes = fixture("smollm");
        // The last byte of the last tensor may be followed by padding.
        let cut = at.index(bytes.len() - 64);
        prop_assert!(read(&bytes[..cut]).is_err());
    }

    #[test]
    fn a_file_with_other_bytes_is_read_to_an_end(
        flips in proptest::collection::vec((any::<Index>(), 0_u32..8), 1..6), near in any::<bool>(),
    ) {
        let mut bytes = fixture("smollm");
        // Half of the time in the first settings, where a byte does more harm.
        let range = if near { 1200 } else { bytes.len() };
        for (at, bit) in flips {
            bytes[at.index(range)] ^= 1 << bit;
        }
        let _ = read(&bytes);
    }
}
