//! The numbers behind candle's tensors.

use candle_core::{CpuStorage, Device, Layout, Result, Shape, Storage, Tensor, bail};

/// Returns the numbers of an op's argument: f32, on the CPU, in order.
pub(super) fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let CpuStorage::F32(numbers) = storage else { bail!("a fused block takes f32 alone") };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&numbers[start..end]),
        None => bail!("a fused block takes contiguous tensors alone"),
    }
}

/// Lends out the numbers of a tensor.
pub(in crate::model) fn read<R>(tensor: &Tensor, work: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { bail!("a fused block runs on the CPU alone") };
    Ok(work(floats(storage, layout)?))
}

/// Lends out the numbers of two tensors.
pub(super) fn read2<R>(a: &Tensor, b: &Tensor, work: impl FnOnce(&[f32], &[f32]) -> R) -> Result<R> {
    read(a, |a| read(b, |b| work(a, b)))?
}

/// Returns what an op gives back: rows of `width` numbers.
pub(super) fn rows(numbers: Vec<f32>, width: usize) -> (CpuStorage, Shape) {
    let shape = Shape::from((numbers.len() / width, width));
    (CpuStorage::F32(numbers), shape)
}

/// Returns a gradient in the shape of the tensor it belongs to.
pub(super) fn gradient_of(tensor: &Tensor, numbers: Vec<f32>) -> Result<Tensor> {
    Tensor::from_vec(numbers, tensor.shape(), &Device::Cpu)
}
