//! Which of many vectors point the same way.
//!
//! A product of two vectors is summed in one order whatever the threads do, so results depend on the rows and the seed
//! alone. Clusters are k-means over directions: rows drawn by a hash of the seed begin them, ten rounds move them.

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::ops::OpError;

/// Rows that are compared with those that stay before they are compared with each other.
const BLOCK: usize = 512;
/// How often clusters are moved.
const ROUNDS: usize = 10;
/// Products that are summed side by side.
const LANES: usize = 16;

/// Where a row goes that does not stay: the row it is like, and how much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fate {
    pub(super) like: u32,
    pub(super) cosine: f32,
}

/// Vectors of length one, or of zeros where a row has none.
pub(super) struct Vectors {
    width: usize,
    numbers: Vec<f32>,
    empty: usize,
}

impl Vectors {
    pub(super) fn new(width: usize) -> Self {
        Self { width: width.max(1), numbers: Vec::new(), empty: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len() / self.width
    }

    /// Returns how many rows have no vector.
    pub(super) fn empty(&self) -> usize {
        self.empty
    }

    /// Adds the vector of the next row.
    pub(super) fn push(&mut self, vector: Option<&[f32]>) {
        let length = |vector: &[f32]| vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        match vector.map(|vector| (vector, length(vector))) {
            Some((vector, length)) if length.is_normal() => {
                self.numbers.extend(vector.iter().map(|x| (f64::from(*x) / length) as f32));
            }
            _ => {
                self.empty += 1;
                self.numbers.resize(self.numbers.len() + self.width, 0.0);
            }
        }
    }

    fn row(&self, row: u32) -> &[f32] {
        &self.numbers[row as usize * self.width..][..self.width]
    }

    /// Returns the cluster of every row, of `count`.
    pub(super) fn clusters(
        &self,
        count: usize,
        seed: u64,
        check: &impl Fn() -> Result<(), OpError>,
    ) -> Result<Vec<u32>, OpError> {
        if count < 2 {
            return Ok(vec![0; self.len()]);
        }
        let mut drawn: Vec<(u64, u32)> =
            (0..self.len() as u32).map(|row| (xxh3_64_with_seed(&row.to_le_bytes(), seed), row)).collect();
        drawn.sort_unstable();
        let mut centres: Vec<f32> = drawn.iter().take(count).flat_map(|(_, row)| self.row(*row)).copied().collect();
        let mut of_row = Vec::new();
        for _ in 0..ROUNDS {
            check()?;
            let nearest = |vector: &[f32]| {
                let mut best = (0, f32::NEG_INFINITY);
                for (cluster, centre) in (0..).zip(centres.chunks_exact(self.width)) {
                    let cosine = product(vector, centre);
                    if cosine > best.1 {
                        best = (cluster, cosine);
                    }
                }
                best.0
            };
            let found: Vec<u32> = self.numbers.par_chunks_exact(self.width).map(nearest).collect();
            let settled = found == of_row;
            of_row = found;
            if settled {
                break;
            }
            self.move_centres(&of_row, &mut centres);
        }
        Ok(of_row)
    }

    /// Puts each centre where its rows point. One without rows stays.
    fn move_centres(&self, of_row: &[u32], centres: &mut [f32]) {
        let mut sums = vec![0.0_f64; centres.len()];
        for (vector, cluster) in self.numbers.chunks_exact(self.width).zip(of_row) {
            let sum = &mut sums[*cluster as usize * self.width..][..self.width];
            sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        for (centre, sum) in centres.chunks_exact_mut(self.width).zip(sums.chunks_exact(self.width)) {
            let length = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
            if length.is_normal() {
                centre.iter_mut().zip(sum).for_each(|(x, sum)| *x = (sum / length) as f32);
            }
        }
    }

    /// Returns what becomes of every row: in `order`, best first, a row goes if one of its cluster that stays is like it. The
    /// first `others` rows stay whatever they are like, and a row that is like one of them goes for that.
    pub(super) fn fates(
        &self,
        order: &[u32],
        (clusters, count): (&[u32], usize),
        others: u32,
        least: f32,
        check: &impl Fn() -> Result<(), OpError>,
    ) -> Result<Vec<Option<Fate>>, OpError> {
        let mut members: Vec<(Vec<u32>, Vec<u32>)> = vec![Default::default(); count];
        for row in order {
            let (theirs, ours) = &mut members[clusters[*row as usize] as usize];
            if *row < others { theirs.push(*row) } else { ours.push(*row) }
        }
        let mut fates = vec![None; self.len()];
        for (theirs, ours) in &members {
            let mut kept: Vec<u32> = Vec::new();
            for block in ours.chunks(BLOCK) {
                check()?;
                let like = |row: &u32| self.nearest(*row, theirs, least).or_else(|| self.nearest(*row, &kept, least));
                let like: Vec<Option<Fate>> = block.par_iter().map(like).collect();
                let before = kept.len();
                for (row, like) in block.iter().zip(like) {
                    let inside = self.nearest(*row, &kept[before..], least);
                    let more =
                        |inside: &Fate| like.is_none_or(|like| like.like >= others && inside.cosine > like.cosine);
                    let like = inside.filter(more).or(like);
                    fates[*row as usize] = like;
                    if like.is_none() {
                        kept.push(*row);
                    }
                }
            }
        }
        Ok(fates)
    }

    /// Returns the row of these that a row is most like, if enough; of equals the first.
    fn nearest(&self, row: u32, others: &[u32], least: f32) -> Option<Fate> {
        let vector = self.row(row);
        let mut best: Option<Fate> = None;
        for &like in others {
            let cosine = product(vector, self.row(like));
            if cosine >= least && best.is_none_or(|best| cosine > best.cosine) {
                best = Some(Fate { like, cosine });
            }
        }
        best
    }
}

fn product(one: &[f32], two: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (ones, twos) = (one.chunks_exact(LANES), two.chunks_exact(LANES));
    let rest: f32 = ones.remainder().iter().zip(twos.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in ones.zip(twos) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "what a look at the user's wish is")]
    fn never() -> Result<(), OpError> {
        Ok(())
    }

    /// Numbers without a pattern, between -1 and 1.
    fn noise(place: u64) -> f32 {
        (xxh3_64_with_seed(&place.to_le_bytes(), 7) >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Rows around some directions, one after the other.
    fn around(directions: u64, rows: u64, width: u64, spread: f32) -> Vectors {
        let mut vectors = Vectors::new(width as usize);
        for row in 0..rows {
            let at = |i| noise((row % directions) * width + i) + spread * noise(1_000_000 + row * width + i);
            vectors.push(Some(&(0..width).map(at).collect::<Vec<f32>>()));
        }
        vectors
    }

    #[test]
    fn a_row_goes_only_if_one_that_stays_is_like_it() {
        let vectors = around(40, 1500, 33, 0.2);
        let order: Vec<u32> = (0..1500).rev().collect();
        let found = vectors.fates(&order, (&[0; 1500], 1), 0, 0.97, &never).unwrap();
        // One after the other, in numbers of twice the precision.
        let exact = |a: u32, b: u32| -> f64 {
            vectors.row(a).iter().zip(vectors.row(b)).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let mut kept: Vec<u32> = Vec::new();
        for row in order {
            let best = kept.iter().map(|other| exact(row, *other)).fold(f64::NEG_INFINITY, f64::max);
            assert_eq!(found[row as usize].is_some(), best >= 0.97, "{row}: {best}");
            match found[row as usize] {
                Some(Fate { like, cosine }) => {
                    assert!(kept.contains(&like) && (f64::from(cosine) - best).abs() < 1e-5);
                }
                None => kept.push(row),
            }
        }
        assert!(kept.len() > 50 && kept.len() < 1450, "{}", kept.len());
    }

    #[test]
    fn clusters_are_those_that_there_are_and_lose_no_pair_within() {
        let vectors = around(6, 600, 20, 0.1);
        let clusters = vectors.clusters(30, 3, &never).unwrap();
        // Rows of one direction may be in several clusters, and never with those of another.
        for (row, cluster) in clusters.iter().enumerate() {
            let stranger = clusters.iter().enumerate().find(|(other, of)| *of == cluster && other % 6 != row % 6);
            assert!(stranger.is_none(), "{row} with {stranger:?}");
        }
        let order: Vec<u32> = (0..600).collect();
        let fates = vectors.fates(&order, (&clusters, 30), 0, 0.9, &never).unwrap();
        let alone = vectors.fates(&order, (&[0; 600], 1), 0, 0.9, &never).unwrap();
        assert!(fates.iter().flatten().count() <= alone.iter().flatten().count());
        assert!(fates.iter().flatten().count() > 500);
    }

    #[test]
    fn rows_of_others_stay_and_take_theirs_along() {
        let vectors = around(40, 1500, 33, 0.2);
        // Best first would be the last ones; the others are the first by their numbers.
        let order: Vec<u32> = (0..1500).rev().collect();
        let one = vectors.fates(&order, (&[0; 1500], 1), 700, 0.97, &never).unwrap();
        assert!(one[..700].iter().all(Option::is_none), "others stay, even those that are like each other");
        let others: Vec<u32> = (0..700).collect();
        let mut gone = 0;
        for row in 700..1500 {
            let near = vectors.nearest(row, &others, 0.97);
            if near.is_some() {
                assert_eq!(one[row as usize], near, "{row}");
                gone += 1;
            } else {
                assert!(one[row as usize].is_none_or(|fate| fate.like >= 700), "{row}");
            }
        }
        assert!(gone > 100 && gone < 800, "{gone}");
    }

    #[test]
    fn a_row_without_a_vector_is_like_none() {
        let mut vectors = Vectors::new(3);
        for vector in [None, Some([0.0; 3]), None, Some([f32::NAN; 3])] {
            vectors.push(vector.as_ref().map(<[f32; 3]>::as_slice));
        }
        assert_eq!((vectors.len(), vectors.empty()), (4, 4));
        assert_eq!(vectors.fates(&[0, 1, 2, 3], (&[0; 4], 1), 0, 0.5, &never).unwrap(), [None; 4]);
    }
}
