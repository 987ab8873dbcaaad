//! Attention of one document, some of its queries at a time.
//!
//! candle keeps all that a gradient may need, and of attention that would be the scores of all pairs, several times over: some
//! 100 GB for 16,384 tokens of a model of 1.7 billion weights. So a block of queries keeps only what it got, and its scores are computed
//! again when its gradient is asked for, as FlashAttention does it (Dao et al. 2022, arXiv 2205.14135), here with whole rows.

use std::sync::Mutex;

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp3, D, DType, Device, Layout, MetalStorage, Result, Shape, Storage, Tensor, Var,
    bail,
};

use crate::model::engine::Attention;
use crate::model::kernel::Heads;

/// Returns heads `first .. first + count` of rows as `[count, tokens, width]`.
pub(super) fn split(rows: &Tensor, heads: Heads, first: usize, count: usize) -> Result<Tensor> {
    let tokens = rows.dim(0)?;
    let rows = rows.narrow(1, first * heads.width, count * heads.width)?;
    rows.reshape((tokens, count, heads.width))?.transpose(0, 1)?.contiguous()
}

/// Puts heads side by side again.
pub(super) fn join(heads: &Tensor) -> Result<Tensor> {
    heads.transpose(0, 1)?.contiguous()?.flatten_from(1)
}

/// Queries of each head whose scores are in memory together.
const QUERIES_TOGETHER: usize = 512;

/// Returns what the last tokens of a document get, `[tokens, query heads · width]`; keys and values are of all of it.
pub(super) fn attention(queries: &Tensor, keys: &Tensor, values: &Tensor, attention: &Attention) -> Result<Tensor> {
    in_blocks(queries, keys, values, attention, QUERIES_TOGETHER)
}

/// As [`attention`], so many queries at a time.
fn in_blocks(queries: &Tensor, keys: &Tensor, values: &Tensor, layer: &Attention, most: usize) -> Result<Tensor> {
    let tokens = queries.dim(1)?;
    let before = keys.dim(1)? - tokens;
    let block = |first: usize| {
        let count = most.min(tokens - first);
        // What none of these queries looks at is left out.
        let start = layer.window.map_or(0, |window| (before + first + 1).saturating_sub(window));
        let seen = |all: &Tensor| all.narrow(1, start, before + first + count - start)?.contiguous();
        let queries = queries.narrow(1, first, count)?.contiguous()?;
        let (keys, values) = (seen(keys)?, seen(values)?);
        if !queries.track_op() && !keys.track_op() && !values.track_op() {
            return attend(&queries, &keys, &values, layer);
        }
        let made = attend(&queries.detach(), &keys.detach(), &values.detach(), layer)?;
        queries.apply_op3(&keys, &values, Block { layer: *layer, made: Mutex::new(Some(made)) })
    };
    Tensor::cat(&(0..tokens).step_by(most).map(block).collect::<Result<Vec<_>>>()?, 0)
}

/// What some queries get: computed before, and again for its gradient.
struct Block {
    layer: Attention,
    made: Mutex<Option<Tensor>>,
}

impl Block {
    /// Returns what was computed, on whichever device.
    fn take<S>(&self, storage: impl Fn(&Storage, &Layout) -> Result<S>) -> Result<(S, Shape)> {
        let made = self.made.lock().ok().and_then(|mut made| made.take());
        let Some(made) = made else { bail!("attention is applied once") };
        let (kept, layout) = made.storage_and_layout();
        Ok((storage(&kept, layout)?, layout.shape().clone()))
    }
}

impl CustomOp3 for Block {
    fn name(&self) -> &'static str {
        "attention of a block"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.take(|made, layout| match made {
            Storage::Cpu(made) => made.try_clone(layout),
            _ => bail!("attention left its device"),
        })
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.take(|made, layout| match made {
            Storage::Cuda(made) => made.try_clone(layout),
            _ => bail!("attention left its device"),
        })
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        self.take(|made, layout| match made {
            Storage::Metal(made) => made.try_clone(layout),
            _ => bail!("attention left its device"),
        })
    }

    fn bwd(
        &self,
        queries: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [queries, keys, values] = [queries, keys, values].map(|x| Var::from_tensor(&x.detach()));
        let (queries, keys, values) = (queries?, keys?, values?);
        let made = attend(&queries, &keys, &values, &self.layer)?;
        let mut store = (made * gradient.detach())?.sum_all()?.backward()?;
        Ok((store.remove(&queries), store.remove(&keys), store.remove(&values)))
    }
}

/// Returns what the last tokens of a document get, from the scores of all of them.
///
/// Query heads that share a key head are put below each other, so that keys and values need not be repeated.
fn attend(queries: &Tensor, keys: &Tensor, values: &Tensor, attention: &Attention) -> Result<Tensor> {
    let heads = attention.heads;
    let (tokens, seen) = (queries.dim(1)?, keys.dim(1)?);
    let queries = queries.reshape((heads.key_value, heads.sharing() * tokens, heads.width))?;
    let scores = (queries.matmul(&keys.t()?)? * f64::from(attention.scale))?.to_dtype(DType::F32)?;
    let scores = scores.reshape((heads.query, tokens, seen))?;
    let scores = scores.broadcast_add(&mask(tokens, seen, attention.window, queries.device())?)?;
    // `candle_nn::ops::softmax` is composed and has a gradient; `softmax_last_dim` has none.
    let weights = candle_nn::ops::softmax(&scores, D::Minus1)?.to_dtype(values.dtype())?;
    let weights = weights.reshape((heads.key_value, heads.sharing() * tokens, seen))?;
    join(&weights.matmul(values)?.reshape((heads.query, tokens, heads.width))?)
}

/// Returns what is added to the scores: minus infinity wherever a token must not look, `[tokens, seen]`.
fn mask(tokens: usize, seen: usize, window: Option<usize>, device: &Device) -> Result<Tensor> {
    let mut mask = vec![f32::NEG_INFINITY; tokens * seen];
    for (row, place) in (seen - tokens..seen).enumerate() {
        let first = window.map_or(0, |window| (place + 1).saturating_sub(window));
        mask[row * seen + first..=row * seen + place].fill(0.0);
    }
    Tensor::from_vec(mask, (tokens, seen), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kernel::Heads;

    fn numbers(seed: usize, shape: (usize, usize, usize)) -> Result<Var> {
        let numbers =
            (0..shape.0 * shape.1 * shape.2).map(|i| ((i * 7919 + seed * 104_729) % 1013) as f32 / 506.5 - 1.0);
        Var::from_tensor(&Tensor::from_iter(numbers, &Device::Cpu)?.reshape(shape)?)
    }

    /// Blocks of any size give what the whole gives, and the same gradients, with a window and behind a beginning too.
    #[test]
    fn blocks_are_the_whole() -> Result<()> {
        let heads = Heads { query: 4, key_value: 2, width: 8 };
        for (window, tokens, most) in [(None, 13, 4), (Some(5), 13, 4), (None, 9, 1), (Some(3), 16, 8), (None, 5, 512)]
        {
            let layer = Attention { layer: 0, heads, norms: None, scale: 0.3, window, rotary: 0 };
            let all = [numbers(1, (4, tokens, 8))?, numbers(2, (2, 16, 8))?, numbers(3, (2, 16, 8))?];
            let [queries, keys, values] = &all;
            let gradient = numbers(4, (1, tokens, 32))?.squeeze(0)?;
            let of = |made: Tensor| -> Result<Vec<Tensor>> {
                let store = (&made * &gradient)?.sum_all()?.backward()?;
                let gradients =
                    all.iter().map(|x| store.get(x).cloned().ok_or_else(|| candle_core::Error::msg("none")));
                std::iter::once(Ok(made)).chain(gradients).collect()
            };
            let whole = of(attend(queries, keys, values, &layer)?)?;
            let blocks = of(in_blocks(queries, keys, values, &layer, most)?)?;
            for (whole, block) in whole.iter().zip(&blocks) {
                let far = (whole - block)?.abs()?.max_all()?.to_scalar::<f32>()?;
                assert!(far < 2e-6, "{window:?} {tokens} {most}: {far}");
            }
        }
        Ok(())
    }
}
