//! The points of a sweep: the combinations of the values of some axes that are meant.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::Value;

use crate::spec::pipeline::{Axis, Exclude, Pipeline};
use crate::spec::substitute::Bindings;
use crate::spec::sweep;

/// The axes of a pipeline with what is said about their combinations.
pub(super) struct Space<'a> {
    pipeline: &'a Pipeline,
    /// Which exclusions have left something out.
    hit: RefCell<Vec<bool>>,
}

/// Axes that move together, with their values row by row.
struct Group<'a> {
    axes: Vec<&'a Axis>,
    rows: Vec<Vec<&'a Value>>,
}

impl<'a> Space<'a> {
    pub(super) fn new(pipeline: &'a Pipeline) -> Self {
        Self { pipeline, hit: RefCell::new(vec![false; pipeline.excludes.len()]) }
    }

    /// Returns how many combinations of these axes there are, exclusions not counted; nothing if they are beyond counting.
    pub(super) fn count(&self, axes: &[&'a Axis]) -> Option<usize> {
        self.groups(axes).iter().map(|group| group.rows.len()).try_fold(1usize, usize::checked_mul)
    }

    /// Returns the combinations of these axes, the last axis moving fastest.
    pub(super) fn points(&self, axes: &[&'a Axis]) -> Vec<Bindings> {
        let mut points = vec![Bindings::new()];
        for group in self.groups(axes) {
            let extend = |point: &Bindings| {
                let with = |row: &Vec<&Value>| {
                    let mut point = point.clone();
                    point.extend(group.axes.iter().zip(row).map(|(axis, value)| (axis.name.clone(), (*value).clone())));
                    point
                };
                group.rows.iter().map(with).collect::<Vec<_>>()
            };
            points = points.iter().flat_map(extend).collect();
        }
        for (i, exclude) in self.pipeline.excludes.iter().enumerate() {
            let before = points.len();
            points.retain(|point| !leaves_out(exclude, point));
            self.hit.borrow_mut()[i] |= points.len() < before;
        }
        points
    }

    /// Returns the exclusions that left out nothing and should have.
    pub(super) fn idle(&self) -> Vec<&'a Exclude> {
        let hit = self.hit.borrow();
        let idle = |(exclude, hit): (&'a Exclude, &bool)| (!hit && exclude.strict).then_some(exclude);
        self.pipeline.excludes.iter().zip(hit.iter()).filter_map(idle).collect()
    }

    /// Returns the axes in groups of those that move together, each with the rows of values that there are.
    fn groups(&self, axes: &[&'a Axis]) -> Vec<Group<'a>> {
        let mut groups: Vec<Group<'a>> = Vec::new();
        for axis in axes {
            let zip = self.pipeline.zips.iter().find(|zip| zip.names.contains(&axis.name));
            let known = groups
                .iter_mut()
                .find(|group| zip.is_some_and(|zip| group.axes.iter().any(|other| zip.names.contains(&other.name))));
            match known {
                None => {
                    groups
                        .push(Group { axes: vec![axis], rows: axis.values.iter().map(|value| vec![value]).collect() });
                }
                Some(group) => {
                    group.axes.push(axis);
                    group.rows.iter_mut().zip(&axis.values).for_each(|(row, value)| row.push(value));
                }
            }
        }
        for group in &mut groups {
            if self.pipeline.zips.iter().any(|zip| zip.names.contains(&group.axes[0].name)) {
                // Where only some of the axes of a zip are wanted, rows repeat.
                let mut seen = BTreeSet::new();
                group.rows.retain(|row| seen.insert(row.iter().map(|value| sweep::show(value)).collect::<Vec<_>>()));
            }
        }
        groups
    }
}

fn leaves_out(exclude: &Exclude, point: &Bindings) -> bool {
    exclude.at.iter().all(|(name, value)| point.get(name).is_some_and(|own| sweep::same(own, value)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::spec::pipeline::Zip;
    use crate::spec::{Overrides, Place, parse};

    const NAMES: [&str; 4] = ["a", "b", "c", "d"];

    proptest! {
        /// The points are those of the whole product that are in step and not left out, each once.
        #[test]
        fn points_are_those_that_a_filter_of_the_whole_product_keeps(
            lengths in proptest::array::uniform4(1..4usize), zipped in proptest::array::uniform4(any::<bool>()),
            left_out in proptest::collection::vec((0..4usize, 0..3u64, 0..4usize, 0..3u64), 0..3),
            wanted in proptest::array::uniform4(any::<bool>()),
        ) {
            let length = |i: usize| if zipped[i] { 3 } else { lengths[i] };
            let values = |i: usize| (0..length(i)).map(|v| json!(v)).collect();
            let axis = |i: usize| Axis { name: NAMES[i].into(), values: values(i), place: Place::default() };
            let names: Vec<String> = (0..4).filter(|i| zipped[*i]).map(|i| NAMES[i].to_owned()).collect();
            let pair = |(a, x, b, y): &(usize, u64, usize, u64)| Exclude {
                at: vec![(NAMES[*a].into(), json!(x)), (NAMES[*b].into(), json!(y))],
                place: Place::default(),
                strict: true,
            };
            let mut pipeline = parse("version: 1", "x", &Overrides::default()).pipeline.unwrap();
            pipeline.axes = (0..4).map(axis).collect();
            pipeline.zips = vec![Zip { names: names.clone(), place: Place::default() }];
            pipeline.excludes = left_out.iter().map(pair).collect();
            let axes: Vec<&Axis> = pipeline.axes.iter().enumerate().filter(|(i, _)| wanted[*i]).map(|(_, axis)| axis).collect();
            let mut product = vec![Bindings::new()];
            for axis in &axes {
                let with = |point: &Bindings| {
                    let add = |value: &Value| point.clone().into_iter().chain([(axis.name.clone(), value.clone())]).collect();
                    axis.values.iter().map(add).collect::<Vec<Bindings>>()
                };
                product = product.iter().flat_map(with).collect();
            }
            let in_step = |point: &Bindings| {
                names.iter().filter_map(|name| point.get(name)).map(sweep::show).collect::<BTreeSet<_>>().len() <= 1
            };
            product.retain(|point| in_step(point) && !pipeline.excludes.iter().any(|exclude| leaves_out(exclude, point)));
            // Zipped axes move where the first of them stands, so that the order may be another one.
            let listed = |points: &[Bindings]| {
                let mut listed: Vec<String> = points.iter().map(|point| format!("{point:?}")).collect();
                listed.sort();
                listed
            };
            prop_assert_eq!(listed(&Space::new(&pipeline).points(&axes)), listed(&product));
        }
    }
}
