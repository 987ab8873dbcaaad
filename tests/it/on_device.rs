//! Models as a GPU runs them, on the one device that every machine has: all that is not the CPU's own engine is composed
//! of candle's operations, and what those compute does not depend on where.

use std::path::{Path, PathBuf};

use candle_core::Device;
use luthflow::model::{CausalLm, OnDevice, Packed};

use crate::tiny::largest_difference;

/// One tiny model for every shape of every family.
fn folders() -> Vec<PathBuf> {
    let all = fs_err::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models")).unwrap();
    all.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
}

fn texts(vocabulary: usize) -> Packed {
    let mut packed = Packed::default();
    for (number, length) in [1, 9, 23, 2].into_iter().enumerate() {
        let ids: Vec<u32> = (0..length).map(|i| ((i * 31 + number * 7 + 3) % vocabulary) as u32).collect();
        packed.push(&ids);
    }
    packed
}

#[test]
fn scores_are_those_of_the_cpu_engine() {
    let folders = folders();
    assert!(folders.len() >= 15);
    for folder in folders {
        let (fused, composed) = (CausalLm::load(&folder).unwrap(), OnDevice::load(&folder, &Device::Cpu).unwrap());
        let packed = texts(fused.config().vocab_size);
        let difference = largest_difference(&fused.log_probs(&packed).unwrap(), &composed.log_probs(&packed).unwrap());
        assert!(difference <= 2e-5, "{}: {difference}", folder.display());
    }
}
