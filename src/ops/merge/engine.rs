//! Streams the tensors of a merge: a segment is computed by all threads, written, and forgotten.
//!
//! Every number is computed from its place alone (reductions, where a method has one, come first and have a fixed
//! order), so the cut into pieces and the number of threads leave no trace in the file.

use std::path::Path;

use rayon::prelude::*;

use super::combine::{Combine, Rule};
use super::{OpCx, OpError, Parent, unwritable};
use crate::tensor::{Declared, Dtype, TensorWriter, View};

/// Numbers one thread computes at a time: three buffers of this many fit a processor's own cache.
const PIECE: usize = 1 << 15;

/// Numbers written at a time.
const SEGMENT: usize = 1 << 22;

/// What was merged.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Merged {
    pub(super) tensors: usize,
    pub(super) parameters: usize,
    /// Tensors that slerp interpolated along the chord.
    pub(super) straight: usize,
}

/// Merges all tensors of the parents, which have been aligned, into one file. Types are those of the first.
pub(super) fn merge(parents: &[Parent<'_>], rule: &Rule, path: &Path, cx: &OpCx<'_>) -> Result<Merged, OpError> {
    let base = &parents[0].tensors;
    let mut declared = Vec::new();
    let mut merged = Merged::default();
    for name in base.names() {
        let view = views(&parents[..1], name)?[0];
        declared.push(Declared { name: name.to_owned(), dtype: view.dtype, shape: view.shape.to_vec() });
        merged.parameters += view.count();
    }
    merged.tensors = declared.len();
    cx.progress.phase("merging", Some(merged.parameters as u64), "parameters");
    let mut sink = Sink { writer: TensorWriter::create(path, &declared).map_err(unwritable)?, cx, done: 0 };
    for Declared { name, dtype, .. } in &declared {
        let views = views(parents, name)?;
        let combine = rule.of(&views);
        merged.straight += usize::from(matches!(combine, Combine::Pair { straight: true, .. }));
        sink.tensor(name, *dtype, &views, &combine)?;
    }
    sink.writer.finish().map_err(unwritable)?;
    Ok(merged)
}

fn views<'a>(parents: &'a [Parent<'_>], name: &str) -> Result<Vec<View<'a>>, OpError> {
    let view = |parent: &'a Parent<'_>| {
        parent.tensors.get(name).ok_or_else(|| OpError::new(format!("`{}` lacks tensor `{name}`", parent.name)))
    };
    parents.iter().map(view).collect()
}

struct Sink<'a> {
    writer: TensorWriter,
    cx: &'a OpCx<'a>,
    /// Numbers written so far.
    done: usize,
}

impl Sink<'_> {
    fn tensor(&mut self, name: &str, dtype: Dtype, views: &[View<'_>], combine: &Combine) -> Result<(), OpError> {
        let count = views[0].count();
        let mut bytes = Vec::new();
        for from in (0..count).step_by(SEGMENT) {
            self.cx.check_cancelled()?;
            let size = SEGMENT.min(count - from);
            match combine {
                // The bytes as they are: the way through f32 would be exact too, except for the kind of a NaN.
                Combine::Copy(model) if views[*model].dtype == dtype => {
                    self.writer.write(name, views[*model].slice(from, size)).map_err(unwritable)?;
                }
                _ => {
                    bytes.resize(size * dtype.size(), 0);
                    if !segment(dtype, views, combine, from, &mut bytes) {
                        return Err(not_finite(name, dtype));
                    }
                    self.writer.write(name, &bytes).map_err(unwritable)?;
                }
            }
            self.done += size;
            self.cx.progress.position(self.done as u64);
        }
        Ok(())
    }
}

/// Computes the numbers that begin at `from`, as many as `bytes` has room for. False if one of them is not finite.
fn segment(dtype: Dtype, views: &[View<'_>], combine: &Combine, from: usize, bytes: &mut [u8]) -> bool {
    let pieces = bytes.par_chunks_mut(PIECE * dtype.size()).enumerate();
    let buffers = || (vec![0.0; PIECE], vec![0.0; PIECE]);
    let finite = pieces.map_init(buffers, |(numbers, scratch), (i, bytes)| {
        let size = bytes.len() / dtype.size();
        combine.numbers(views, from + i * PIECE, &mut numbers[..size], &mut scratch[..size]);
        dtype.write_f32(&numbers[..size], bytes);
        numbers[..size].iter().all(|number| dtype.holds(*number))
    });
    finite.reduce(|| true, |left, right| left && right)
}

fn not_finite(name: &str, dtype: Dtype) -> OpError {
    OpError::new(format!("tensor `{name}` of the merge holds numbers that are infinite or undefined in {dtype}"))
        .help("one of the models is broken, or its numbers are too large for this type")
}
