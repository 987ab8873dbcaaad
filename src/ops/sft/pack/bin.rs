//! Packing samples into bins once, by each of the rules.
//!
//! Best fit takes the longest sample first (best-fit-decreasing, Johnson 1973), each into the fullest bin that still has
//! room. How many bins come out depends on the lengths alone. Bins are then shuffled, since packing leaves the long samples
//! in the first ones. Multipack is Axolotl's first fit in the order of the shuffle, with a tree over the room that is left
//! instead of a search through all bins.

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::ops::OpError;
use crate::spec::params::{Packing, SftParams};

/// Samples packed between two looks at whether to stop.
const SAMPLES_AT_A_TIME: usize = 1 << 16;

/// Axolotl's `sample_packing_bin_size` and `sample_packing_group_size`.
const BIN_SIZE: usize = 200;
const GROUP_SIZE: usize = 100_000;

/// The samples of one packed sequence, by their place in the list.
pub(super) type Bin = Vec<usize>;

/// Packs all samples once into bins with room for so many tokens. `go_on` is told from time to time how many are packed, and may end it.
pub(super) fn pack(
    lengths: &[usize],
    room: usize,
    params: &SftParams,
    pass: u64,
    go_on: impl Fn(usize) -> Result<(), OpError>,
) -> Result<Vec<Bin>, OpError> {
    let mut generator = ChaCha8Rng::seed_from_u64(params.seed);
    generator.set_stream(pass);
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    shuffle(&mut order, &mut generator);
    match params.packing {
        Packing::None => Ok(order.into_iter().map(|sample| vec![sample]).collect()),
        Packing::BestFit => {
            order.sort_by_key(|sample| std::cmp::Reverse(lengths[*sample]));
            let mut bins = best_fit(lengths, &order, room, go_on)?;
            shuffle(&mut bins, &mut generator);
            Ok(bins)
        }
        Packing::Multipack => {
            let room = params.micro_batch_size.saturating_mul(room);
            let group_size = params.packing_group_size.unwrap_or(GROUP_SIZE);
            let mut bins = Vec::new();
            for (group, order) in order.chunks(group_size).enumerate() {
                go_on(group * group_size)?;
                bins.append(&mut first_fit(lengths, order, room, params.packing_bin_size.unwrap_or(BIN_SIZE)));
            }
            Ok(bins)
        }
    }
}

/// Puts items in random order (Fisher and Yates). Fewer than 2³² items, so the bias of the remainder is below 2⁻³².
pub(in crate::ops::sft) fn shuffle<T>(items: &mut [T], generator: &mut ChaCha8Rng) {
    for last in (1..items.len()).rev() {
        let other = generator.next_u64() % (last as u64 + 1);
        items.swap(last, other as usize);
    }
}

fn best_fit(
    lengths: &[usize],
    order: &[usize],
    capacity: usize,
    go_on: impl Fn(usize) -> Result<(), OpError>,
) -> Result<Vec<Bin>, OpError> {
    let mut bins: Vec<Bin> = Vec::new();
    // Room left, and the bin that has it.
    let mut room: BTreeSet<(usize, usize)> = BTreeSet::new();
    for (packed, sample) in order.iter().copied().enumerate() {
        if packed % SAMPLES_AT_A_TIME == 0 {
            go_on(packed)?;
        }
        let length = lengths[sample];
        let found = room.range((length, 0)..).next().copied();
        let (left, bin) = found.unwrap_or_else(|| {
            bins.push(Bin::new());
            (capacity, bins.len() - 1)
        });
        room.remove(&(left, bin));
        bins[bin].push(sample);
        room.insert((left.saturating_sub(length), bin));
    }
    Ok(bins)
}

/// Returns how many bins the best fit needs for samples of these lengths.
pub(in crate::ops) fn sequences_of(lengths: &[usize], room: usize) -> usize {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|sample| std::cmp::Reverse(lengths[*sample]));
    best_fit(lengths, &order, room, |_| Ok(())).map_or(0, |bins| bins.len())
}

/// Puts each sample into the first bin with room for it and fewer than `most` samples.
fn first_fit(lengths: &[usize], order: &[usize], capacity: usize, most: usize) -> Vec<Bin> {
    let mut bins: Vec<Bin> = Vec::new();
    let mut room = Room::new(order.len(), capacity);
    for sample in order.iter().copied() {
        let (bin, left) = room.first(lengths[sample]);
        if bin == bins.len() {
            bins.push(Bin::new());
        }
        bins[bin].push(sample);
        room.set(bin, if bins[bin].len() == most { 0 } else { left - lengths[sample] });
    }
    bins
}

/// The room of bins in a row, those that are not begun yet included: a tree whose nodes hold the greater of two rooms.
struct Room {
    /// A power of two.
    leaves: usize,
    tree: Vec<usize>,
}

impl Room {
    fn new(bins: usize, capacity: usize) -> Self {
        let leaves = bins.max(1).next_power_of_two();
        Self { leaves, tree: vec![capacity; 2 * leaves] }
    }

    /// Returns the first bin with so much room, and its room. There are as many bins as samples, so there is one.
    fn first(&self, length: usize) -> (usize, usize) {
        let mut node = 1;
        while node < self.leaves {
            node = if self.tree[2 * node] >= length { 2 * node } else { 2 * node + 1 };
        }
        (node - self.leaves, self.tree[node])
    }

    fn set(&mut self, bin: usize, room: usize) {
        let mut node = bin + self.leaves;
        self.tree[node] = room;
        while node > 1 {
            node /= 2;
            self.tree[node] = self.tree[2 * node].max(self.tree[2 * node + 1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Axolotl's `pack_group` does it.
    fn searched(lengths: &[usize], order: &[usize], capacity: usize, most: usize) -> Vec<Bin> {
        let (mut bins, mut rooms): (Vec<Bin>, Vec<usize>) = (Vec::new(), Vec::new());
        for sample in order.iter().copied() {
            let length = lengths[sample];
            let fits = |i: &usize| rooms[*i] >= length && bins[*i].len() < most;
            let bin = (0..bins.len()).find(fits).unwrap_or_else(|| {
                bins.push(Bin::new());
                rooms.push(capacity);
                bins.len() - 1
            });
            bins[bin].push(sample);
            rooms[bin] -= length;
        }
        bins
    }

    #[test]
    fn the_first_bin_with_room_is_found() {
        for (count, capacity, most) in [(1, 100, 3), (7, 100, 3), (300, 120, 5), (500, 1000, 200), (500, 100, 1)] {
            let lengths: Vec<usize> = (0..count).map(|i| 1 + (i * i * 37 + i) % 100).collect();
            let order: Vec<usize> = (0..count).rev().collect();
            assert_eq!(first_fit(&lengths, &order, capacity, most), searched(&lengths, &order, capacity, most));
        }
    }
}
