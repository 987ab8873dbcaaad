//! The weights of a model as they lie in its files.
//!
//! Matrices stay where they are, in the number format they are stored in, and are shared with every other process that
//! runs the model. What is small (norms, biases, convolutions) is widened once.

use std::path::Path;

use super::product::StoredRows;
use crate::model::ModelError;
use crate::model::config::Config;
use crate::model::engine::ParameterId;
use crate::model::folder::{check_tensors, tensors_of};
use crate::model::parameter::{Outline, ParameterKind};
use crate::tensor::ModelTensors;

/// The weights of a model.
#[derive(Debug)]
pub(super) struct Weights {
    tensors: ModelTensors,
    outlines: Vec<Outline>,
    /// The numbers of what is no matrix, by id.
    small: Vec<Vec<f32>>,
}

/// The same, found once for many uses.
#[derive(Debug)]
pub(super) struct Found<'a> {
    parameters: Vec<Parameter<'a>>,
}

/// One or more tensors, one below the other.
#[derive(Debug)]
pub(super) struct Parameter<'a> {
    /// The rows of a matrix.
    pub(super) parts: Vec<StoredRows<'a>>,
    /// The length of a row.
    pub(super) columns: usize,
    /// The numbers of what is no matrix.
    pub(super) numbers: &'a [f32],
}

impl Weights {
    /// Opens the weights in a folder. Every tensor there must be one of the model's.
    pub(super) fn open(dir: &Path, config: &Config, outlines: Vec<Outline>) -> Result<Self, ModelError> {
        let tensors = tensors_of(dir, config)?;
        check_tensors(dir, &tensors, config, &outlines)?;
        let small = |outline: &Outline| {
            let mut numbers = Vec::new();
            if !matches!(outline.kind, ParameterKind::Matrix | ParameterKind::Table) {
                for view in outline.parts.iter().filter_map(|part| tensors.get(&part.name)) {
                    numbers.extend(view.to_f32());
                }
            }
            if outline.kind == ParameterKind::Norm && config.norm_offset {
                for weight in &mut numbers {
                    *weight += 1.0;
                }
            }
            numbers
        };
        let small = outlines.iter().map(small).collect();
        Ok(Self { tensors, outlines, small })
    }

    /// Finds all parameters.
    pub(super) fn find(&self) -> Found<'_> {
        let mut parameters = Vec::with_capacity(self.outlines.len());
        for (outline, numbers) in self.outlines.iter().zip(&self.small) {
            let views = outline.parts.iter().filter_map(|part| self.tensors.get(&part.name));
            let parts = views.map(|view| StoredRows { dtype: view.dtype, bytes: view.bytes }).collect();
            let columns = outline.parts[0].shape.last().copied().unwrap_or(1);
            parameters.push(Parameter { parts, columns, numbers });
        }
        Found { parameters }
    }
}

impl Parameter<'_> {
    /// Returns how many rows the matrix has.
    pub(super) fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.bytes.len() / (self.columns * part.dtype.size())).sum()
    }
}

impl<'a> Found<'a> {
    /// Returns a parameter.
    pub(super) fn get(&self, id: ParameterId) -> &Parameter<'a> {
        &self.parameters[id.0]
    }

    /// Returns the numbers of a parameter that is no matrix.
    pub(super) fn numbers(&self, id: ParameterId) -> &'a [f32] {
        self.parameters[id.0].numbers
    }
}
