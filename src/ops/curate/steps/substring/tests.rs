//! The search beside a look at every window, on texts that are hard for it: runs, periods, and passages within passages.

use fs_err as fs;
use proptest::prelude::*;

use super::*;
use crate::data::Row;
use crate::ops::curate::testing::in_folder;
use crate::spec::params::FilterMode;

/// For every byte of every text whether it lies in a window that stood earlier, as the search finds it.
fn found(texts: &[Vec<u8>], length: usize, limits: Limits) -> Vec<Vec<bool>> {
    let items: Vec<Item> =
        texts.iter().map(|text| Item::from(Row::Text(String::from_utf8(text.clone()).unwrap()))).collect();
    let folder = tempfile::tempdir().unwrap();
    let passages = in_folder(folder.path(), |cx| {
        let mut search = Search::new(length, "step", limits, cx);
        let begun = if limits.contexts == 0 { Spool::on_disk } else { Spool::new };
        let mut spool = begun(folder.path(), "step");
        for block in items.chunks(3) {
            search.take(block).unwrap();
            spool.push(block.to_vec()).unwrap();
        }
        let rows = spool.finish().unwrap();
        let repeated = search.repetitions(&rows).unwrap();
        let rows = rows.last_reader().unwrap();
        Reading { rows, repeated, places: Places::default() }.passages(&items).unwrap()
    });
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left on disk");
    let mut all = Vec::new();
    for (text, passages) in texts.iter().zip(passages) {
        let mut repeated = vec![false; text.len()];
        for (from, to) in passages.into_iter().flatten() {
            repeated[from..to].fill(true);
        }
        all.push(repeated);
    }
    all
}

/// The same by looking at every window.
fn naive(texts: &[Vec<u8>], length: usize) -> Vec<Vec<bool>> {
    let mut seen = std::collections::HashSet::new();
    let mut all = Vec::new();
    for text in texts {
        let mut repeated = vec![false; text.len()];
        for (at, window) in text.windows(length).enumerate() {
            if !seen.insert(window) {
                repeated[at..at + length].fill(true);
            }
        }
        all.push(repeated);
    }
    all
}

/// All in memory; all that is sorted on disk; all groups too large for memory as well.
const LIMITS: [Limits; 3] = [
    Limits { records: 1 << 20, contexts: 1 << 20 },
    Limits { records: 500, contexts: 200 },
    Limits { records: 100, contexts: 0 },
];

/// Texts of few letters: by chance, of one letter, of two in turn, and parts of one another.
fn texts() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let letters = || proptest::collection::vec(b'a'..b'd', 0..60);
    let run = (0usize..60).prop_map(|length| vec![b'a'; length]);
    let turns = (1usize..5, 0usize..60).prop_map(|(period, length)| b"abcab"[..period].repeat(length / period));
    let text = prop_oneof![letters(), run, turns];
    let planted = (proptest::collection::vec(text, 0..8), letters(), 0usize..30);
    planted.prop_map(|(texts, passage, every)| {
        let with = |(number, mut text): (usize, Vec<u8>)| {
            if every % (number + 1) < 2 {
                let at = every.min(text.len());
                text.splice(at..at, passage.iter().copied());
            }
            text
        };
        texts.into_iter().enumerate().map(with).collect()
    })
}

proptest! {
    #[test]
    fn repetitions_are_what_stood_earlier(texts in texts(), length in 1usize..7, at in 0..LIMITS.len()) {
        prop_assert_eq!(found(&texts, length, LIMITS[at]), naive(&texts, length), "{:?}", LIMITS[at]);
    }

    #[test]
    fn long_passages_are_found_whatever_stands_around_them(texts in texts(), length in 8usize..41, at in 0..LIMITS.len()) {
        prop_assert_eq!(found(&texts, length, LIMITS[at]), naive(&texts, length), "{:?}", LIMITS[at]);
    }
}

/// Texts like those of people, a third of them with a part of another, in a way that any number of threads must see.
#[test]
fn threads_and_memory_change_nothing() {
    let mut state = 7_u64;
    let mut draw = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut texts: Vec<Vec<u8>> = Vec::new();
    for number in 0..400 {
        let mut text: Vec<u8> = (0..draw(900)).map(|_| b"etaoinsr hlc"[draw(12) as usize]).collect();
        if number > 0 && draw(3) == 0 {
            let other = &texts[draw(number) as usize];
            let from = draw(other.len() as u64 + 1) as usize;
            text.extend_from_slice(&other[from..]);
            text.extend_from_slice(b" the same foot of every page, which is long enough to be a passage");
        }
        texts.push(text);
    }
    for length in [20, 50, 51] {
        let expected = naive(&texts, length);
        assert!(expected.iter().flatten().filter(|repeated| **repeated).count() > 5000);
        for threads in [1, 4] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for limits in
                [Limits::default(), Limits { records: 50_000, contexts: 2000 }, Limits { records: 20_000, contexts: 0 }]
            {
                let found = pool.install(|| found(&texts, length, limits));
                assert!(found == expected, "{length} bytes, {threads} threads, {limits:?}");
            }
        }
    }
}

#[test]
fn a_search_ends_when_the_user_wants_it_to() {
    let folder = tempfile::tempdir().unwrap();
    in_folder(folder.path(), |cx| {
        let settings = DedupSubstring { min_bytes: 20, action: PassageAction::Drop, mode: FilterMode::Drop };
        let mut step = DropPassages::new(&settings, "step", cx);
        let row = |_| Item::from(Row::Text("Il était une fois un passage assez long.".into()));
        step.judge((0..3).map(row).collect()).unwrap();
        cx.cancelled.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(step.held().unwrap_err().to_string().contains("interrupted"));
    });
}
