//! Tokenizers that nobody should trust: what would fill the memory or end the program is found before a text is read.

use std::path::Path;

use luthflow::data::Tokenizer;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with a model and a tokenizer.
pub(crate) fn whole_folder() -> TempDir {
    let dir = TempDir::new().unwrap();
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/qwen3_tiny");
    for file in ["tied/config.json", "tied/model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        let from = tiny.join(file);
        fs_err::write(dir.path().join(from.file_name().unwrap()), fs_err::read(&from).unwrap()).unwrap();
    }
    dir
}

#[test]
fn a_tokenizer_that_blows_texts_up_is_refused() {
    let replace = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    let doubled = || vec![replace("a", "aa"); 60];
    let thousands = vec![replace("a", &"a".repeat(1000)); 3];
    for (part, value, words) in [
        ("normalizer", json!({"type": "Sequence", "normalizers": thousands}), "times longer"),
        ("normalizer", json!({"type": "Sequence", "normalizers": doubled()}), "times longer"),
        ("normalizer", json!({"type": "Prepend", "prepend": "x".repeat(10_000_000)}), "10000000 bytes"),
        ("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}), "cannot be read"),
        ("decoder", json!({"type": "Sequence", "decoders": doubled()}), "times longer"),
        ("normalizer", replace(" ", "\u{2581}"), ""),
    ] {
        let dir = whole_folder();
        let file = dir.path().join("tokenizer.json");
        let mut tokenizer: Value = serde_json::from_slice(&fs_err::read(&file).unwrap()).unwrap();
        tokenizer[part] = value;
        fs_err::write(&file, tokenizer.to_string()).unwrap();
        match Tokenizer::load(dir.path()) {
            Ok(_) => assert_eq!(words, ""),
            Err(error) => assert!(!words.is_empty() && error.to_string().contains(words), "{error}"),
        }
    }
}
