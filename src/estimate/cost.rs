//! What one node costs.

use serde::Serialize;

use super::{Device, Figure};
use crate::plan::graph::Instance;
use crate::spec::params::{GradientCheckpointing, Op};

/// Writes a large count the way people say it.
pub(super) fn short(count: f64) -> String {
    match count {
        count if count >= 9.95e9 => format!("{:.0} G", count / 1e9),
        count if count >= 1e9 => format!("{:.1} G", count / 1e9),
        count if count >= 1e6 => format!("{:.0} M", count / 1e6),
        count => format!("{:.0} k", count / 1e3),
    }
}

/// What one node costs. Of a fresh one all is zero.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cost {
    /// What it does, in a few words.
    pub what: String,
    /// Tokens that go through a model.
    pub tokens: Figure,
    /// Operations, as the node itself counts them.
    pub flops: Figure,
    /// Operations that are done a second time to save memory.
    pub recomputed_flops: Figure,
    /// Bytes that stay in the cache.
    pub disk: Figure,
    /// Bytes that lie on disk while it runs, beside the result.
    pub scratch: Figure,
    /// The most memory of the host.
    pub host_memory: Figure,
    /// The most memory of the device; nothing where the host computes.
    pub device_memory: Figure,
    /// How long it takes.
    pub seconds: Figure,
    /// What is assumed, and how to make it exact; a sentence each.
    pub notes: Vec<String>,
    /// Why it does not fit the device or the machine; nothing if it does or if that is not known.
    pub fits: Option<String>,
}

impl Default for Cost {
    fn default() -> Self {
        Self::nothing()
    }
}

impl Cost {
    /// Returns no cost at all.
    pub fn nothing() -> Self {
        let zero = Figure::ZERO;
        Self {
            what: String::new(),
            tokens: zero,
            flops: zero,
            recomputed_flops: zero,
            disk: zero,
            scratch: zero,
            host_memory: zero,
            device_memory: zero,
            seconds: zero,
            notes: Vec::new(),
            fits: None,
        }
    }

    /// Returns a cost of which nothing is known but that no model computes.
    pub fn unknown(what: &str, note: &str) -> Self {
        let unknown = Figure::Unknown;
        let notes = vec![note.to_owned()];
        Self { what: what.into(), disk: unknown, host_memory: unknown, seconds: unknown, notes, ..Self::nothing() }
    }

    /// Returns a cost of which nothing is known.
    pub fn all_unknown(what: &str, note: &str) -> Self {
        let unknown = Figure::Unknown;
        let of_model = Self { tokens: unknown, flops: unknown, device_memory: unknown, ..Self::unknown(what, note) };
        Self { recomputed_flops: unknown, scratch: unknown, ..of_model }
    }

    /// Adds a sentence, once.
    pub fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// Adds some sentences, each once.
    pub(super) fn notes_of(&mut self, texts: impl IntoIterator<Item = String>) {
        for text in texts {
            self.note(text);
        }
    }

    /// Says why it does not fit into the memory of the device.
    pub(super) fn fit(&self, instance: &Instance, device: &Device) -> Option<String> {
        let needed = if device.is_host { self.host_memory } else { self.device_memory }.value()?;
        let memory = device.memory.filter(|memory| needed > *memory)?;
        let has = if device.is_host { "this machine has" } else { "the device has" };
        let (needed, memory) = (needed / 1e9, memory / 1e9);
        let mut ways = Vec::new();
        match &instance.op {
            Op::Sft(params) => {
                if params.micro_batch_size > 1 {
                    ways.push("lower `micro_batch_size`");
                }
                if params.gradient_checkpointing != GradientCheckpointing::Full {
                    ways.push("`gradient_checkpointing: true`");
                }
                ways.push("lower `sequence_len`");
                if params.lora.is_none() {
                    ways.push("`lora`");
                }
            }
            Op::Eval(_) => ways.extend(["lower `batch`", "lower `max_tokens`"]),
            _ => ways.push("a smaller model"),
        }
        Some(format!("needs ~{needed:.0} GB, {has} {memory:.0} GB: {}", ways.join(", ")))
    }
}
