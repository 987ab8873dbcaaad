//! A model folder in Hugging Face layout becomes a GGUF file.
//!
//! The mirror of [`super::import`]: checked first, then written piece by piece. Weights that do not fit the format asked
//! for (infinite ones, or too large for half precision) are an error, since what would come of them is no number.

use std::path::Path;

use rayon::prelude::*;

use super::block::Block;
use super::config;
use super::error::GgufError;
use super::layout::{Change, ROPE_DIVISORS, Slot, layout};
use super::metadata;
use super::mixture::Quantisation;
use super::shape::Shape;
use super::tokenizer_reader;
use super::vocabulary::{self, Vocabulary};
use super::writer::{Declared, GgufWriter, Settings, Written};
use crate::tensor::{ModelTensors, View, model_tensors};

/// Numbers encoded between two looks at whether to stop.
const SEGMENT: usize = 1 << 22;
/// Numbers one thread encodes at a time.
const PIECE: usize = 1 << 14;
/// The version of the block formats, as llama.cpp counts it.
const QUANTISATION_VERSION: u32 = 2;
const HEAD: &str = "lm_head.weight";
const EMBEDDING: &str = "model.embed_tokens.weight";

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// How many tensors there are in each format.
    pub tensors: std::collections::BTreeMap<Block, usize>,
    /// How many numbers they hold.
    pub parameters: u64,
}

/// Writes the model in folder `dir` as the GGUF file `to`. `goes_on` is told how many numbers are done, and says whether
/// to go on.
pub fn export(
    dir: &Path,
    to: &Path,
    quantisation: Quantisation,
    name: Option<&str>,
    goes_on: &dyn Fn(u64) -> bool,
) -> Result<Exported, GgufError> {
    let shape = config::read(dir)?;
    let vocabulary = tokenizer_reader::read(dir, shape.family, shape.vocab)?;
    let weights = model_tensors(dir)?;
    let slots = layout(&shape);
    check_tensors(dir, &shape, &weights, &slots)?;
    let divisors = shape.rope.divisors(shape.theta, shape.head_width);
    let declared = declare(&shape, &slots, quantisation, divisors.as_deref());
    let mut tensors = std::collections::BTreeMap::new();
    for tensor in &declared {
        *tensors.entry(tensor.block).or_default() += 1;
    }
    let settings = settings(&shape, &vocabulary, quantisation, name);
    let mut writer = GgufWriter::create(to, &settings, &declared)?;
    if let Some(divisors) = &divisors {
        let bytes: Vec<u8> = divisors.iter().flat_map(|divisor| divisor.to_le_bytes()).collect();
        writer.write(ROPE_DIVISORS, &bytes)?;
    }
    let mut parameters = 0;
    for slot in &slots {
        // It was there when all were checked.
        let Some(view) = weights.get(&slot.folder) else { continue };
        let copier = Copier { dir, slot, view, block: quantisation.block(&shape, slot) };
        copier.copy(&mut writer, &mut |numbers| {
            parameters += numbers;
            goes_on(parameters)
        })?;
        weights.release(&slot.folder, 0, view.count());
    }
    writer.finish()?;
    Ok(Exported { tensors, parameters })
}

fn declare(shape: &Shape, slots: &[Slot], quantisation: Quantisation, divisors: Option<&[f32]>) -> Vec<Declared> {
    let rope = divisors.map(|divisors| Declared {
        name: ROPE_DIVISORS.to_owned(),
        block: Block::F32,
        shape: vec![divisors.len()],
    });
    let tensor = |slot: &Slot| Declared {
        name: slot.gguf.clone(),
        block: quantisation.block(shape, slot),
        shape: slot.file_shape(),
    };
    rope.into_iter().chain(slots.iter().map(tensor)).collect()
}

fn settings(shape: &Shape, vocabulary: &Vocabulary, quantisation: Quantisation, name: Option<&str>) -> Settings {
    let text = |text: &str| Written::Text(text.to_owned());
    let mut settings: Settings = vec![
        ("general.architecture".into(), text(shape.family.architecture())),
        ("general.type".into(), text("model")),
    ];
    settings.extend(name.map(|name| ("general.name".into(), text(name))));
    settings.extend(metadata::write(shape));
    settings.push(("general.file_type".into(), Written::U32(quantisation.file_type())));
    if quantisation.is_quantised() {
        settings.push(("general.quantization_version".into(), Written::U32(QUANTISATION_VERSION)));
    }
    settings.extend(vocabulary::write(vocabulary));
    settings
}

/// Fails unless the tensors of a folder are those of the model, in their shapes.
fn check_tensors(dir: &Path, shape: &Shape, weights: &ModelTensors, slots: &[Slot]) -> Result<(), GgufError> {
    let bad = |tensor: &str, reason: String| GgufError::tensor(dir, tensor, reason);
    for slot in slots {
        let view = weights.get(&slot.folder).ok_or_else(|| bad(&slot.folder, "it is missing".into()))?;
        if view.shape != slot.shape {
            let (found, expected) = (view.shape, &slot.shape);
            return Err(bad(&slot.folder, format!("its shape is {found:?}, and config.json asks for {expected:?}")));
        }
    }
    let known: std::collections::BTreeSet<&str> = slots.iter().map(|slot| slot.folder.as_str()).collect();
    for name in weights.names().filter(|name| !known.contains(name)) {
        let same = || match (weights.get(HEAD), weights.get(EMBEDDING)) {
            (Some(head), Some(table)) => head.dtype == table.dtype && head.bytes == table.bytes,
            _ => false,
        };
        // Some tied models are stored with a copy of the embedding.
        if name != HEAD || !same() {
            return Err(bad(name, format!("it has no place in a {} model", shape.family.model_type())));
        }
    }
    Ok(())
}

/// A tensor on its way.
struct Copier<'a> {
    dir: &'a Path,
    slot: &'a Slot,
    view: View<'a>,
    block: Block,
}

impl Copier<'_> {
    fn copy(&self, writer: &mut GgufWriter, goes_on: &mut dyn FnMut(u64) -> bool) -> Result<(), GgufError> {
        let (rows, row) = self.slot.rows();
        let (segment, piece) = ((SEGMENT / row).max(1), (PIECE / row).max(1));
        for from in (0..rows).step_by(segment) {
            let to = rows.min(from + segment);
            let pieces: Vec<usize> = (from..to).step_by(piece).collect();
            let encode = |first: &usize| self.encode(*first, to.min(first + piece));
            let encoded = pieces.par_iter().map(encode).collect::<Result<Vec<_>, _>>()?;
            for bytes in encoded {
                writer.write(&self.slot.gguf, &bytes)?;
            }
            if !goes_on(((to - from) * row) as u64) {
                return Err(GgufError::Stopped);
            }
        }
        Ok(())
    }

    /// Encodes the rows `first .. end` of the file's tensor.
    fn encode(&self, first: usize, end: usize) -> Result<Vec<u8>, GgufError> {
        let (rows, row) = self.slot.rows();
        let mut numbers = vec![0.0; (end - first) * row];
        if let Change::Interleaved { .. } = self.slot.change {
            for (at, out) in numbers.chunks_exact_mut(row).enumerate() {
                self.view.read_f32(self.slot.change.row_of_folder(first + at, rows) * row, out);
            }
        } else {
            self.view.read_f32(first * row, &mut numbers);
        }
        if self.slot.change == Change::PlusOne {
            for number in &mut numbers {
                *number += 1.0;
            }
        }
        let bad = |reason: String| GgufError::tensor(self.dir, &self.slot.folder, reason);
        if let Some(number) = numbers.iter().find(|number| !self.block.holds(**number)) {
            return Err(bad(format!("it holds {number}, which does not fit {}", self.block.name())));
        }
        let mut bytes = Vec::new();
        self.block.encode(&numbers, &mut bytes).map_err(bad)?;
        Ok(bytes)
    }
}
