//! What a running node may see: its inputs, a folder to write into, and a way to say how far it is.
//!
//! There is no cache, no terminal and no clock in here on purpose. What a node writes below [`OpCx::out`] becomes its
//! artifact, byte for byte, so nothing that differs between two equal runs may be written there.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;
use serde::{Deserialize, Serialize};

use super::{DeviceChoice, OpError};

/// What a running node may see and use.
pub struct OpCx<'a> {
    /// The artifacts of the nodes it reads.
    pub inputs: &'a Inputs,
    /// The empty folder that becomes the artifact.
    pub out: &'a Path,
    /// An empty folder beside it for what is needed meanwhile.
    pub scratch: &'a Path,
    /// A folder that outlives a killed run of this very node and is empty or absent in its first; nothing if this run is
    /// not to go on with another.
    pub checkpoint: Option<&'a Path>,
    /// A folder for what any node can compute again and would rather not, each file named by the digest of what it was
    /// computed from; nothing if this run is to find out everything anew.
    pub memo: Option<&'a Path>,
    /// Looks a variable of the environment up.
    pub environment: &'a (dyn Fn(&str) -> Option<OsString> + Sync),
    /// How many threads it may use; results never depend on it.
    pub threads: usize,
    /// What it may compute on.
    pub device: DeviceChoice,
    /// Where it says how far it is.
    pub progress: &'a dyn Progress,
    /// Set when the user wants it to stop.
    pub cancelled: &'a AtomicBool,
}

impl OpCx<'_> {
    /// Opens the device to compute on.
    pub(super) fn open_device(&self) -> Result<Device, OpError> {
        self.device.open().map_err(|error| {
            let help = error.help().unwrap_or_default().to_owned();
            OpError::new(error.to_string()).help(help)
        })
    }

    /// Fails if the user asked for a GPU, for work that has no way to run on one yet. `auto` asks for none.
    pub(super) fn on_cpu_alone(&self, work: &str) -> Result<(), OpError> {
        match self.device {
            DeviceChoice::Auto | DeviceChoice::Cpu => Ok(()),
            DeviceChoice::Cuda(_) | DeviceChoice::Metal => {
                let device = self.device;
                let help = "run this node without `--device`, or the whole with `--device auto`, which takes a GPU for \
                            what can use one";
                Err(OpError::new(format!("{work} runs on the CPU only, and not on {device}")).help(help))
            }
        }
    }

    /// Returns an error once the user wants the node to stop. Called between units of work.
    pub fn check_cancelled(&self) -> Result<(), OpError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(OpError::new("interrupted"));
        }
        Ok(())
    }
}

/// The artifacts a node reads, by slot (`model`, `data[1]`). A slot that gathers a sweep holds one for every instance.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Inputs(pub BTreeMap<String, Vec<InputArtifact>>);

/// One artifact, or one output of it, that a node reads.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InputArtifact {
    /// The node instance it comes from: `merged[t=0.6]`.
    pub name: String,
    /// What it is about, for tables and legends: for scores the model instance that was scored, otherwise `name`.
    pub label: String,
    /// The sweep point of that instance, and of everything it was made from: `{"t": 0.6}`. Empty without a sweep.
    pub axes: BTreeMap<String, serde_json::Value>,
    /// The folder, to be read and never written. In the slot `files` of a source: the file to bring in, and `name` is
    /// what it is to be called.
    pub path: PathBuf,
    /// In the slot `files` of a source: what the file's content was when the source was looked up, as BLAKE3 in hex, or
    /// as a hub gives it for a file that does not lie on this machine, whose `path` is an address. What is brought in
    /// must still be that. Of scores, and of what a selection chose: the artifact of the model. Nothing for everything else: an
    /// artifact does not change.
    #[serde(default)]
    pub digest: Option<String>,
    /// Whether it comes from a `select`. Then `label` and `axes` are those of the instance that was chosen.
    #[serde(default)]
    pub chosen: bool,
}

impl Inputs {
    /// Returns the only artifact of a slot.
    pub fn one(&self, slot: &str) -> Result<&InputArtifact, OpError> {
        match self.many(slot) {
            [only] => Ok(only),
            all => Err(OpError::new(format!("slot `{slot}` holds {} artifacts instead of one", all.len()))),
        }
    }

    /// Returns all artifacts of a slot, in graph order.
    pub fn many(&self, slot: &str) -> &[InputArtifact] {
        self.0.get(slot).map_or(&[], Vec::as_slice)
    }

    /// Returns the artifacts of the slots `name[0]`, `name[1]`, …, one after the other.
    pub fn list(&self, name: &str) -> impl Iterator<Item = &InputArtifact> {
        (0..).map_while(move |i| self.0.get(&format!("{name}[{i}]"))).flatten()
    }
}

/// Where a node says how far it is. Calls are cheap; the receiver decides how often it shows something.
pub trait Progress: Sync {
    /// Begins a phase (`training`, `hashing`) of `total` units, unknown if `None`. Ends the phase before it.
    fn phase(&self, name: &str, total: Option<u64>, unit: &'static str);
    /// Says that `done` units of the phase are done.
    fn position(&self, done: u64);
    /// Says something beside the bar: `loss 3.21`.
    fn note(&self, text: &str);
    /// Says what the user should know though the node goes on: it stays on the screen.
    fn warn(&self, text: &str) {
        self.note(text);
    }
}

/// What a node answers when it succeeds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Figures worth a place in the lockfile and in tables: `fr.bits_per_byte`, `rows_out`. Deterministic ones only.
    pub metrics: BTreeMap<String, f64>,
    /// Figures about this very run, that differ between two equal ones: `tokens_per_second`. Never in the lockfile.
    pub measured: BTreeMap<String, f64>,
    /// What beside the CPU it was computed on (`cuda`), which stands in the record with the platform: other devices give
    /// other last bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}
