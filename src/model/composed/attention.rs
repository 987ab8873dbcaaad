//! Attention of one document, over all pairs of its tokens.

use candle_core::{D, DType, Device, Result, Tensor};

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

/// Returns what the last tokens of a document get, `[tokens, query heads · width]`; keys and values are of all of it.
///
/// Query heads that share a key head are put below each other, so that keys and values need not be repeated.
pub(super) fn attend(queries: &Tensor, keys: &Tensor, values: &Tensor, attention: &Attention) -> Result<Tensor> {
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
