//! A GGUF file becomes a model folder in Hugging Face layout.
//!
//! Everything is checked before anything is written: every tensor of the architecture is there in its shape, and no other.
//! Weights are decoded piece by piece, in the order `model.safetensors` lists them, and let go of; memory stays small
//! whatever the size of the model. Each number depends on its place alone, so threads leave no trace.

use std::path::Path;

use rayon::prelude::*;

use super::config;
use super::error::GgufError;
use super::file::{GgufFile, Place};
use super::layout::{Change, ROPE_DIVISORS, Slot, layout};
use super::metadata;
use super::shape::{Rope, Shape};
use super::tokenizer_file::{self, write_json};
use super::vocabulary;
use crate::tensor::{Declared, Dtype, TensorWriter, WEIGHTS_FILE};

/// Numbers decoded between two looks at whether to stop.
const SEGMENT: usize = 1 << 22;
/// Numbers one thread decodes at a time.
const PIECE: usize = 1 << 15;

/// What was imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// How many tensors there are.
    pub tensors: usize,
    /// How many numbers they hold.
    pub parameters: u64,
}

/// Writes a model into an empty folder, its weights as `dtype`. `goes_on` is told how many numbers are done, and says
/// whether to go on.
pub fn import(file: &GgufFile, dir: &Path, dtype: Dtype, goes_on: &dyn Fn(u64) -> bool) -> Result<Imported, GgufError> {
    let shape = metadata::read(file)?;
    let vocabulary = vocabulary::read(file, shape.family, shape.vocab)?;
    vocabulary.check().map_err(|reason| GgufError::format(file.path(), reason))?;
    let mut slots = layout(&shape);
    check_tensors(file, &shape, &slots)?;
    slots.sort_by(|a, b| a.folder.cmp(&b.folder));
    tokenizer_file::write(&vocabulary, shape.positions, dir)?;
    write_json(&dir.join(config::CONFIG_FILE), &config::write(&shape, vocabulary.named(), dtype))?;
    let declare = |slot: &Slot| Declared { name: slot.folder.clone(), dtype, shape: slot.shape.clone() };
    let declared: Vec<Declared> = slots.iter().map(declare).collect();
    let mut writer = TensorWriter::create(&dir.join(WEIGHTS_FILE), &declared)?;
    let mut done = 0;
    for slot in &slots {
        // It was there when all were checked.
        let Some(place) = file.place(&slot.gguf) else { continue };
        copy(file, slot, place, dtype, &mut writer, &mut |numbers| {
            done += numbers;
            goes_on(done)
        })?;
        file.release(place);
    }
    writer.finish()?;
    Ok(Imported { tensors: slots.len(), parameters: done })
}

/// Returns the `config.json` that a file's folder would have, but for the numbers of a few tokens. Nothing but settings is read.
pub fn configuration(file: &GgufFile) -> Result<serde_json::Value, GgufError> {
    Ok(config::write(&metadata::read(file)?, config::NamedTokens::default(), Dtype::BF16))
}

/// Fails unless the tensors of a file are those of the model, in their shapes.
fn check_tensors(file: &GgufFile, shape: &Shape, slots: &[Slot]) -> Result<(), GgufError> {
    let bad = |tensor: &str, reason: String| GgufError::tensor(file.path(), tensor, reason);
    for slot in slots {
        let place = file.place(&slot.gguf).ok_or_else(|| bad(&slot.gguf, "it is missing".into()))?;
        let expected = slot.file_shape();
        if place.shape != expected {
            return Err(bad(
                &slot.gguf,
                format!("its shape is {:?}, and the settings ask for {expected:?}", place.shape),
            ));
        }
        if slot.rows().1 != place.row() && place.block.is_quantised() {
            return Err(bad(&slot.gguf, "it is a bias in blocks, whose numbers cannot change places".into()));
        }
    }
    let known: std::collections::BTreeSet<&str> = slots.iter().map(|slot| slot.gguf.as_str()).collect();
    let stretched = matches!(shape.rope, Rope::Llama3 { .. });
    let stranger = file.tensors().find(|name| !(known.contains(name) || stretched && *name == ROPE_DIVISORS));
    match stranger {
        Some(name) => Err(bad(name, format!("it has no place in a {} model", shape.family.architecture()))),
        None => Ok(()),
    }
}

fn copy(
    file: &GgufFile,
    slot: &Slot,
    place: &Place,
    dtype: Dtype,
    writer: &mut TensorWriter,
    goes_on: &mut dyn FnMut(u64) -> bool,
) -> Result<(), GgufError> {
    let (rows, row) = slot.rows();
    let bad = |reason: String| GgufError::tensor(file.path(), &slot.gguf, reason);
    let (segment, piece) = ((SEGMENT / row).max(1), (PIECE / row).max(1));
    let mut numbers = Vec::new();
    for from in (0..rows).step_by(segment) {
        let to = rows.min(from + segment);
        numbers.resize((to - from) * row, 0.0);
        numbers.par_chunks_mut(piece * row).enumerate().try_for_each(|(at, out)| {
            decode(file, slot, place, from + at * piece, out).map_err(bad)?;
            if dtype != Dtype::F32 && !out.iter().all(|number| dtype.holds(*number)) {
                return Err(bad(format!("it holds a number that does not fit {dtype}; import it as f32")));
            }
            Ok(())
        })?;
        writer.write_f32(&slot.folder, &numbers)?;
        if !goes_on(numbers.len() as u64) {
            return Err(GgufError::Stopped);
        }
    }
    Ok(())
}

/// Decodes the rows of a folder's tensor that begin at row `first`, as many as fit `out`.
fn decode(file: &GgufFile, slot: &Slot, place: &Place, first: usize, out: &mut [f32]) -> Result<(), String> {
    let (rows, row) = slot.rows();
    if let Change::Interleaved { .. } = slot.change {
        for (at, out) in out.chunks_exact_mut(row).enumerate() {
            let from = slot.change.row_of_file(first + at, rows);
            place.block.decode(file.numbers_of(place, from * row, row), out)?;
        }
        return Ok(());
    }
    place.block.decode(file.numbers_of(place, first * row, out.len()), out)?;
    if slot.change == Change::PlusOne {
        for number in out {
            *number -= 1.0;
        }
    }
    Ok(())
}
