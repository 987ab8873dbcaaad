//! The tensors of a mixture of experts: which there are, and what each is put together from.
//!
//! They are visited in MergeKit's order, because noise is drawn on the way. A tensor of the result is one or more pieces,
//! one after the other; a piece is a tensor of one of the models, a router, or zeros.

use std::collections::BTreeSet;

use super::super::{OpError, Parent};
use super::family::Family;
use crate::spec::params::{MoeLayout, MoeParams};
use crate::tensor::{Declared, Dtype};

/// How many of many mistakes are listed.
const LISTED: usize = 8;

/// The sizes of the base.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) layers: usize,
    pub(super) width: usize,
    pub(super) inner: usize,
}

/// The models, and what is made of them.
pub(super) struct Weights<'a> {
    pub(super) params: &'a MoeParams,
    pub(super) family: Family,
    pub(super) base: &'a Parent<'a>,
    /// Shared experts come last.
    pub(super) experts: &'a [Parent<'a>],
    pub(super) sizes: Sizes,
    pub(super) dtype: Dtype,
}

/// The tensors of the result, and their pieces in the order in which they are made.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) declared: Vec<Declared>,
    pub(super) pieces: Vec<Piece>,
}

/// A part of a tensor of the result.
pub(super) struct Piece {
    pub(super) tensor: usize,
    /// The first number of it.
    pub(super) start: usize,
    pub(super) from: From,
}

/// What a piece is.
pub(super) enum From {
    Base(String),
    /// A tensor of an expert, and whether what it gives is added to the hidden state.
    Expert(usize, String, bool),
    Zeros(usize),
    Router(usize),
    SharedRouter(usize),
}

impl Plan {
    fn one(&mut self, name: String, dtype: Dtype, shape: &[usize], from: From) {
        self.pieces.push(Piece { tensor: self.declared.len(), start: 0, from });
        self.declared.push(Declared { name, dtype, shape: shape.to_vec() });
    }
}

impl Weights<'_> {
    /// Plans all tensors, or says what is missing or does not fit.
    pub(super) fn plan(&self) -> Result<Plan, OpError> {
        let mistakes = self.mistakes();
        if !mistakes.is_empty() {
            let head = format!("these models give no {}:", self.family.name());
            let more = mistakes.len().checked_sub(LISTED + 1).map(|more| format!("and {} more", more + 1));
            let lines = std::iter::once(head).chain(mistakes.into_iter().take(LISTED)).chain(more);
            let message = lines.collect::<Vec<_>>().join("\n  ");
            return Err(OpError::new(message).help("experts are models of the same shape as the base"));
        }
        let mut plan = Plan::default();
        let copied = |plan: &mut Plan, name: &str| {
            if let Some(view) = self.base.tensors.get(name) {
                plan.one(name.to_owned(), self.dtype, view.shape, From::Base(name.to_owned()));
            }
        };
        copied(&mut plan, "model.embed_tokens.weight");
        for layer in 0..self.sizes.layers {
            let prefix = format!("model.layers.{layer}.");
            let names = self.base.tensors.names().filter(|name| name.starts_with(&prefix) && !is_expert(name));
            let names: Vec<&str> = names.filter(|name| self.family.holds(name)).collect();
            for name in &names {
                copied(&mut plan, name);
                self.zeros(&mut plan, name);
            }
            if self.interleaved() {
                self.separate(&mut plan, layer);
            }
        }
        copied(&mut plan, "model.norm.weight");
        copied(&mut plan, "lm_head.weight");
        if !self.interleaved() {
            for layer in 0..self.sizes.layers {
                self.experts(&mut plan, layer);
            }
        }
        for layer in 0..self.sizes.layers {
            let (count, width) = (self.params.experts.len(), self.sizes.width);
            plan.one(self.router(layer), self.dtype, &[count, width], From::Router(layer));
            if self.family.routes_shared() {
                let name = format!("model.layers.{layer}.mlp.shared_expert_gate.weight");
                plan.one(name, self.dtype, &[1, width], From::SharedRouter(layer));
            }
        }
        Ok(plan)
    }

    /// MergeKit visits the experts of these architectures weight by weight, those of the others expert by expert.
    fn interleaved(&self) -> bool {
        matches!(self.family, Family::Deepseek | Family::Qwen2)
    }

    fn packed(&self) -> bool {
        self.family.layout(self.params.layout) == MoeLayout::Packed
    }

    fn router(&self, layer: usize) -> String {
        let block = if self.family == Family::Mixtral && !self.packed() { "block_sparse_moe" } else { "mlp" };
        format!("model.layers.{layer}.{block}.gate.weight")
    }

    /// Qwen2's attention has biases; models without them get zeros.
    fn zeros(&self, plan: &mut Plan, name: &str) {
        let Some(stem) = name.strip_suffix("_proj.weight").filter(|stem| !stem.ends_with('o')) else { return };
        let bias = format!("{stem}_proj.bias");
        if self.family != Family::Qwen2 || !name.contains(".self_attn.") || self.base.tensors.get(&bias).is_some() {
            return;
        }
        let rows = self.base.tensors.get(name).map_or(0, |view| view.shape[0]);
        plan.one(bias, self.dtype, &[rows], From::Zeros(rows));
    }

    fn shape(&self, part: &str) -> [usize; 2] {
        let Sizes { width, inner, .. } = self.sizes;
        if part == "down" { [width, inner] } else { [inner, width] }
    }

    fn source(expert: usize, layer: usize, part: &str) -> From {
        From::Expert(expert, format!("model.layers.{layer}.mlp.{part}_proj.weight"), part == "down")
    }

    /// The experts of a layer, expert by expert.
    fn experts(&self, plan: &mut Plan, layer: usize) {
        let Sizes { width, inner, .. } = self.sizes;
        let count = self.params.experts.len();
        // In the order in which MergeKit reads them, and draws noise.
        let order = if self.family == Family::Mixtral { ["gate", "down", "up"] } else { ["gate", "up", "down"] };
        if !self.packed() {
            for expert in 0..count {
                for part in order {
                    let name = self.expert_name(layer, expert, part);
                    plan.one(name, self.dtype, &self.shape(part), Self::source(expert, layer, part));
                }
            }
            return;
        }
        let first = plan.declared.len();
        let declared = |name: &str, shape: [usize; 3]| Declared {
            name: format!("model.layers.{layer}.mlp.experts.{name}"),
            dtype: self.dtype,
            shape: shape.to_vec(),
        };
        plan.declared.push(declared("gate_up_proj", [count, 2 * inner, width]));
        plan.declared.push(declared("down_proj", [count, width, inner]));
        for expert in 0..count {
            for part in order {
                let size = width * inner;
                let (tensor, start) = match part {
                    "gate" => (first, 2 * expert * size),
                    "up" => (first, (2 * expert + 1) * size),
                    _ => (first + 1, expert * size),
                };
                plan.pieces.push(Piece { tensor, start, from: Self::source(expert, layer, part) });
            }
        }
    }

    fn expert_name(&self, layer: usize, expert: usize, part: &str) -> String {
        match (self.family, part) {
            (Family::Mixtral, part) => {
                let part = match part {
                    "gate" => "w1",
                    "down" => "w2",
                    _ => "w3",
                };
                format!("model.layers.{layer}.block_sparse_moe.experts.{expert}.{part}.weight")
            }
            (_, part) => format!("model.layers.{layer}.mlp.experts.{expert}.{part}_proj.weight"),
        }
    }

    /// The experts of a layer, weight by weight, the shared one after the others.
    fn separate(&self, plan: &mut Plan, layer: usize) {
        if self.packed() {
            self.experts(plan, layer);
        }
        let count = self.params.experts.len();
        let shared = if self.family == Family::Qwen2 { "shared_expert" } else { "shared_experts" };
        for part in ["down", "gate", "up"] {
            let experts = if self.packed() { count..self.experts.len() } else { 0..self.experts.len() };
            for expert in experts {
                let name = if expert < count {
                    self.expert_name(layer, expert, part)
                } else {
                    format!("model.layers.{layer}.mlp.{shared}.{part}_proj.weight")
                };
                plan.one(name, self.dtype, &self.shape(part), Self::source(expert, layer, part));
            }
        }
    }

    /// Returns everything that is missing, too much, or of the wrong shape.
    fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        for name in self.base.tensors.names() {
            let known = self.family.holds(name) || is_expert(name) || name.ends_with("rotary_emb.inv_freq");
            if !known || layer_of(name).is_some_and(|layer| layer >= self.sizes.layers) {
                mistakes.push(format!("there is no place for `{name}` of `{}`", self.base.name));
            }
        }
        let mut wanted = vec!["model.embed_tokens.weight".to_owned(), "model.norm.weight".to_owned()];
        for layer in 0..self.sizes.layers {
            for part in ["q_proj", "k_proj", "v_proj", "o_proj"] {
                wanted.push(format!("model.layers.{layer}.self_attn.{part}.weight"));
            }
            wanted.extend(["input", "post_attention"].map(|it| format!("model.layers.{layer}.{it}_layernorm.weight")));
        }
        for name in wanted {
            match self.base.tensors.get(&name).map(|view| view.shape.is_empty()) {
                None => mistakes.push(format!("`{}` lacks tensor `{name}`", self.base.name)),
                Some(true) => mistakes.push(format!("`{name}` of `{}` is a single number", self.base.name)),
                Some(false) => {}
            }
        }
        let mut seen = BTreeSet::new();
        for expert in self.experts.iter().filter(|expert| seen.insert(expert.path)) {
            self.expert_mistakes(expert, &mut mistakes);
        }
        mistakes
    }

    fn expert_mistakes(&self, expert: &Parent<'_>, mistakes: &mut Vec<String>) {
        for layer in 0..self.sizes.layers {
            for part in ["gate", "up", "down"] {
                let name = format!("model.layers.{layer}.mlp.{part}_proj.weight");
                let wanted = self.shape(part);
                match expert.tensors.get(&name).map(|view| view.shape) {
                    None => mistakes.push(format!("`{}` lacks tensor `{name}`", expert.name)),
                    Some(shape) if shape == wanted => {}
                    Some(shape) => mistakes.push(format!("`{name}` of `{}` is {shape:?}, not {wanted:?}", expert.name)),
                }
            }
        }
        for name in expert.tensors.names().filter(|name| is_expert(name)) {
            let known = ["gate", "up", "down"].iter().any(|part| name.ends_with(&format!(".mlp.{part}_proj.weight")));
            if !known || layer_of(name).is_some_and(|layer| layer >= self.sizes.layers) {
                mistakes.push(format!("there is no place for `{name}` of `{}`", expert.name));
            }
        }
    }
}

/// Returns whether a tensor belongs to a feed-forward layer.
fn is_expert(name: &str) -> bool {
    name.contains(".mlp.")
}

fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("model.layers.")?.split('.').next()?.parse().ok()
}
