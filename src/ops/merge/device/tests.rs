//! The fused kernels and the composed operations against each other, on the CPU, for every method.
//!
//! The tolerance: in f32 one part in 100,000 of what is usual in the tensor, in 16-bit types two places of the largest
//! parent. A sum in another order can put a coefficient one place off, and a threshold on the other side of a number:
//! such numbers are few, and counted.

use super::super::part::{Part, Values};
use super::*;

fn wave(count: usize, step: f32, shift: f32) -> Vec<f32> {
    (0..count).map(|i| ((i as f32 + shift) * step).sin() * 0.05 + ((i as f32) * 0.7).cos() * 0.1).collect()
}

fn stored(dtype: Dtype, numbers: &[f32]) -> Part<'static> {
    let mut bytes = vec![0; numbers.len() * dtype.size()];
    dtype.write_f32(numbers, &mut bytes);
    Part::made(dtype, bytes)
}

/// A base and three models near it; the methods that take two or four get as many.
fn work<'a>(method: M, dtype: Dtype, shape: &'a [usize], more: &[(&'static str, f64)]) -> Work<'a> {
    let count = shape.iter().product();
    let takes = method.takes();
    let parts = takes.most.saturating_add(usize::from(!takes.with_base)).min(4);
    let parts: Vec<Part<'_>> = (0..parts)
        .map(|i| {
            let mut numbers = wave(count, 0.37, 0.0);
            numbers
                .iter_mut()
                .zip(wave(count, 0.11 + i as f32 * 0.07, i as f32))
                .for_each(|(n, w)| *n += w * i as f32 * 0.1);
            stored(dtype, &numbers)
        })
        .collect();
    let values = |i: usize| {
        let all = method.parameters().into_iter().map(|parameter| {
            let given = more.iter().find(|(name, _)| *name == parameter.name).map(|(_, value)| *value);
            let needed = if parameter.name == "t" { 0.4 } else { 0.3 + 0.2 * i as f64 };
            (parameter.name, given.or(parameter.default).unwrap_or(needed))
        });
        Values(all.collect())
    };
    let each = (0..parts.len()).map(values).collect();
    Work {
        name: "w",
        shape,
        base: (method != M::Linear && method != M::Karcher && method != M::Passthrough).then_some(0),
        parts,
        dtype,
        copied: false,
        compat: Compat::Newest,
        shared: values(1),
        each,
    }
}

fn fused(method: M, work: &Work<'_>) -> Vec<f32> {
    let combine = super::super::methods::prepare(method, work, &mut Twister::new(42)).unwrap();
    let mut numbers = vec![0.0; work.count()];
    combine.numbers(work, 0, &mut numbers, &mut Vec::new());
    numbers
}

fn compare(method: M, dtype: Dtype, shape: &[usize], more: &[(&'static str, f64)]) {
    let work = work(method, dtype, shape, more);
    let ours = fused(method, &work);
    let theirs = merge_tensor_on(&Device::Cpu, method, &work, &mut Twister::new(42)).unwrap();
    assert_eq!(ours.len(), theirs.len());
    let mut parent = vec![0.0; work.count()];
    work.parts[0].read(0, &mut parent);
    let usual = parent.iter().map(|number| number.abs()).sum::<f32>() / parent.len() as f32;
    let close = match dtype {
        Dtype::F16 => 2.0_f32.powi(-9),
        Dtype::BF16 => 2.0_f32.powi(-6),
        _ => 1e-5,
    };
    let apart = ours.iter().zip(&theirs).zip(&parent);
    let apart = apart.filter(|((a, b), parent)| (*a - *b).abs() > close * usual.max(parent.abs())).count();
    // Numbers beside a threshold: none where there is no threshold made of sums.
    let few = if method == M::ArceeFusion { ours.len() / 50 } else { 0 };
    assert!(apart <= few, "{method:?} {dtype} {shape:?} {more:?}: {apart} of {} differ", ours.len());
    assert!(ours.iter().any(|number| *number != 0.0));
}

const ALL: [M; 20] = [
    M::Linear,
    M::Slerp,
    M::Nuslerp,
    M::Multislerp,
    M::Karcher,
    M::TaskArithmetic,
    M::Ties,
    M::DareLinear,
    M::DareTies,
    M::Breadcrumbs,
    M::BreadcrumbsTies,
    M::Della,
    M::DellaLinear,
    M::ModelStock,
    M::Sce,
    M::Ram,
    M::RamplusTl,
    M::Nearswap,
    M::ArceeFusion,
    M::Passthrough,
];

#[test]
fn every_method_gives_the_same_numbers_on_a_device() {
    for method in ALL {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
            for shape in [&[37_usize, 96][..], &[5000]] {
                compare(method, dtype, shape, &[]);
            }
        }
    }
}

#[test]
fn so_do_their_options() {
    let sparse = [("density", 0.5), ("normalize", 1.0), ("rescale", 1.0), ("lambda", 0.7), ("epsilon", 0.1)];
    for method in ALL {
        let options: &[&[(&'static str, f64)]] = match method {
            M::Linear => &[&[("normalize", 0.0)]],
            M::Nuslerp => &[&[("nuslerp_flatten", 0.0)], &[("nuslerp_flatten", 0.0), ("nuslerp_row_wise", 1.0)]],
            M::ModelStock => &[&[("filter_wise", 1.0)]],
            M::Sce => &[&[("select_topk", 0.3)]],
            M::Passthrough => &[&[("scale", 0.7)]],
            M::Slerp => &[&[("t", 0.0)], &[("t", 1.0)]],
            M::Ties | M::DareLinear | M::DareTies | M::Breadcrumbs | M::BreadcrumbsTies | M::Della | M::DellaLinear => {
                &[&sparse]
            }
            _ => &[],
        };
        for options in options {
            for dtype in [Dtype::F32, Dtype::BF16] {
                compare(method, dtype, &[37, 96], options);
            }
        }
    }
}
