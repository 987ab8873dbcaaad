//! The best few of many, in the order in which C++ gives them.
//!
//! Scores are often equal: they come from a table of 512 sigmoids. Which of equals stays and which stands first then hangs on how the heap of the
//! C++ library moves its elements, so this one moves them alike: a hole sinks to the bottom along the lesser children, and what fills it rises from there.

/// A score and whose it is.
pub(super) type Scored = (f32, usize);

/// A heap with the least score on top, of at most `most`.
pub(super) struct Best {
    heap: Vec<Scored>,
    most: usize,
}

impl Best {
    pub(super) fn new(most: usize) -> Self {
        Self { heap: Vec::new(), most }
    }

    /// Whether a score is below all that are here, and there are enough of them.
    pub(super) fn is_beaten(&self, score: f32) -> bool {
        self.heap.len() == self.most && self.heap.first().is_none_or(|least| score < least.0)
    }

    pub(super) fn push(&mut self, scored: Scored) {
        if self.is_beaten(scored.0) {
            return;
        }
        self.heap.push(scored);
        rise(&mut self.heap, scored);
        if self.heap.len() > self.most {
            drop_top(&mut self.heap);
            self.heap.pop();
        }
    }

    /// Returns all, the best first.
    pub(super) fn sorted(mut self) -> Vec<Scored> {
        for end in (2..=self.heap.len()).rev() {
            drop_top(&mut self.heap[..end]);
        }
        self.heap
    }
}

/// Puts a value into the last place and moves it up past greater ones.
fn rise(heap: &mut [Scored], value: Scored) {
    let mut hole = heap.len() - 1;
    lift(heap, &mut hole, value.0);
    heap[hole] = value;
}

fn lift(heap: &mut [Scored], hole: &mut usize, score: f32) {
    while *hole > 0 && heap[(*hole - 1) / 2].0 > score {
        heap[*hole] = heap[(*hole - 1) / 2];
        *hole = (*hole - 1) / 2;
    }
}

/// Moves the top to the last place, and makes a heap of the others.
fn drop_top(heap: &mut [Scored]) {
    let last = heap.len() - 1;
    let value = heap[last];
    heap[last] = heap[0];
    let rest = &mut heap[..last];
    let mut hole = 0;
    while 2 * hole + 1 < last {
        let (left, right) = (2 * hole + 1, 2 * hole + 2);
        let lesser = if right < last && rest[right].0 <= rest[left].0 { right } else { left };
        rest[hole] = rest[lesser];
        hole = lesser;
    }
    if last > 0 {
        lift(rest, &mut hole, value.0);
        rest[hole] = value;
    }
}
