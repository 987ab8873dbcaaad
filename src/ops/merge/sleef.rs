//! Sine, cosine and arc cosine in f32.
//!
//! PyTorch takes these from SLEEF, whose results are within one place of the true ones and not always the nearest ones.
//! Here they are the nearest, computed in double precision: better, and in the last place not always the same.

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
