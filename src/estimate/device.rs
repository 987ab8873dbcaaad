//! Devices by name: what their makers say they can do, and what share of it work like this gets.
//!
//! The share is one number a device and an assumption, said with every estimate. 0.40 of an H100's peak is 400 TFLOP/s, which is
//! what well-tuned trainings of models of this size report; the same share is taken for the others. luthflow itself has no
//! measured training on any of these GPUs, so `this`, which is measured, is the better answer where the device is present.

use serde::Serialize;

/// What computes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Device {
    /// The word of `--device`.
    pub name: String,
    /// What it is, in words.
    pub about: String,
    /// Operations a second in the number format of training, as its maker says or as a matrix product reaches.
    pub peak_flops: f64,
    /// The share of it that trainings and prompts reach.
    pub sustained_share: f64,
    /// Bytes of memory read a second.
    pub bandwidth: f64,
    /// Its memory in bytes, if that is known.
    pub memory: Option<f64>,
    /// Whether weights and results lie in the host's memory.
    pub is_host: bool,
    /// Whether the speeds were measured here and now.
    pub measured: bool,
}

impl Device {
    /// Returns the operations a second that trainings and prompts reach.
    pub fn sustained(&self) -> f64 {
        self.peak_flops * self.sustained_share
    }
}

/// What is found out about the device of this machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// What it is, in words.
    pub about: String,
    /// Operations a second of a matrix product.
    pub flops: f64,
    /// Bytes of memory read a second.
    pub bandwidth: f64,
    /// Its memory in bytes, if that is known.
    pub memory: Option<f64>,
    /// Whether it is the CPU.
    pub is_host: bool,
}

/// The word for the device of this machine.
pub const THIS: &str = "this";

/// The share of a plain matrix product that trainings and prompts reach on a device that was measured: two thirds on the CPU
/// (`docs/benchmarks.md`, training and inference).
const OF_PRODUCTS: f64 = 0.66;

const GB: f64 = 1e9;
const TERA: f64 = 1e12;

/// The devices that are known by name, each by its maker's data sheet: operations a second in bfloat16 without sparsity,
/// bytes a second, bytes.
const KNOWN: [(&str, &str, f64, f64, f64); 4] = [
    // NVIDIA H100 Tensor Core GPU data sheet, SXM5: 1,979 TFLOP/s bfloat16 with sparsity, half of it without; 3.35 TB/s; 80 GB.
    ("h100", "NVIDIA H100 SXM, 80 GB", 989.4 * TERA, 3350.0 * GB, 80.0 * GB),
    // NVIDIA A100 Tensor Core GPU data sheet, SXM4 80 GB: 312 TFLOP/s bfloat16; 2,039 GB/s; 80 GB.
    ("a100", "NVIDIA A100 SXM, 80 GB", 312.0 * TERA, 2039.0 * GB, 80.0 * GB),
    // NVIDIA Ada GPU architecture white paper, GeForce RTX 4090: 165.2 TFLOP/s bfloat16 with sums in f32; 1,008 GB/s; 24 GB.
    ("4090", "NVIDIA GeForce RTX 4090, 24 GB", 165.2 * TERA, 1008.0 * GB, 24.0 * GB),
    // Apple: M3 Max with 40 GPU cores and 128 GB, 400 GB/s. Apple names no operations; 40 cores of 128 units, two a clock
    // at 1.4 GHz, are 14.3 TFLOP/s in f32, and 16 bits are no faster.
    ("m3-max", "Apple M3 Max, 40 GPU cores, 128 GB", 14.3 * TERA, 400.0 * GB, 128.0 * GB),
];

/// The share of its peak that a named device reaches: 400 of an H100's 989 TFLOP/s.
const OF_PEAK: f64 = 400.0 / 989.4;

/// Returns the names of all devices.
pub fn names() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|known| known.0).chain([THIS])
}

/// Returns a device by its name; nothing for one that is not in the table.
pub fn named(name: &str) -> Option<Device> {
    let (name, about, peak_flops, bandwidth, memory) = *KNOWN.iter().find(|known| known.0 == name)?;
    Some(Device {
        name: name.to_owned(),
        about: about.to_owned(),
        peak_flops,
        sustained_share: OF_PEAK,
        bandwidth,
        memory: Some(memory),
        is_host: false,
        measured: false,
    })
}

/// Returns the device of this machine.
pub fn this(measured: Measured) -> Device {
    Device {
        name: THIS.to_owned(),
        about: measured.about,
        peak_flops: measured.flops,
        sustained_share: OF_PRODUCTS,
        bandwidth: measured.bandwidth,
        memory: measured.memory,
        is_host: measured.is_host,
        measured: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_h100_sustains_what_the_facts_of_luth_reckon_with() {
        assert!((named("h100").unwrap().sustained() / 400e12 - 1.0).abs() < 1e-9);
        assert!(named("h200").is_none());
        assert_eq!(names().collect::<Vec<_>>(), ["h100", "a100", "4090", "m3-max", "this"]);
    }
}
