//! Every path of the products, on the machine that runs the tests: each vector unit it has and the portable loops, against
//! sums in f64, over shapes that fill no tile evenly.
#![expect(unsafe_code, reason = "the inner loops are called as the products call them")]

use std::ops::Range;

use proptest::prelude::*;

use super::lanes::{F32, Lanes, Plain};
use super::mix::mix;
use super::strip::products;
use super::tile::{Out, Rows};
use super::{LANES, Layer, Looking, NewTokens, PAGE, StoredRows, Then, Work, attention, dispatch, linear};
use crate::model::kernel::Heads;
use crate::model::kernel::gated::Activation;
use crate::model::kernel::lanes::testing::numbers;
use crate::model::{Unit, UnitKind};
use crate::tensor::Dtype;

/// Returns numbers as they are stored, and what they are worth then.
fn stored(numbers: &[f32], dtype: Dtype) -> (Vec<u8>, Vec<f32>) {
    let mut bytes = vec![0; numbers.len() * dtype.size()];
    dtype.write_f32(numbers, &mut bytes);
    let mut back = vec![0.0; numbers.len()];
    dtype.read_f32(&bytes, &mut back);
    (bytes, back)
}

/// The product of row `r` of a matrix with row `t` of others, and the sum of its terms' sizes.
fn exact(matrix: &[f32], x: &[f32], columns: usize, (r, t): (usize, usize)) -> (f64, f64) {
    let terms = matrix[r * columns..][..columns].iter().zip(&x[t * columns..][..columns]);
    terms.fold((0.0, 0.0), |(sum, size), (a, b)| {
        let term = f64::from(*a) * f64::from(*b);
        (sum + term, size + term.abs())
    })
}

fn silu(z: f64) -> f64 {
    z / (1.0 + (-z).exp())
}

/// Checks a layer of two parts on all units, with each thing that may follow it.
fn check_linear(rows: usize, columns: usize, tokens: usize, dtype: Dtype, biased: bool) {
    let (bytes, matrix) = stored(&numbers(2 * rows * columns, 1), dtype);
    let (x, start) = (numbers(tokens * columns, 2), numbers(2 * tokens * rows, 3));
    let bias = biased.then(|| numbers(2 * rows, 4));
    let half = rows * columns * dtype.size();
    let parts = [StoredRows { dtype, bytes: &bytes[..half] }, StoredRows { dtype, bytes: &bytes[half..] }];
    let layer = Layer { parts: &parts, columns, bias: bias.as_deref() };
    let plain = |r: usize, t: usize| {
        let (sum, size) = exact(&matrix, &x, columns, (r, t));
        (sum + bias.as_ref().map_or(0.0, |bias| f64::from(bias[r])), size + 1.0)
    };
    let mut fused = Vec::new();
    for unit in Unit::all() {
        let all =
            [Then::Nothing, Then::Add(&start), Then::Gate(Activation::Silu)].map(|then| linear(unit, layer, &x, then));
        for t in 0..tokens {
            for r in 0..2 * rows {
                let (sum, size) = plain(r, t);
                let far = f64::from(all[0][t * 2 * rows + r]) - sum;
                assert!(far.abs() <= 1e-6 * size, "{unit:?}: {rows}x{columns}x{tokens} {dtype} at {r}, {t}: {far}");
                let far = f64::from(all[1][t * 2 * rows + r]) - sum - f64::from(start[t * 2 * rows + r]);
                assert!(far.abs() <= 1e-6 * size, "{unit:?}: added at {r}, {t}: {far}");
            }
            for r in 0..rows {
                let ((gate, size), (up, up_size)) = (plain(r, t), plain(rows + r, t));
                let far = f64::from(all[2][t * rows + r]) - silu(gate) * up;
                assert!(far.abs() <= 2e-6 * size * up_size, "{unit:?}: gated at {r}, {t}: {far}");
            }
        }
        if unit.kind() != UnitKind::Portable {
            fused.push(all);
        }
    }
    assert!(fused.windows(2).all(|pair| pair[0] == pair[1]), "units differ at {rows}x{columns}x{tokens} {dtype}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn layers_are_products(
        rows in 1_usize..80,
        columns in prop_oneof![1_usize..40, 500_usize..600, 760_usize..780, 1530_usize..1550],
        tokens in prop_oneof![1_usize..26, 120_usize..130],
        dtype in prop::sample::select(vec![Dtype::F32, Dtype::F16, Dtype::BF16]),
        biased: bool,
    ) {
        // The definition takes a second where all are large.
        check_linear(if tokens * columns > 40_000 { rows % 9 + 1 } else { rows }, columns, tokens, dtype, biased);
    }

    #[test]
    fn attention_is_attention(
        width in prop::sample::select(vec![1_usize, 8, 15, 16, 24, 32, 64, 80, 128]),
        sharing in 1_usize..5,
        key_value in 1_usize..3,
        start in prop_oneof![Just(0_usize), 1_usize..100],
        tokens in 1_usize..40,
        window in prop::option::of(1_usize..70),
    ) {
        let heads = Heads { query: sharing * key_value, key_value, width };
        check_attention(heads, start..start + tokens, window);
    }
}

#[test]
fn each_number_of_tokens_has_a_tile() {
    for tokens in 0..=14 {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
            check_linear(13, 49, tokens, dtype, true);
        }
    }
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        check_linear(3, 576, 512, dtype, false);
    }
}

fn check_attention(heads: Heads, positions: Range<usize>, window: Option<usize>) {
    let (fused, width) = (heads.fused_width(), heads.width);
    let (padded, scale) = (width.next_multiple_of(LANES), 0.3);
    let rows = numbers(positions.end * fused, 5);
    let number = |position: usize, head: usize, i: usize| rows[position * fused + head * width + i];
    let page = |key_head: usize, page: usize| {
        let (mut keys, mut values) = (vec![0.0; width * PAGE], vec![0.0; PAGE * padded]);
        for position in page * PAGE..positions.end.min((page + 1) * PAGE) {
            for i in 0..width {
                keys[i * PAGE + position % PAGE] = number(position, heads.query + key_head, i);
                values[position % PAGE * padded + i] = number(position, heads.query + heads.key_value + key_head, i);
            }
        }
        (keys, values)
    };
    let pages = positions.end.div_ceil(PAGE);
    let kept: Vec<_> = (0..heads.key_value * pages).map(|both| page(both / pages, both % pages)).collect();
    let page = |key_head: usize, page: usize| {
        let (keys, values) = &kept[key_head * pages + page];
        (&keys[..], &values[..])
    };
    let (looking, mut same) = (Looking { heads, scale, window }, Vec::new());
    for unit in Unit::all() {
        // The text twice, and one without new tokens between.
        let text = (positions.start, positions.len());
        let new = [text, (0, 0), text].map(|(start, count)| NewTokens {
            rows: &rows[start * fused..(start + count) * fused],
            start,
            page,
        });
        let mut out = attention(unit, looking, &new);
        assert_eq!(out.len(), 2 * positions.len() * heads.output_width());
        let second = out.split_off(out.len() / 2);
        assert!(out == second, "the second text gets something else");
        for (t, position) in positions.clone().enumerate() {
            for query in 0..heads.query {
                let key_head = query / heads.sharing();
                let seen = (position + 1).saturating_sub(window.unwrap_or(usize::MAX))..position + 1;
                let score = |key: usize| -> f64 {
                    let products = (0..width).map(|i| {
                        f64::from(number(position, query, i)) * f64::from(number(key, heads.query + key_head, i))
                    });
                    f64::from(scale) * products.sum::<f64>()
                };
                let powers: Vec<f64> = seen.clone().map(|key| score(key).exp()).collect();
                let sum: f64 = powers.iter().sum();
                for i in 0..width {
                    let values =
                        seen.clone().map(|key| f64::from(number(key, heads.query + heads.key_value + key_head, i)));
                    let expected = values.zip(&powers).map(|(value, power)| value * power).sum::<f64>() / sum;
                    let far = f64::from(out[t * heads.output_width() + query * width + i]) - expected;
                    assert!(
                        far.abs() < 5e-6,
                        "{unit:?}: {heads:?} {positions:?} {window:?} at {t}, {query}, {i}: {far}"
                    );
                }
            }
        }
        if unit.kind() != UnitKind::Portable {
            same.push(out);
        }
    }
    assert!(same.windows(2).all(|pair| pair[0] == pair[1]), "units differ: {heads:?} {positions:?} {window:?}");
}

/// Both inner loops, of one size.
struct Loops<'a> {
    matrix: &'a [f32],
    x: &'a [f32],
    columns: usize,
    out: &'a mut [f32],
    mixed: &'a mut [f32],
}

impl Work for Loops<'_> {
    unsafe fn run<L: Lanes>(self) {
        let (rows, tokens) = (self.matrix.len() / self.columns, self.x.len() / self.columns);
        assert!(
            self.out.len() == rows * tokens
                && self.mixed.len() == tokens * LANES
                && self.matrix.len() >= self.columns * LANES
        );
        let matrix = Rows { start: self.matrix.as_ptr().cast(), stride: self.columns * 4 };
        let x = Rows { start: self.x.as_ptr().cast(), stride: self.columns * 4 };
        // SAFETY: there is room for a row of products for each token, and in the matrix for as many groups as columns.
        unsafe {
            let out = Out { start: self.out.as_mut_ptr(), stride: rows };
            products::<L, F32>(matrix, rows, x, tokens, self.columns, out, std::ptr::null());
            let (groups, out) =
                (Rows { stride: LANES * 4, ..matrix }, Out { start: self.mixed.as_mut_ptr(), stride: LANES });
            mix::<L>(x, tokens, groups, self.columns, LANES, out);
        }
    }
}

/// On a machine with fused multiplication the portable loops are those of aarch64: the same bits as of vector units.
#[test]
fn portable_loops_with_fused_sums_give_the_bits_of_vector_units() {
    for (rows, columns, tokens) in [(16, 33, 1), (19, 100, 5), (17, 800, 8), (21, 49, 13)] {
        let (matrix, x) = (numbers(rows * columns, 6), numbers(tokens * columns, 7));
        let run = |unit: Option<Unit>| {
            let (mut out, mut mixed) = (vec![0.0; rows * tokens], vec![0.0; tokens * LANES]);
            let loops = Loops { matrix: &matrix, x: &x, columns, out: &mut out, mixed: &mut mixed };
            match unit {
                Some(unit) => dispatch(unit, loops),
                // SAFETY: arrays need no instructions in particular.
                None => unsafe { loops.run::<Plain<true>>() },
            }
            (out, mixed)
        };
        let fused = run(None);
        for unit in Unit::all().into_iter().filter(|unit| unit.kind() != UnitKind::Portable) {
            assert!(run(Some(unit)) == fused, "{unit:?} at {rows}x{columns}x{tokens}");
        }
    }
}
