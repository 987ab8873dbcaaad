//! Which rows hang together: union-find over pairs that a band puts side by side.

/// Sets of rows, each named by one of its members.
pub(super) struct Clusters {
    parents: Vec<u32>,
    sizes: Vec<u32>,
}

impl Clusters {
    /// Returns `rows` sets of one row each.
    pub(super) fn new(rows: usize) -> Self {
        Self { parents: (0..rows as u32).collect(), sizes: vec![1; rows] }
    }

    /// Returns the member by which a row's set is named.
    pub(super) fn root(&mut self, row: u32) -> u32 {
        let mut at = row as usize;
        while self.parents[at] as usize != at {
            self.parents[at] = self.parents[self.parents[at] as usize];
            at = self.parents[at] as usize;
        }
        at as u32
    }

    /// Joins two sets. The larger one's name stays, the first one's if they are of a size, as datatrove has it.
    pub(super) fn join(&mut self, first: u32, second: u32) {
        let (mut stays, mut goes) = (self.root(first) as usize, self.root(second) as usize);
        if stays == goes {
            return;
        }
        if self.sizes[stays] < self.sizes[goes] {
            std::mem::swap(&mut stays, &mut goes);
        }
        self.parents[goes] = stays as u32;
        self.sizes[stays] += self.sizes[goes];
    }

    /// Returns how many rows the set of a row has.
    pub(super) fn size(&mut self, row: u32) -> u32 {
        let root = self.root(row);
        self.sizes[root as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_become_one_set_and_the_rest_stays_apart() {
        let mut clusters = Clusters::new(10);
        for (a, b) in [(0, 1), (2, 3), (1, 2), (5, 4)] {
            clusters.join(a, b);
        }
        assert!((0..4).all(|row| clusters.root(row) == clusters.root(0)));
        assert_eq!((clusters.root(4), clusters.root(5)), (5, 5));
        assert_eq!((clusters.size(3), clusters.size(4), clusters.size(9)), (4, 2, 1));
    }
}
