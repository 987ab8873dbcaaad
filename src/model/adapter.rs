//! LoRA: thin matrices beside linear layers, trained while the layers stay as they are (Hu et al. 2021).
//!
//! Where a layer gives `W x`, one with an adapter gives `W x + s B A dropout(x)`; with magnitudes (DoRA, Liu et al. 2024)
//! each row of `W + s B A` is brought to a length that is learned, and its own length counts as a constant in gradients, as
//! in PEFT. A parameter may be several layers of the file, and each has an adapter of its own: files name them apart.
//!
//! A starts as PEFT's, even between ±1/√inputs (Kaiming with a = √5), B at zero, magnitudes at the lengths of the rows of W.
//! All that is random is counted, not drawn one after the other: number `i` of the A of adapter `n` is
//! `even(mixed(mixed(seed, START), n), i)`, so neither threads nor resumptions change a bit.

use std::ops::Range;
use std::sync::Arc;

use super::CausalLm;
use super::kernel::adapter::{Dropout, Rows, row_lengths};
use super::kernel::noise::{bits, even};
use super::parameter::{Outline, Parameter, ParameterKind, Part};

/// The place in the stream of the node's seed that A starts from. Places of batches are far below.
const START: u64 = u64::MAX;

/// What is the same for all adapters of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoraSettings {
    /// Rows of A and columns of B.
    pub rank: usize,
    /// What the product of the two is multiplied by.
    pub scale: f32,
    /// The share of the numbers of `x` that is left out in training.
    pub dropout: f32,
    /// Whether the lengths of rows are learned apart.
    pub dora: bool,
    /// What decides A.
    pub seed: u64,
}

/// The matrices beside one linear layer of the file.
#[derive(Debug, Clone)]
pub struct Adapter {
    pub(super) number: usize,
    /// The rows of the parameter that belong to the layer.
    pub(super) rows: Range<usize>,
    module: String,
    pub(super) down: Arc<Parameter>,
    pub(super) up: Arc<Parameter>,
    pub(super) magnitude: Option<Arc<Parameter>>,
}

impl Adapter {
    /// Returns the path of the layer: `model.layers.0.self_attn.q_proj`.
    pub fn module(&self) -> &str {
        &self.module
    }

    /// Returns A, B and, with DoRA, the magnitudes.
    pub fn parameters(&self) -> impl Iterator<Item = &Arc<Parameter>> {
        [&self.down, &self.up].into_iter().chain(&self.magnitude)
    }

    fn new(number: usize, part: &Part, rows: Range<usize>, weight: &[f32], settings: &LoraSettings) -> Self {
        let module = module_of(part).to_owned();
        let (outputs, inputs, rank) = (part.shape[0], part.shape[1], settings.rank);
        let parameter = |kind, end: &str, shape: Vec<usize>, value: Vec<f32>| {
            let part = Part { name: format!("{module}.{end}"), shape };
            Arc::new(Parameter::new(Outline { kind, parts: vec![part] }, value))
        };
        let seed = bits(bits(settings.seed, START), number as u64);
        let bound = 1.0 / (inputs as f32).sqrt();
        let start: Vec<f32> = (0..rank * inputs).map(|place| bound * even(seed, place as u64)).collect();
        let down = parameter(ParameterKind::Matrix, "lora_A.weight", vec![rank, inputs], start);
        let up = parameter(ParameterKind::Matrix, "lora_B.weight", vec![outputs, rank], vec![0.0; outputs * rank]);
        let magnitude = settings.dora.then(|| {
            let lengths = row_lengths(Rows { weight, inputs, up: &[], down: &[], scale: 0.0 });
            parameter(ParameterKind::Magnitude, "lora_magnitude_vector", vec![outputs], lengths)
        });
        Self { number, rows, module, down, up, magnitude }
    }
}

/// The adapters of a model.
#[derive(Debug)]
pub(super) struct Adapters {
    pub(super) settings: LoraSettings,
    /// For each parameter of the model.
    by_parameter: Vec<Arc<[Adapter]>>,
    trained: Vec<Arc<Parameter>>,
}

impl Adapters {
    /// Returns those of a parameter.
    pub(super) fn of(&self, parameter: usize) -> &Arc<[Adapter]> {
        &self.by_parameter[parameter]
    }
}

/// Adapters in a pass through the model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Active<'a> {
    pub(super) adapters: &'a Adapters,
    /// What decides the numbers that are left out, if any are.
    dropout: Option<u64>,
}

impl Active<'_> {
    /// Returns what an adapter leaves out of its input, if anything.
    pub(super) fn dropout(&self, adapter: &Adapter) -> Option<Dropout> {
        let share = self.adapters.settings.dropout;
        let seed = self.dropout.filter(|_| share > 0.0)?;
        Some(Dropout { share, seed: bits(seed, adapter.number as u64) })
    }
}

impl CausalLm {
    /// Returns the paths of the layers that can have an adapter: all linear ones but the output layer.
    pub fn linear_modules(&self) -> impl Iterator<Item = &str> {
        self.linear_parameters().flat_map(|(_, parameter)| parameter.parts().iter().map(module_of))
    }

    fn linear_parameters(&self) -> impl Iterator<Item = (usize, &Arc<Parameter>)> {
        let linear = |(_, parameter): &(usize, &Arc<Parameter>)| parameter.kind() == ParameterKind::Matrix;
        self.parameters().iter().enumerate().filter(linear)
    }

    /// Puts an adapter beside each chosen linear layer, and freezes everything else: it is trained no more, and gets no
    /// gradients. The model computes what it computed, until the adapters learn.
    pub fn attach(&mut self, settings: LoraSettings, chosen: impl Fn(&str) -> bool) {
        let mut by_parameter = vec![Arc::from([]); self.parameters().len()];
        let mut trained = Vec::new();
        let mut number = 0;
        for (id, parameter) in self.linear_parameters() {
            let value = parameter.value();
            let (mut row, mut found) = (0, Vec::new());
            for part in parameter.parts() {
                let rows = row..row + part.shape[0];
                row = rows.end;
                if chosen(module_of(part)) {
                    let weight = &value[rows.start * part.shape[1]..rows.end * part.shape[1]];
                    found.push(Adapter::new(number, part, rows, weight, &settings));
                    number += 1;
                }
            }
            trained.extend(found.iter().flat_map(Adapter::parameters).cloned());
            by_parameter[id] = found.into();
        }
        self.parameters().iter().for_each(|parameter| parameter.freeze());
        self.adapters = Some(Adapters { settings, by_parameter, trained });
    }

    /// Returns the adapters, in the order of the layers.
    pub fn adapters(&self) -> impl Iterator<Item = &Adapter> {
        self.adapters.iter().flat_map(|adapters| adapters.by_parameter.iter().flat_map(|these| these.iter()))
    }

    /// Returns what training changes: the adapters if there are any, exits and branches if the rest is frozen, otherwise all
    /// weights.
    pub fn trained_parameters(&self) -> &[Arc<Parameter>] {
        match (&self.adapters, &self.beside) {
            (Some(adapters), _) => &adapters.trained,
            (None, Some(beside)) => beside,
            (None, None) => self.parameters(),
        }
    }

    /// Returns the adapters for a pass, if there are any.
    pub(super) fn active(&self, dropout: Option<u64>) -> Option<Active<'_>> {
        self.adapters.as_ref().map(|adapters| Active { adapters, dropout })
    }
}

/// Returns the path of a tensor's layer.
fn module_of(part: &Part) -> &str {
    part.name.strip_suffix(".weight").unwrap_or(&part.name)
}
