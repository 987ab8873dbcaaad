//! langdetect's profiles: how often each run of letters occurs in 55 languages. Packed by
//! `tests/fixtures/metrics/tables.py` from langdetect 1.0.9 (Apache-2.0), read at first use.

use std::io::Read;
use std::sync::LazyLock;

use flate2::read::ZlibDecoder;
use rustc_hash::FxHashMap;

static PACKED: &[u8] = include_bytes!("profiles.zz");

pub(super) const LANGUAGES: usize = 55;

pub(super) struct Profiles {
    pub(super) names: Vec<String>,
    /// Chinese characters that stand for one another, each with the one it is read as.
    pub(super) readings: FxHashMap<char, char>,
    /// Rows by the letters of a run.
    rows: FxHashMap<u64, u32>,
    /// The end of each row in `chances`.
    ends: Vec<u32>,
    /// Languages that have the run, and how probable it is in them.
    chances: Vec<(u8, f64)>,
}

impl Profiles {
    /// The languages that know a run.
    pub(super) fn row(&self, row: u32) -> &[(u8, f64)] {
        let end = |row: usize| self.ends[row] as usize;
        let row = row as usize;
        &self.chances[row.checked_sub(1).map_or(0, end)..end(row)]
    }

    /// The row of a run of one to three letters, by its key.
    pub(super) fn find(&self, run: u64) -> Option<u32> {
        self.rows.get(&run).copied()
    }

    fn read(text: &str) -> Self {
        let mut blocks = text.trim_end().split("\n\n");
        let mut readings = FxHashMap::default();
        for class in blocks.next().unwrap_or_default().lines() {
            let Some(first) = class.chars().next() else { continue };
            readings.extend(class.chars().map(|c| (c, first)));
        }
        let (mut names, mut rows) = (Vec::new(), FxHashMap::default());
        let mut found: Vec<(u32, u8, f64)> = Vec::new();
        for (language, block) in blocks.enumerate() {
            let mut lines = block.lines();
            let mut head = lines.next().unwrap_or_default().split('\t');
            names.push(head.next().unwrap_or_default().to_owned());
            let totals: Vec<f64> = head.filter_map(|total| total.parse().ok()).collect();
            for (run, count) in lines.filter_map(|line| line.split_once('\t')) {
                let letters: Vec<char> = run.chars().collect();
                let next = rows.len() as u32;
                let row = *rows.entry(key(&letters)).or_insert(next);
                found.push((row, language as u8, count.parse::<f64>().unwrap_or(0.0) / totals[letters.len() - 1]));
            }
        }
        found.sort_by_key(|&(row, language, _)| (row, language));
        let mut ends = vec![0; rows.len()];
        for (index, (row, ..)) in found.iter().enumerate() {
            ends[*row as usize] = index as u32 + 1;
        }
        Self {
            names,
            readings,
            rows,
            ends,
            chances: found.into_iter().map(|(_, language, chance)| (language, chance)).collect(),
        }
    }
}

/// One number for one to three letters, 21 bits each.
pub(super) fn key(letters: &[char]) -> u64 {
    letters.iter().fold(0, |key, letter| key << 21 | u64::from(u32::from(*letter)))
}

/// The profiles.
pub(super) fn profiles() -> &'static Profiles {
    static PROFILES: LazyLock<Profiles> = LazyLock::new(|| {
        let mut text = String::new();
        ZlibDecoder::new(PACKED).read_to_string(&mut text).expect("the packed profiles are whole");
        Profiles::read(&text)
    });
    &PROFILES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn are_read_whole() {
        let profiles = profiles();
        assert_eq!(profiles.names.len(), LANGUAGES);
        assert_eq!(profiles.rows.len(), 87_598);
        assert_eq!(profiles.chances.len(), 184_129);
        assert_eq!(profiles.readings.len(), 6667);
        let row = profiles.find(key(&['D'])).unwrap();
        let english = profiles.names.iter().position(|name| name == "en").unwrap();
        let chance = profiles.row(row).iter().find(|(language, _)| usize::from(*language) == english).unwrap().1;
        assert!((chance - 662_077.0 / 260_942_223.0).abs() < 1e-15);
    }
}
