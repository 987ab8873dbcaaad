//! A model whose every operation is candle's: what the fused engine is held against.
//!
//! Written to be obviously right, not to be fast: the table of all logits exists, weights are variables of the graph. It
//! shares with the fused engine the wiring and the place of documents, and no arithmetic.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Var};

use super::causal_lm::CausalLm;
use super::composed::{AdapterTensors, Composed};
use super::engine::{Engine, Frame};
use super::packed::Packed;
use super::passes::Pass;
use super::{ModelError, Parameter};

/// A model whose every operation is candle's.
pub struct Reference<'a> {
    model: &'a CausalLm,
    /// What is trained.
    trained: Vec<Var>,
    blocks: Composed<'a>,
}

impl CausalLm {
    /// Returns the model with its present weights on a device, composed of candle's operations.
    pub fn reference(&self, device: &Device) -> std::result::Result<Reference<'_>, ModelError> {
        let variables = |parameters: &[Arc<Parameter>]| {
            parameters.iter().map(|parameter| variable(parameter, device)).collect::<Result<Vec<Var>>>()
        };
        let weights = variables(self.parameters())?;
        let tensors = weights.iter().map(|weight| weight.as_tensor().clone()).collect();
        let is_trained = |(parameter, _): &(&Arc<Parameter>, Var)| {
            self.beside.is_none() || self.place_among_trained(parameter).is_some()
        };
        let trained = if self.adapters.is_some() {
            variables(self.trained_parameters())?
        } else {
            self.parameters().iter().zip(weights).filter(is_trained).map(|(_, weight)| weight).collect()
        };
        Ok(Reference { model: self, trained, blocks: Composed::new(tensors, device, DType::F32) })
    }
}

fn variable(parameter: &Parameter, device: &Device) -> Result<Var> {
    let value = parameter.value();
    let columns = parameter.columns();
    let shape = if columns == value.len() { vec![columns] } else { vec![value.len() / columns, columns] };
    Var::from_slice(&value, shape, device)
}

impl<'a> Reference<'a> {
    /// Returns the blocks with the adapters of a pass.
    fn blocks(&self, dropout: Option<u64>) -> Composed<'a> {
        let Some(active) = self.model.active(dropout) else { return self.blocks.with(Vec::new()) };
        let tensors: Vec<_> = self.trained.iter().map(|one| one.as_tensor().clone()).collect();
        self.blocks.with(AdapterTensors::of(active, &tensors, self.model.parameters().len()))
    }

    /// Returns the logits of all tokens, `[tokens, vocab_size]` row by row.
    pub fn logits(&self, packed: &Packed) -> std::result::Result<Vec<f32>, ModelError> {
        let arch = self.model.arch();
        let frame = self.model.frame(packed.places(self.model.config().vocab_size)?);
        let x = arch.forward(&self.blocks(None), &packed.ids, &frame)?;
        Ok(self.blocks.project(&x, arch.head)?.flatten_all()?.to_vec1()?)
    }

    /// Returns the summed loss and the gradient of what [`Pass`] makes of it, by parameter that is trained; the marks are those of
    /// [`CausalLm::add_gradients`]. A weight without a gradient is an error.
    pub fn gradients(
        &self,
        packed: &Packed,
        trained: &[bool],
        pass: Pass,
    ) -> std::result::Result<(f64, Vec<Vec<f32>>), ModelError> {
        let arch = self.model.arch();
        let (places, labels) = self.model.labelled(packed, trained)?;
        let frame = Frame { noise: pass.noise, ..self.model.frame(places) };
        let (x, ends) = arch.forward_to_exits(&self.blocks(pass.dropout), &packed.ids, &frame)?;
        let loss = self.blocks.cross_entropy(&x, arch.head, pass.objective(&labels))?;
        let mut root = loss.root;
        for (x, head, objective) in self.model.ends(ends, pass, &labels) {
            root = (root + self.blocks.cross_entropy(&x, head, objective)?.root)?;
        }
        let mut store = root.backward()?;
        let mut gradients = Vec::new();
        for (weight, parameter) in self.trained.iter().zip(self.model.trained_parameters()) {
            let name = || parameter.parts()[0].name.clone();
            let gradient = store.remove(weight).ok_or_else(|| ModelError::NoGradient { name: name() })?;
            gradients.push(gradient.flatten_all()?.to_vec1()?);
        }
        Ok((loss.sum, gradients))
    }
}
