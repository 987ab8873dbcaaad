//! The weights of a model while it is trained or run: values and, beside each, a buffer for its gradient.
//!
//! A parameter may be several tensors of the file, one below the other: query, key and value projections are one
//! parameter, because one large matrix product is faster than three small ones. Files keep the names they had.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use super::ModelError;

/// What a parameter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterKind {
    /// A matrix of weights.
    Matrix,
    /// A matrix with a row for each token: the embedding, the output layer.
    Table,
    /// The weight of a norm, one number for each column; weight decay leaves it alone.
    Norm,
    /// What a linear layer or a convolution adds; weight decay leaves it alone.
    Bias,
    /// The weights of a convolution, a few for each channel.
    Convolution,
    /// The lengths that an adapter gives to rows; weight decay pulls them as it does in transformers, which looks for other
    /// names.
    Magnitude,
}

impl ParameterKind {
    /// Says whether weight decay pulls such weights towards zero.
    pub fn decays(self) -> bool {
        matches!(self, Self::Matrix | Self::Table | Self::Convolution | Self::Magnitude)
    }
}

/// A tensor of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Part {
    /// Returns how many numbers it has.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Returns its shape as a vector or a matrix: the convolution weights `[channels, 1, width]` are `[channels, width]`.
    pub(crate) fn matrix_shape(&self) -> Vec<usize> {
        match self.shape.as_slice() {
            [rows, rest @ ..] if !rest.is_empty() => vec![*rows, rest.iter().product()],
            shape => shape.to_vec(),
        }
    }
}

/// What a parameter looks like, without its numbers.
#[derive(Debug, Clone)]
pub(crate) struct Outline {
    /// What it is.
    pub(crate) kind: ParameterKind,
    /// The tensors it consists of, one below the other, all of the same width.
    pub(crate) parts: Vec<Part>,
}

/// One or more tensors of a model, as one matrix.
#[derive(Debug)]
pub struct Parameter {
    outline: Outline,
    value: RwLock<Vec<f32>>,
    /// Empty until the first gradient is added.
    gradient: Mutex<Vec<f32>>,
    /// Whether it stays as it is, and no gradient of it is computed.
    frozen: AtomicBool,
}

impl Parameter {
    pub(crate) fn new(outline: Outline, value: Vec<f32>) -> Self {
        Self { outline, value: RwLock::new(value), gradient: Mutex::default(), frozen: AtomicBool::new(false) }
    }

    /// Returns what it is.
    pub fn kind(&self) -> ParameterKind {
        self.outline.kind
    }

    /// Returns the tensors it consists of, in the order of its numbers.
    pub fn parts(&self) -> &[Part] {
        &self.outline.parts
    }

    /// Returns the length of a row: that of a vector is all of it.
    pub(crate) fn columns(&self) -> usize {
        match self.outline.parts[0].shape.as_slice() {
            [] | [_] => self.outline.parts.iter().map(Part::count).sum(),
            [.., columns] => *columns,
        }
    }

    /// Returns its numbers, row by row.
    pub fn value(&self) -> RwLockReadGuard<'_, Vec<f32>> {
        self.value.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the gradient that was added up so far, in the order of the numbers; empty if there was none.
    pub fn gradient(&self) -> Vec<f32> {
        self.lock_gradient().clone()
    }

    /// Leaves it as it is from now on.
    pub(crate) fn freeze(&self) {
        self.frozen.store(true, Ordering::Relaxed);
    }

    /// Returns the buffer to add a gradient to; none if it stays as it is.
    pub(crate) fn gradient_buffer(&self) -> Option<MutexGuard<'_, Vec<f32>>> {
        if self.frozen.load(Ordering::Relaxed) {
            return None;
        }
        let mut gradient = self.lock_gradient();
        if gradient.is_empty() {
            gradient.resize(self.value().len(), 0.0);
        }
        Some(gradient)
    }

    /// Sets room aside for its gradient, before what comes and goes takes places between. No page of it is touched.
    pub fn reserve_gradient(&self) {
        if !self.frozen.load(Ordering::Relaxed) {
            let count = self.value().len();
            self.lock_gradient().reserve_exact(count);
        }
    }

    /// Forgets its gradient, and gives the memory back.
    pub fn forget_gradient(&self) {
        *self.lock_gradient() = Vec::new();
    }

    /// Changes the numbers, with their gradient at hand. Both are of one length, unless no gradient was added.
    pub fn update<R>(&self, change: impl FnOnce(&mut [f32], &mut [f32]) -> R) -> R {
        let mut value = self.value.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut value, &mut self.lock_gradient())
    }

    /// Fails unless every tensor got a gradient and all of it is finite.
    pub(crate) fn check_gradient(&self) -> Result<(), ModelError> {
        let gradient = self.lock_gradient();
        let mut start = 0;
        for part in &self.outline.parts {
            let name = || part.name.clone();
            let mine =
                gradient.get(start..start + part.count()).ok_or_else(|| ModelError::NoGradient { name: name() })?;
            if !mine.iter().all(|number| number.is_finite()) {
                return Err(ModelError::NotFinite { name: name() });
            }
            start += part.count();
        }
        Ok(())
    }

    fn lock_gradient(&self) -> MutexGuard<'_, Vec<f32>> {
        self.gradient.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
