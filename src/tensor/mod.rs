//! Weights on disk: safetensors files in and out, and the number formats they are stored in.
//!
//! Models come from strangers, so nothing a file says about itself is believed: the header is bounded, read once, and
//! held against the size of the file before any tensor is handed out. After that a tensor is a slice of a memory map,
//! and a model of any size is merged or hashed without being held in memory.
//!
//! The `safetensors` crate supplies the format (its header types); reading and writing are ours, because the crate
//! keeps the last of two tensors with one name without a word, names neither file nor tensor in most of its errors,
//! and writes in an order of its own from tensors that are all in memory.

mod device;
mod dtype;
mod error;
mod file;
mod header;
mod map;
mod model;
mod sharded;
mod writer;

pub use device::{DeviceChoice, device_suffix};
pub use dtype::{Dtype, round_bf16, round_f16};
pub use error::TensorError;
pub use file::{TensorFile, View};
pub(crate) use map::{map, release};
pub use model::{ModelTensors, WEIGHTS_FILE, WEIGHTS_INDEX_FILE, model_tensors};
pub use sharded::ShardedWriter;
pub use writer::{Declared, TensorWriter};
