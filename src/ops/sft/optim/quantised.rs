//! AdamW whose moments are kept in 8 bits (Dettmers et al. 2022), as bitsandbytes keeps them.
//!
//! Each block of 256 moments is divided by its greatest and stored as the nearest of 256 values: a dynamic map, whose
//! values lie closer together the smaller they are. The arithmetic in between is f32. On the CPU bitsandbytes finds codes
//! through a table of 2¹⁶ steps, which loses most moments below a ten-thousandth of their block's greatest; here, as in its
//! reference in PyTorch and on GPUs, the nearest is found.

use std::sync::OnceLock;

use rayon::prelude::*;

use super::adamw::{Factors, Settings};
use super::{Array, Beat, Kept, State};

/// Moments with a scale of their own.
const BLOCK: usize = 256;
/// Bits of a float that find the neighbourhood of its code: sign, exponent and six of the mantissa.
const KEY_BITS: u32 = 15;

/// The moments of a tensor. Empty before the first step.
#[derive(Debug)]
pub(super) struct AdamW8bit {
    settings: Settings,
    first: Quantised,
    second: Quantised,
}

#[derive(Debug, Default)]
struct Quantised {
    codes: Vec<u8>,
    /// The greatest magnitude of each block.
    scales: Vec<f32>,
}

impl AdamW8bit {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, first: Quantised::default(), second: Quantised::default() }
    }
}

impl State for AdamW8bit {
    fn update(&mut self, value: &mut [f32], gradient: &mut [f32], beat: &Beat) {
        let factors = self.settings.factors(beat);
        let (signed, unsigned) = (Map::signed(), Map::unsigned());
        self.first.begin(value.len(), signed);
        self.second.begin(value.len(), unsigned);
        let first = self.first.codes.par_chunks_mut(BLOCK).zip(&mut self.first.scales);
        let second = self.second.codes.par_chunks_mut(BLOCK).zip(&mut self.second.scales);
        let weights = value.par_chunks_mut(BLOCK).zip(gradient.par_chunks_mut(BLOCK));
        weights.zip(first.zip(second)).for_each(|((value, gradient), (first, second))| {
            let (mut means, mut squares) = ([0.0; BLOCK], [0.0; BLOCK]);
            let (means, squares) = (&mut means[..value.len()], &mut squares[..value.len()]);
            signed.read(first.0, *first.1, means);
            unsigned.read(second.0, *second.1, squares);
            update(value, gradient, means, squares, factors);
            *first.1 = signed.write(means, first.0);
            *second.1 = unsigned.write(squares, second.0);
        });
    }

    fn arrays(&self) -> Vec<(&'static str, Array<'_>)> {
        vec![
            ("first", Array::U8(&self.first.codes)),
            ("first_scales", Array::F32(&self.first.scales)),
            ("second", Array::U8(&self.second.codes)),
            ("second_scales", Array::F32(&self.second.scales)),
        ]
    }

    fn restore(&mut self, take: &mut dyn FnMut(&str) -> Option<Kept>) -> Option<()> {
        self.first = Quantised { codes: take("first")?.u8()?, scales: take("first_scales")?.f32()? };
        self.second = Quantised { codes: take("second")?.u8()?, scales: take("second_scales")?.f32()? };
        Some(())
    }
}

impl Quantised {
    fn begin(&mut self, count: usize, map: &Map) {
        self.codes.resize(count, map.code(0.0));
        self.scales.resize(count.div_ceil(BLOCK), 0.0);
    }
}

/// Updates a block of weights as bitsandbytes does, and sets its gradient to zero.
fn update(value: &mut [f32], gradient: &mut [f32], first: &mut [f32], second: &mut [f32], factors: Factors) {
    let states = first.iter_mut().zip(second);
    for ((value, gradient), (first, second)) in value.iter_mut().zip(gradient).zip(states) {
        let slope = *gradient * factors.clip;
        *gradient = 0.0;
        *first = *first * factors.beta1 + factors.first * slope;
        *second = *second * factors.second + factors.fresh * slope * slope;
        let divisor = second.sqrt() / factors.correction + factors.epsilon;
        *value = *value * factors.keep - factors.step * (*first / divisor);
    }
}

/// The 256 values of a code, rising, and where to look for the nearest.
#[derive(Debug)]
struct Map {
    values: [f32; 256],
    /// What lies in the middle between each value and the next.
    middles: [f32; 256],
    /// The lowest code that a float with these first bits can have.
    lowest: Vec<u8>,
}

impl Map {
    fn signed() -> &'static Self {
        static MAP: OnceLock<Map> = OnceLock::new();
        MAP.get_or_init(|| Self::of(&dynamic_values(true)))
    }

    fn unsigned() -> &'static Self {
        static MAP: OnceLock<Map> = OnceLock::new();
        MAP.get_or_init(|| Self::of(&dynamic_values(false)))
    }

    fn of(values: &[f32; 256]) -> Self {
        let mut middles = [f32::INFINITY; 256];
        for (middle, pair) in middles.iter_mut().zip(values.windows(2)) {
            *middle = f32::midpoint(pair[0], pair[1]);
        }
        let lowest = (0..1u32 << KEY_BITS).map(|key| {
            let (shift, negative) = (32 - KEY_BITS, key >> (KEY_BITS - 1) == 1);
            // Of the floats that begin with these bits, the least one.
            let least = f32::from_bits((key << shift) | if negative { (1 << shift) - 1 } else { 0 });
            middles.partition_point(|middle| *middle < least).min(255) as u8
        });
        let lowest = lowest.collect();
        Self { values: *values, middles, lowest }
    }

    /// Returns the code whose value is nearest to `x`, the lower one of two.
    fn code(&self, x: f32) -> u8 {
        let mut code = self.lowest[(x.to_bits() >> (32 - KEY_BITS)) as usize];
        while x > self.middles[usize::from(code)] {
            code += 1;
        }
        code
    }

    fn read(&self, codes: &[u8], scale: f32, out: &mut [f32]) {
        for (out, code) in out.iter_mut().zip(codes) {
            *out = self.values[usize::from(*code)] * scale;
        }
    }

    /// Writes numbers as codes and returns their scale.
    fn write(&self, numbers: &[f32], codes: &mut [u8]) -> f32 {
        let scale = numbers.iter().fold(0.0f32, |most, number| most.max(number.abs()));
        let divisor = if scale > 0.0 { scale } else { 1.0 };
        for (code, number) in codes.iter_mut().zip(numbers) {
            *code = self.code(*number / divisor);
        }
        scale
    }
}

/// Returns the values of the dynamic map: in each of seven decades the middles of evenly spaced bounds, twice as many from
/// decade to decade, mirrored if signed, and 0 and 1.
fn dynamic_values(signed: bool) -> [f32; 256] {
    let mut values = vec![0.0f32, 1.0];
    for decade in 0..7u32 {
        let count = if signed { 1usize << decade } else { 1usize << (decade + 1) };
        // As torch's `linspace` in f32: from below up to the middle, from above down to it.
        let step = (1.0f32 - 0.1) / count as f32;
        let bound = |i: usize| {
            if i < count.div_ceil(2) { step.mul_add(i as f32, 0.1) } else { (-step).mul_add((count - i) as f32, 1.0) }
        };
        let scale = 10f64.powi(decade as i32 - 6);
        for i in 0..count {
            let middle = f32::midpoint(bound(i), bound(i + 1));
            let value = (scale as f32) * middle;
            values.push(value);
            if signed {
                values.push(-value);
            }
        }
    }
    values.sort_by(f32::total_cmp);
    let mut map = [0.0; 256];
    map.copy_from_slice(&values);
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_value_is_found() {
        for map in [Map::signed(), Map::unsigned()] {
            assert!(map.values.is_sorted() && map.values[255].to_bits() == 1f32.to_bits());
            for i in -20_000..=20_000 {
                let x = (i as f32 / 20_000.0).powi(3);
                let found = (map.values[usize::from(map.code(x))] - x).abs();
                let best = map.values.iter().map(|value| (value - x).abs()).fold(f32::INFINITY, f32::min);
                assert!(found <= best * (1.0 + 1e-6), "{x}: {found} instead of {best}");
            }
        }
    }
}
