//! An adapter's folder as PEFT writes it.

use std::ops::Deref;
use std::path::Path;

use serde_json::Value;

use super::OpError;
use super::adapter::{PREFIX, WEIGHTS};
use super::config::CONFIG;
use crate::tensor::{Declared, Dtype, TensorError, TensorWriter};

/// A tensor of an adapter, by its path in the model.
pub(in crate::ops) struct AdapterTensor<'a, N> {
    pub(in crate::ops) name: &'a str,
    pub(in crate::ops) shape: &'a [usize],
    pub(in crate::ops) numbers: N,
}

/// Writes an adapter in f32, as PEFT keeps adapters that are trained, whatever the type of their model.
pub(in crate::ops) fn save_adapter<N: Deref<Target = Vec<f32>>>(
    out: &Path,
    config: &Value,
    mut tensors: Vec<AdapterTensor<'_, N>>,
) -> Result<(), OpError> {
    fs_err::create_dir_all(out)?;
    write_config(out, config)?;
    tensors.sort_by(|a, b| a.name.cmp(b.name));
    let name = |tensor: &AdapterTensor<'_, N>| format!("{PREFIX}{}", tensor.name);
    let declare = |tensor| Declared { name: name(tensor), dtype: Dtype::F32, shape: tensor.shape.to_vec() };
    let declared: Vec<Declared> = tensors.iter().map(declare).collect();
    let mut writer = TensorWriter::create(&out.join(WEIGHTS), &declared).map_err(unwritable)?;
    for tensor in &tensors {
        writer.write_f32(&name(tensor), &tensor.numbers).map_err(unwritable)?;
    }
    writer.finish().map_err(unwritable)
}

/// Writes `adapter_config.json`.
pub(super) fn write_config(out: &Path, config: &Value) -> Result<(), OpError> {
    let mut text = serde_json::to_string_pretty(config).map_err(|error| OpError::io(out, error))?;
    text.push('\n');
    Ok(fs_err::write(out.join(CONFIG), text)?)
}

/// Returns the error of weights that cannot be written.
pub(super) fn unwritable(error: TensorError) -> OpError {
    OpError::caused("cannot write the adapter", error)
}
