//! Language models: what a folder of weights computes, and how its weights are to change.
//!
//! A block of a transformer (norm, rotary embedding, attention, gated activation, output layer with loss) is written
//! once, and an architecture in [`arch`] only wires blocks. Blocks exist three times, behind the seam [`engine`]:
//!
//! * [`fused`] runs on the CPU and is what training and scoring use. Its blocks are custom ops of candle around the
//!   plain loops of [`kernel`], recorded on a tape of their own. Weights are no part of it: a block's backward pass adds
//!   the gradient of its weights to a buffer beside them and hands on only the gradient of its input. candle's own way
//!   (weights as variables, a gradient for every node, the sum of two gradients in a third table) takes three times the
//!   memory and a third of the speed.
//! * [`infer`] only runs a model, on the CPU: over weights as they lie in their files, and with what was computed for the
//!   tokens before.
//! * [`composed`] is made of candle's differentiable operations alone and runs on any device that candle knows. It is
//!   short and obviously right, so tests hold the fused engine against it ([`Reference`]), and a GPU runs it
//!   ([`OnDevice`]), in training too ([`twin`]).
//!
//! A trap on the way: candle's fused `rms_norm`, `softmax_last_dim` and `rope` have no backward pass and say nothing
//! about it; a training run with them leaves weights as they were. No file here may call them.
//!
//! Everything is computed in f32 and depends on neither the number of threads nor on how documents are packed
//! together. Left out: mixtures of experts, images.

mod adapter;
mod angles;
mod arch;
mod backbone;
mod causal_lm;
mod composed;
mod config;
mod early_exit;
mod engine;
mod error;
mod flops;
mod folder;
mod fused;
mod heap;
mod infer;
mod kernel;
mod on_device;
mod packed;
mod parameter;
mod passes;
mod reference;
mod twin;

pub use adapter::{Adapter, LoraSettings};
pub use backbone::Through;
pub use causal_lm::CausalLm;
pub use config::{Activation, Architecture, Config, LayerKind, Rotary, Scaling, ShortConvolution, StoredDtype};
pub use early_exit::{Branches, EarlyExit};
pub use engine::{Noise, Recompute};
pub use error::ModelError;
pub use flops::PassCosts;
pub use infer::{Asking, LanguageModel, Scored, SequenceId, Session};
pub use on_device::OnDevice;
pub use packed::Packed;
pub use parameter::{Parameter, ParameterKind, Part};
pub use passes::{Losses, Pass, Weigh};
pub use reference::Reference;

pub use crate::tensor::DeviceChoice;

pub(crate) use arch::{parameters_of, parameters_with_exits};
pub(crate) use folder::save_weights;
pub(crate) use heap::keep_freed;
pub(crate) use kernel::lanes::{Kind as UnitKind, Unit, vectorised};
pub(crate) use kernel::matrix;
pub(crate) use kernel::noise::bits as mixed;
pub(crate) use parameter::Outline;
