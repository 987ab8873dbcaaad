//! What lets a killed training go on: everything it is made of, whole or not at all.
//!
//! A checkpoint is a folder `step-000000120` with `tensors.safetensors` (weights and moments), the logs so far and
//! `state.json`, which holds the digests of the others. It is written beside its place, through to the disk, and renamed;
//! then the one before goes. One that does not fit its digests is passed over, and the training begins anew: the folder
//! belongs to the node's key, so what lies in it was made of the same settings and inputs, by the same program.
//!
//! A checkpoint is only for what may go wrong. One that cannot be written (the disk is full) is told, what is half written
//! makes room again, the one before stays, and the training goes on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::optim::{Array, Kept, Optimizer};
use super::state::State;
use crate::digest::file_digest;
use crate::model::Parameter;
use crate::ops::OpError;
use crate::spec::params::SftParams;
use crate::tensor::{Declared, Dtype, TensorError, TensorFile, TensorWriter};

const TENSORS: &str = "tensors.safetensors";
const STATE: &str = "state.json";
const BEGINNING: &str = "step-";
/// What is being written.
const UNFINISHED: &str = "unfinished";

/// `state.json`.
#[derive(Serialize, Deserialize)]
struct Record {
    version: u32,
    state: State,
    /// The digest of each file beside it.
    files: BTreeMap<String, String>,
}

const VERSION: u32 = 1;

/// Where a training keeps checkpoints, and when.
pub(super) struct Checkpoints {
    /// Nothing if this run keeps none.
    folder: Option<PathBuf>,
    steps: Option<usize>,
    interval: Option<Duration>,
    last: Instant,
}

/// A checkpoint that was found whole.
pub(super) struct Found {
    pub(super) folder: PathBuf,
    pub(super) state: State,
}

impl Checkpoints {
    /// Begins to keep checkpoints in a folder that outlives this process.
    pub(super) fn new(folder: Option<&Path>, params: &SftParams) -> Self {
        let minutes = params.checkpoint_minutes;
        Self {
            folder: folder.map(Path::to_owned),
            steps: params.checkpoint_steps,
            interval: (minutes > 0.0).then(|| Duration::try_from_secs_f64(minutes * 60.0).unwrap_or(Duration::MAX)),
            last: Instant::now(),
        }
    }

    /// Says whether it is time for one.
    pub(super) fn due(&self, step: usize) -> bool {
        let by_steps = self.steps.is_some_and(|steps| step.is_multiple_of(steps));
        let by_time = self.interval.is_some_and(|interval| self.last.elapsed() >= interval);
        self.folder.is_some() && (by_steps || by_time)
    }

    /// Returns the latest checkpoint that is whole.
    pub(super) fn latest(&self) -> Result<Option<Found>, OpError> {
        let Some(folder) = &self.folder else { return Ok(None) };
        for folder in kept(folder)?.into_iter().rev() {
            if let Some(state) = read_state(&folder) {
                return Ok(Some(Found { folder, state }));
            }
        }
        Ok(None)
    }

    /// Writes a checkpoint, in place of the one before. The next one is due as if this one had been written, even where it
    /// could not be.
    pub(super) fn save(
        &mut self,
        state: &State,
        optimizer: &Optimizer,
        parameters: &[Arc<Parameter>],
        logs: &[PathBuf],
    ) -> Result<(), OpError> {
        let saved = self.replace(state, optimizer, parameters, logs);
        self.last = Instant::now();
        if let (Err(_), Some(root)) = (&saved, &self.folder) {
            // What cannot be removed either is no worse than before.
            let _ = remove(&root.join(UNFINISHED));
        }
        saved
    }

    fn replace(
        &self,
        state: &State,
        optimizer: &Optimizer,
        parameters: &[Arc<Parameter>],
        logs: &[PathBuf],
    ) -> Result<(), OpError> {
        let Some(root) = &self.folder else { return Ok(()) };
        let failed =
            |error: Box<dyn std::error::Error + Send + Sync>| OpError::caused("cannot write a checkpoint", error);
        let folder = root.join(UNFINISHED);
        write(&folder, state, optimizer, parameters, logs).map_err(failed)?;
        let place = root.join(format!("{BEGINNING}{:09}", state.step));
        remove(&place)?;
        fs_err::rename(&folder, &place)?;
        sync(root)?;
        for older in kept(root)?.into_iter().filter(|older| *older != place) {
            remove(&older)?;
        }
        Ok(())
    }
}

impl Found {
    /// Gives weights and moments back. Nothing if they do not fit, which leaves both in between.
    pub(super) fn restore(&self, optimizer: &mut Optimizer, parameters: &[Arc<Parameter>]) -> Option<()> {
        let tensors = TensorFile::open(&self.folder.join(TENSORS)).ok()?;
        let give = |name: &str| {
            let view = tensors.get(name)?;
            Some(if view.dtype == Dtype::U8 { Kept::U8(view.bytes.to_vec()) } else { Kept::F32(view.to_f32()) })
        };
        optimizer.restore(parameters, self.state.step as u64, give)
    }
}

/// Returns the folders of checkpoints, the earliest first.
fn kept(folder: &Path) -> Result<Vec<PathBuf>, OpError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.starts_with(BEGINNING)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Returns the state of a checkpoint, if all its files are what they were.
fn read_state(folder: &Path) -> Option<State> {
    let record: Record = serde_json::from_slice(&fs_err::read(folder.join(STATE)).ok()?).ok()?;
    let whole = |(name, digest): (&String, &String)| {
        file_digest(&folder.join(name)).is_ok_and(|(found, _)| found.hex() == *digest)
    };
    (record.version == VERSION && record.files.iter().all(whole)).then_some(record.state)
}

fn write(
    folder: &Path,
    state: &State,
    optimizer: &Optimizer,
    parameters: &[Arc<Parameter>],
    logs: &[PathBuf],
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    remove(folder)?;
    fs_err::create_dir_all(folder)?;
    write_tensors(&folder.join(TENSORS), optimizer, parameters)?;
    let mut files = BTreeMap::new();
    let mut names = vec![TENSORS.to_owned()];
    for log in logs {
        let name = log.file_name().unwrap_or_default();
        fs_err::copy(log, folder.join(name))?;
        names.push(name.to_string_lossy().into_owned());
    }
    for name in names {
        let path = folder.join(&name);
        sync(&path)?;
        files.insert(name, file_digest(&path)?.0.hex());
    }
    let record = Record { version: VERSION, state: state.clone(), files };
    fs_err::write(folder.join(STATE), serde_json::to_vec(&record)?)?;
    sync(&folder.join(STATE))?;
    sync(folder)?;
    Ok(())
}

fn write_tensors(path: &Path, optimizer: &Optimizer, parameters: &[Arc<Parameter>]) -> Result<(), TensorError> {
    let mut declared = Vec::new();
    optimizer.keep(parameters, |name, array| {
        let (dtype, count) = match array {
            Array::F32(numbers) => (Dtype::F32, numbers.len()),
            Array::U8(numbers) => (Dtype::U8, numbers.len()),
        };
        declared.push(Declared { name: name.to_owned(), dtype, shape: vec![count] });
        Ok::<(), TensorError>(())
    })?;
    let mut writer = TensorWriter::create(path, &declared)?;
    optimizer.keep(parameters, |name, array| match array {
        Array::F32(numbers) => writer.write_f32(name, numbers),
        Array::U8(numbers) => writer.write(name, numbers),
    })?;
    writer.finish()
}

/// Writes the weights that are trained, in f32, whole or not at all.
pub(super) fn write_weights(path: &Path, parameters: &[Arc<Parameter>]) -> Result<(), OpError> {
    let name = |index: usize| format!("{index:05}");
    let declare = |(index, parameter): (usize, &Arc<Parameter>)| Declared {
        name: name(index),
        dtype: Dtype::F32,
        shape: vec![parameter.value().len()],
    };
    let declared: Vec<Declared> = parameters.iter().enumerate().map(declare).collect();
    let unfinished = path.with_extension(UNFINISHED);
    let failed = |error: TensorError| OpError::caused("cannot keep the best weights", error);
    let mut writer = TensorWriter::create(&unfinished, &declared).map_err(failed)?;
    for (index, parameter) in parameters.iter().enumerate() {
        writer.write_f32(&name(index), &parameter.value()).map_err(failed)?;
    }
    writer.finish().map_err(failed)?;
    sync(&unfinished)?;
    Ok(fs_err::rename(&unfinished, path)?)
}

/// Takes weights back that [`write_weights`] wrote.
pub(super) fn read_weights(path: &Path, parameters: &[Arc<Parameter>]) -> Result<(), OpError> {
    let failed = |error: TensorError| OpError::caused("cannot read the best weights", error);
    let tensors = TensorFile::open(path).map_err(failed)?;
    for (index, parameter) in parameters.iter().enumerate() {
        let kept = tensors.get(&format!("{index:05}")).map(|view| view.to_f32()).unwrap_or_default();
        let fits = parameter.update(|value, _| {
            let fits = value.len() == kept.len();
            if fits {
                value.copy_from_slice(&kept);
            }
            fits
        });
        if !fits {
            return Err(OpError::new(format!("the best weights in {} are damaged", path.display())));
        }
    }
    Ok(())
}

/// Removes a folder, if there is one.
pub(super) fn remove(folder: &Path) -> std::io::Result<()> {
    if folder.exists() { fs_err::remove_dir_all(folder) } else { Ok(()) }
}

/// Waits until a file or a folder is on the disk.
fn sync(path: &Path) -> std::io::Result<()> {
    if path.is_dir() && !cfg!(unix) { Ok(()) } else { fs_err::File::open(path)?.sync_all() }
}
