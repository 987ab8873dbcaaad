//! The weights of a model folder, whether they lie in one file or in many.
//!
//! A sharded model says in `model.safetensors.index.json` which file holds which tensor. That file comes from outside
//! and names other files, so a name is only taken when it is a plain file name: no folder, no `..`. Where both a single
//! file and an index exist the single file wins, as in transformers.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::map::regular;
use super::{TensorError, TensorFile, View};

/// The name of the weights of a model that fit in one file.
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// The name of the list of the weight files of a sharded model.
pub const WEIGHTS_INDEX_FILE: &str = "model.safetensors.index.json";

/// Weights as PyTorch used to write them. Such a file is a program for Python's pickle machine.
const PICKLES: [&str; 4] =
    ["pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth", "pytorch_model-00001-of-00001.bin"];

/// The longest index that is read, in bytes.
const MAX_INDEX: u64 = 100_000_000;

/// The weights of a model, by name.
#[derive(Debug)]
pub struct ModelTensors {
    files: Vec<TensorFile>,
    /// Which file holds a tensor.
    places: BTreeMap<String, usize>,
}

impl ModelTensors {
    /// Returns the same with the tensors of one more file. None may have a name that is there already.
    pub fn and(mut self, path: &Path) -> Result<Self, TensorError> {
        let file = TensorFile::open(path)?;
        for name in file.names() {
            if self.places.insert(name.to_owned(), self.files.len()).is_some() {
                let reason = "another file of the model has a tensor of this name".into();
                return Err(TensorError::Tensor { file: path.to_owned(), tensor: name.to_owned(), reason });
            }
        }
        self.files.push(file);
        Ok(self)
    }

    /// Returns the names of the tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Returns the names that begin so, sorted.
    pub fn names_with(&self, start: &str) -> impl Iterator<Item = &str> {
        let from = (std::ops::Bound::Included(start), std::ops::Bound::Unbounded);
        let start = start.to_owned();
        self.places
            .range::<str, _>(from)
            .map(|(name, _)| name.as_str())
            .take_while(move |name| name.starts_with(&start))
    }

    /// Returns a tensor, if it is there.
    pub fn get(&self, name: &str) -> Option<View<'_>> {
        self.files[*self.places.get(name)?].get(name)
    }

    /// Returns the file a tensor lies in, and the place of its first byte there.
    pub fn place(&self, name: &str) -> Option<(&Path, u64)> {
        let file = &self.files[*self.places.get(name)?];
        Some((file.path(), file.start(name)?))
    }

    /// Has a tensor's numbers `from .. to` brought into memory.
    pub fn expect(&self, name: &str, from: usize, to: usize) {
        if let Some(place) = self.places.get(name) {
            self.files[*place].expect(name, from, to);
        }
    }

    /// Lets go of the memory behind a tensor's numbers `from .. to`.
    pub fn release(&self, name: &str, from: usize, to: usize) {
        if let Some(place) = self.places.get(name) {
            self.files[*place].release(name, from, to);
        }
    }

    /// Returns the files the weights lie in.
    pub fn files(&self) -> &[TensorFile] {
        &self.files
    }
}

/// Opens the weights in a Hugging Face model folder.
pub fn model_tensors(dir: &Path) -> Result<ModelTensors, TensorError> {
    let single = dir.join(WEIGHTS_FILE);
    if single.is_file() {
        let file = TensorFile::open(&single)?;
        let places = file.names().map(|name| (name.to_owned(), 0)).collect();
        return Ok(ModelTensors { files: vec![file], places });
    }
    let index = dir.join(WEIGHTS_INDEX_FILE);
    if index.is_file() {
        return open_shards(dir, &index);
    }
    for name in PICKLES {
        if dir.join(name).is_file() {
            return Err(TensorError::Pickle { dir: dir.to_owned(), name: name.to_owned() });
        }
    }
    Err(TensorError::NoWeights { dir: dir.to_owned() })
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

fn open_shards(dir: &Path, index: &Path) -> Result<ModelTensors, TensorError> {
    let bad = |reason: String| TensorError::Index { file: index.to_owned(), reason };
    regular(index)?;
    let size = fs_err::metadata(index)?.len();
    if size > MAX_INDEX {
        return Err(bad(format!("{size} bytes are more than the {MAX_INDEX} that are allowed")));
    }
    let weight_map = serde_json::from_slice::<Index>(&fs_err::read(index)?)
        .map_err(|error| bad(format!("not a list of weight files: {error}")))?
        .weight_map;
    let mut opened: BTreeMap<&str, usize> = BTreeMap::new();
    let mut files = Vec::new();
    let mut places = BTreeMap::new();
    for (tensor, shard) in &weight_map {
        let place = if let Some(place) = opened.get(shard.as_str()) {
            *place
        } else {
            let path = inside(dir, shard)
                .ok_or_else(|| bad(format!("tensor `{tensor}` is in `{shard}`, which is not a plain file name")))?;
            files.push(TensorFile::open(&path)?);
            opened.insert(shard, files.len() - 1);
            files.len() - 1
        };
        if files[place].get(tensor).is_none() {
            return Err(bad(format!("tensor `{tensor}` should be in `{shard}` and is not")));
        }
        places.insert(tensor.clone(), place);
    }
    Ok(ModelTensors { files, places })
}

/// Returns the path of `name` in `dir`, if it is the name of a file right there.
fn inside(dir: &Path, name: &str) -> Option<PathBuf> {
    let mut components = Path::new(name).components();
    let plain = matches!(components.next(), Some(Component::Normal(only)) if only == name);
    (plain && components.next().is_none() && !name.contains('\\')).then(|| dir.join(name))
}
