//! What a step needs to run alone in a test.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use crate::ops::{DeviceChoice, Inputs, OpCx, Progress};

struct Silent;

impl Progress for Silent {
    fn phase(&self, _: &str, _: Option<u64>, _: &'static str) {}
    fn position(&self, _: u64) {}
    fn note(&self, _: &str) {}
}

/// Gives `work` what a node without inputs sees that runs in a folder.
pub(super) fn in_folder<T>(folder: &Path, work: impl FnOnce(&OpCx<'_>) -> T) -> T {
    let (inputs, cancelled) = (Inputs::default(), AtomicBool::new(false));
    work(&OpCx {
        inputs: &inputs,
        out: folder,
        scratch: folder,
        checkpoint: None,
        memo: None,
        environment: &|_| None,
        threads: 1,
        device: DeviceChoice::Cpu,
        progress: &Silent,
        cancelled: &cancelled,
    })
}
