//! The second look: are candidates really alike?
//!
//! A band that agrees by chance joins rows that have little in common, and chains of likenesses join rows that have none. So
//! the rows of a cluster are put in the order in which they would stay. Each is compared with those that stay already,
//! shingle by shingle; the first one that it is like enough decides its fate, and if there is none it stays too. The
//! result is a set of stars: every row that goes is like a row that stays.

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::Fate;
use super::clusters::Clusters;
use super::rank::Ranks;
use super::shingles::Shingler;
use crate::ops::curate::item::Item;
use crate::ops::curate::sorter::Sorter;
use crate::ops::curate::spool::Kept;
use crate::ops::{OpCx, OpError};

/// Parts of the histogram of likeness.
const PARTS: usize = 10;

/// What the second look finds.
#[derive(Default)]
pub(super) struct Verified {
    pub(super) fates: FxHashMap<u32, Fate>,
    /// Compared pairs by their Jaccard index: below 0.1, below 0.2, and so on.
    pub(super) histogram: [u64; PARTS],
}

/// A row of the cluster that is looked at.
struct Member {
    row: u32,
    /// Hashes of its shingles, sorted, each once.
    shingles: Vec<u64>,
}

impl Verified {
    pub(super) fn run(
        &mut self,
        rows: &Kept,
        clusters: &mut Clusters,
        ranks: &Ranks,
        shingler: &Shingler,
        (least, cx): (f32, &OpCx<'_>),
    ) -> Result<(), OpError> {
        let mut sorter = Sorter::new(cx.scratch, "clusters");
        let (mut next, mut alike) = (0, 0);
        cx.progress.phase("gathering near-duplicates", Some(ranks.len() as u64), "rows");
        rows.blocks(|block| {
            cx.check_cancelled()?;
            let first = next;
            next += block.len() as u32;
            let mut grouped = Vec::new();
            for (row, item) in (first..).zip(block) {
                if clusters.size(row) > 1 {
                    // The row's number travels with it.
                    let mut item = item.clone();
                    item.number = u64::from(row);
                    grouped.push((clusters.root(row).to_be_bytes().to_vec(), item));
                }
            }
            alike += grouped.len() as u64;
            cx.progress.position(u64::from(next));
            sorter.push(grouped)
        })?;
        let (mut sorted, mut compared) = (sorter.sorted()?, 0);
        let (mut cluster, mut members) = (None, Vec::new());
        cx.progress.phase("comparing near-duplicates", Some(alike), "rows");
        loop {
            cx.check_cancelled()?;
            let block = sorted.next_block()?;
            if block.is_empty() {
                break;
            }
            compared += block.len() as u64;
            let mut whole = Vec::new();
            for member in block.into_par_iter().map(|item| member(&item, shingler)).collect::<Vec<_>>() {
                let root = clusters.root(member.row);
                if cluster.is_some_and(|cluster| cluster != root) {
                    whole.push(std::mem::take(&mut members));
                }
                cluster = Some(root);
                members.push(member);
            }
            let settled: Vec<Self> = whole.into_par_iter().map(|members| Self::of(members, ranks, least)).collect();
            for settled in settled {
                self.add(settled);
            }
            cx.progress.position(compared);
        }
        self.add(Self::of(members, ranks, least));
        Ok(())
    }

    fn add(&mut self, other: Self) {
        self.fates.extend(other.fates);
        for (all, more) in self.histogram.iter_mut().zip(other.histogram) {
            *all += more;
        }
    }

    /// Decides about the rows of one cluster.
    fn of(mut members: Vec<Member>, ranks: &Ranks, least: f32) -> Self {
        members.sort_by(|a, b| {
            if ranks.better(a.row, b.row) { std::cmp::Ordering::Less } else { std::cmp::Ordering::Greater }
        });
        let mut found = Self::default();
        let mut staying: Vec<Member> = Vec::new();
        for member in members {
            let mut like = None;
            for other in &staying {
                let share = jaccard(&member.shingles, &other.shingles);
                found.histogram[((share * PARTS as f32) as usize).min(PARTS - 1)] += 1;
                if share >= least {
                    like = Some(Fate { like: other.row, jaccard: Some(share) });
                    break;
                }
            }
            match like {
                Some(fate) => {
                    found.fates.insert(member.row, fate);
                }
                None => staying.push(member),
            }
        }
        found
    }
}

fn member(item: &Item, shingler: &Shingler) -> Member {
    let mut shingles = shingler.shingles(item.row());
    shingles.sort_unstable();
    shingles.dedup();
    Member { row: item.number as u32, shingles }
}

/// Returns the share of the elements of both sets that are in both of them; sets are sorted.
fn jaccard(one: &[u64], other: &[u64]) -> f32 {
    let (mut i, mut j, mut common) = (0, 0, 0usize);
    while i < one.len() && j < other.len() {
        let (a, b) = (one[i], other[j]);
        common += usize::from(a == b);
        i += usize::from(a <= b);
        j += usize::from(b <= a);
    }
    let all = one.len() + other.len() - common;
    if all == 0 { 1.0 } else { common as f32 / all as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likeness_is_what_is_common_of_all() {
        assert!((jaccard(&[1, 2, 3], &[2, 3, 4]) - 0.5).abs() < 1e-6);
        assert!((jaccard(&[1], &[1]) - 1.0).abs() < 1e-6);
        assert!(jaccard(&[1], &[2]).abs() < 1e-6);
    }
}
