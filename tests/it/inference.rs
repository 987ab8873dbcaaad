//! Continuing texts: what is kept for the tokens before gives the numbers that computing everything again would give.

use std::path::{Path, PathBuf};

use luthflow::model::{CausalLm, LanguageModel, Packed};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/qwen3_tiny/tied")
}

#[test]
fn feeding_gives_the_logits_of_the_last_token() {
    let model = LanguageModel::load(&fixture()).unwrap();
    let whole = CausalLm::load(&fixture()).unwrap();
    let mut session = model.session();
    let (a, b) = (session.start(), session.start());
    session.feed(&[(a, &[5, 6])]).unwrap();
    let logits = session.feed(&[(b, &[9, 8, 7]), (a, &[4])]).unwrap();
    let width = model.config().vocab_size;
    for (text, found) in [[9, 8, 7], [5, 6, 4]].iter().zip(logits.chunks_exact(width)) {
        let all = whole.logits(&Packed { ids: text.to_vec(), lengths: vec![3] }).unwrap();
        assert_close(found, &all[2 * width..]);
    }
}

fn assert_close(found: &[f32], expected: &[f32]) {
    let size = expected.iter().fold(0f32, |size, x| size.max(x.abs()));
    let far = found.iter().zip(expected).fold(0f32, |far, (a, b)| far.max((a - b).abs()));
    assert!(far <= 1e-5 * size, "{far} off at a size of {size}");
}
