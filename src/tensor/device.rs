//! Where arithmetic is done: the word of `--device`, and the device behind it.
//!
//! A program can be built with NVIDIA's or Apple's devices or without, and run on a machine that has them or not. `auto`
//! takes what there is; every other word is an order, and an order that cannot be carried out is an error that names what
//! is missing and how to get it, never a quiet way back to the CPU. What has no way to run on a GPU yet (training, routers from
//! hidden states) refuses such an order too.

use std::fmt;
use std::str::FromStr;

use candle_core::Device;
use serde::{Deserialize, Serialize};

use super::TensorError;

/// A device to compute on, as the user names it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum DeviceChoice {
    /// The first GPU that this program was built for and that the machine has, otherwise the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU, by its number among those that `CUDA_VISIBLE_DEVICES` leaves.
    Cuda(usize),
    /// Apple's GPU.
    Metal,
}

impl DeviceChoice {
    /// Says what keeps this program from ever using the device, whatever the machine; nothing if nothing does.
    pub fn check(self) -> Result<(), TensorError> {
        let missing = match self {
            Self::Cuda(_) if !cfg!(feature = "cuda") => Some("cuda"),
            Self::Metal if !cfg!(feature = "metal") => Some("metal"),
            _ => None,
        };
        let Some(feature) = missing else { return Ok(()) };
        Err(TensorError::Device {
            device: self.to_string(),
            reason: format!("this luthflow was built without `{feature}`"),
            help: format!("build it with `cargo build --release --features {feature}`, or leave `--device` out"),
        })
    }

    /// Opens the device.
    pub fn open(self) -> Result<Device, TensorError> {
        self.check()?;
        let failed = |error: candle_core::Error| TensorError::Device {
            device: self.to_string(),
            // candle adds a backtrace on further lines where the environment asks for one.
            reason: error.to_string().lines().next().unwrap_or_default().to_owned(),
            help: "look at `nvidia-smi` (a driver, a GPU of that number), or use `--device cpu`".into(),
        };
        match self {
            Self::Auto => Ok(found()),
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(index) => Device::new_cuda(index).map_err(failed),
            Self::Metal => Device::new_metal(0).map_err(failed),
        }
    }
}

/// Returns the first GPU that opens, otherwise the CPU.
fn found() -> Device {
    let cuda = cfg!(feature = "cuda").then(|| Device::new_cuda(0).ok()).flatten();
    let metal = || cfg!(feature = "metal").then(|| Device::new_metal(0).ok()).flatten();
    cuda.or_else(metal).unwrap_or(Device::Cpu)
}

/// Returns what a device adds to the name of the platform; nothing for the CPU, whose vector unit is in it already.
pub fn device_suffix(device: &Device) -> Option<&'static str> {
    match device {
        Device::Cpu => None,
        Device::Cuda(_) => Some("cuda"),
        Device::Metal(_) => Some("metal"),
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("`{text}` is no device; there are `auto`, `cpu`, `cuda`, `cuda:N` and `metal`");
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            "metal" => Ok(Self::Metal),
            _ => text.strip_prefix("cuda:").and_then(|index| index.parse().ok()).map(Self::Cuda).ok_or_else(unknown),
        }
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> Self {
        choice.to_string()
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_written_back() {
        for word in ["auto", "cpu", "cuda:0", "cuda:7", "metal"] {
            assert_eq!(word.parse::<DeviceChoice>().map(|choice| choice.to_string()), Ok(word.to_owned()));
        }
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
        for word in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"] {
            assert!(word.parse::<DeviceChoice>().is_err(), "{word}");
        }
    }

    #[test]
    fn a_device_this_program_was_not_built_for_is_refused_with_the_way_out() {
        for (choice, feature) in [(DeviceChoice::Cuda(1), "cuda"), (DeviceChoice::Metal, "metal")] {
            if let Err(error) = choice.check() {
                assert!(error.to_string().contains(feature), "{error}");
                assert!(error.help().is_some_and(|help| help.contains("--features")), "{error:?}");
            }
        }
        assert!(DeviceChoice::Cpu.open().unwrap().is_cpu());
    }
}
