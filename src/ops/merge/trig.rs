//! Sine, cosine and arc cosine in f32: the nearest numbers.
//!
//! PyTorch on x86 takes these from Intel's vector library, which is closed, chooses its code by processor, and is not
//! always nearest: by measurement it is one place off for 9 of 100 arc cosines and 5 of 100 sines. So a slerp in f32 along
//! the arc can differ from MergeKit's in the last place for the tensors whose angle is such a one; everything before the
//! angle (the lengths, the product) is the same bit for bit. In 16-bit types the difference is rounded away.

/// Returns the arc cosine.
pub(super) fn acos(x: f32) -> f32 {
    f64::from(x).acos() as f32
}

/// Returns the sine.
pub(super) fn sin(x: f32) -> f32 {
    f64::from(x).sin() as f32
}

/// Returns the cosine.
pub(super) fn cos(x: f32) -> f32 {
    f64::from(x).cos() as f32
}
