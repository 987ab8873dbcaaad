//! The n-grams of evaluation sets, and what of them a text holds.
//!
//! A word is hashed once and an n-gram's hash rolls over its words, so that a text is searched at one look-up a word whatever
//! n is. 64 bits: among 10^8 words and 10^6 n-grams one false match in ten thousand runs, and one n-gram covers little.

use rustc_hash::FxHashMap;
use xxhash_rust::xxh3::xxh3_64;

/// What the roll multiplies by: odd, so that no bit is lost.
const ROLL: u64 = 0x9E37_79B9_7F4A_7C15;

/// An item of an evaluation set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EvalItem {
    /// Which set, and the item's number there, from 1.
    pub(super) set: u32,
    pub(super) number: u64,
    /// How many words it has.
    pub(super) words: u32,
    pub(super) beginning: String,
}

/// Where an n-gram stands in an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct At {
    item: u32,
    word: u32,
}

/// n-grams of one length.
#[derive(Default)]
struct Grams {
    /// By hash: a number in `places`, and in the counts of rows.
    known: FxHashMap<u64, u32>,
    places: Vec<Vec<At>>,
}

/// The n-grams of all items, by their length.
#[derive(Default)]
pub(super) struct Index {
    pub(super) items: Vec<EvalItem>,
    lengths: Vec<(usize, Grams)>,
}

/// An n-gram that an item and a text share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shared {
    /// The length and the number of the n-gram among those of its length.
    pub(super) gram: (u32, u32),
    /// Where it begins in the text, in words.
    pub(super) at: u32,
}

/// A stretch of words: the first, and the one after the last.
type Span = (u32, u32);

/// How much of an item a text holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Hit {
    pub(super) item: u32,
    /// The share of its words that lie in shared n-grams.
    pub(super) coverage: f64,
    /// The first and the last shared n-gram's place in the text, in words.
    pub(super) span: Span,
}

/// Returns the hashes of the words of a simplified text.
pub(super) fn word_hashes(simple: &str) -> Vec<u64> {
    simple.split_whitespace().map(|word| xxh3_64(word.as_bytes())).collect()
}

/// Calls `found` with the place and the hash of every n-gram.
fn roll(words: &[u64], n: usize, mut found: impl FnMut(usize, u64)) {
    if words.len() < n || n == 0 {
        return;
    }
    let oldest = (1..n).fold(1u64, |power, _| power.wrapping_mul(ROLL));
    let mut hash = words[..n].iter().fold(0u64, |hash, word| hash.wrapping_mul(ROLL).wrapping_add(*word));
    found(0, hash);
    for end in n..words.len() {
        hash = hash.wrapping_sub(words[end - n].wrapping_mul(oldest)).wrapping_mul(ROLL).wrapping_add(words[end]);
        found(end + 1 - n, hash);
    }
}

impl Index {
    /// Adds an item with all n-grams of its words; an item with fewer words than `n` is one n-gram of its own length.
    pub(super) fn add(&mut self, item: EvalItem, words: &[u64], n: usize) {
        let at = self.items.len() as u32;
        self.items.push(item);
        self.add_grams(at, words, n.min(words.len()));
    }

    /// Adds n-grams to the item that was added last, without counting its words.
    pub(super) fn extend(&mut self, words: &[u64], n: usize) {
        if words.len() >= n {
            self.add_grams(self.items.len() as u32 - 1, words, n);
        }
    }

    fn add_grams(&mut self, item: u32, words: &[u64], n: usize) {
        let known = self.lengths.iter().position(|(length, _)| *length == n);
        let position = known.unwrap_or_else(|| {
            self.lengths.push((n, Grams::default()));
            self.lengths.len() - 1
        });
        let Grams { known, places } = &mut self.lengths[position].1;
        roll(words, n, |word, hash| {
            let gram = *known.entry(hash).or_insert_with(|| {
                places.push(Vec::new());
                places.len() as u32 - 1
            });
            places[gram as usize].push(At { item, word: word as u32 });
        });
    }

    /// Returns how many n-grams of each length there are.
    pub(super) fn sizes(&self) -> Vec<usize> {
        self.lengths.iter().map(|(_, grams)| grams.places.len()).collect()
    }

    /// Returns the n-grams of items that a text holds too, in the order of lengths and places.
    pub(super) fn search(&self, words: &[u64]) -> Vec<Shared> {
        let mut shared = Vec::new();
        for (length, (n, grams)) in (0..).zip(&self.lengths) {
            roll(words, *n, |at, hash| {
                if let Some(&gram) = grams.known.get(&hash) {
                    shared.push(Shared { gram: (length, gram), at: at as u32 });
                }
            });
        }
        shared
    }

    /// Returns how much of each item the shared n-grams cover, leaving out those that `common` says are.
    pub(super) fn coverage(&self, shared: &[Shared], common: impl Fn((u32, u32)) -> bool) -> Vec<Hit> {
        let mut covered: FxHashMap<u32, (Vec<Span>, Span)> = FxHashMap::default();
        for Shared { gram, at } in shared.iter().filter(|shared| !common(shared.gram)) {
            let (n, grams) = &self.lengths[gram.0 as usize];
            let end = at + *n as u32;
            for place in &grams.places[gram.1 as usize] {
                let (spans, text) = covered.entry(place.item).or_insert_with(|| (Vec::new(), (*at, end)));
                spans.push((place.word, place.word + *n as u32));
                *text = (text.0.min(*at), text.1.max(end));
            }
        }
        let mut hits: Vec<Hit> = covered
            .into_iter()
            .map(|(item, (spans, span))| {
                let words = self.items[item as usize].words.max(1);
                Hit { item, coverage: f64::from(union(spans)) / f64::from(words), span }
            })
            .collect();
        hits.sort_by(|a, b| b.coverage.total_cmp(&a.coverage).then(a.item.cmp(&b.item)));
        hits
    }
}

/// Returns how many words lie in at least one of the spans.
fn union(mut spans: Vec<Span>) -> u32 {
    spans.sort_unstable();
    let (mut all, mut end) = (0, 0);
    for (from, to) in spans {
        all += to.saturating_sub(from.max(end));
        end = end.max(to);
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn item(words: usize) -> EvalItem {
        EvalItem { set: 0, number: 1, words: words as u32, beginning: String::new() }
    }

    #[test]
    fn an_item_is_found_whole_in_part_and_changed() {
        let words = |text: &str| word_hashes(text);
        let mut index = Index::default();
        let question = words("soit f la fonction qui a tout entier associe son double plus un");
        index.add(item(question.len()), &question, 5);
        let share = |text: &str| index.coverage(&index.search(&words(text)), |_| false).first().map(|hit| hit.coverage);
        assert_eq!(share("bon soit f la fonction qui a tout entier associe son double plus un calculer"), Some(1.0));
        let half = share("soit f la fonction qui a rien").unwrap();
        assert!((half - 6.0 / 13.0).abs() < 1e-9, "{half}");
        assert_eq!(share("rien de tout cela ne se trouve ici"), None);
    }

    #[test]
    fn a_short_item_must_be_whole() {
        let mut index = Index::default();
        let short = word_hashes("la capitale du togo");
        index.add(item(4), &short, 8);
        assert_eq!(index.coverage(&index.search(&word_hashes("quelle est la capitale du togo")), |_| false).len(), 1);
        assert!(index.search(&word_hashes("la capitale du benin et du togo")).is_empty());
    }

    proptest! {
        #[test]
        fn rolled_hashes_are_those_of_the_words(words in proptest::collection::vec(0u64..5, 0..30), n in 1usize..6) {
            let mut rolled = Vec::new();
            roll(&words, n, |_, hash| rolled.push(hash));
            let plain = |gram: &[u64]| gram.iter().fold(0u64, |hash, word| hash.wrapping_mul(ROLL).wrapping_add(*word));
            let expected: Vec<u64> = words.windows(n).map(plain).collect();
            prop_assert_eq!(rolled, expected);
        }
    }
}
