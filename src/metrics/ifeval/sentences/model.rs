//! Punkt's models of English and French: abbreviations, pairs of words with a period between, words that open sentences
//! and how words are written. Packed by `tests/fixtures/metrics/tables.py` from NLTK's (Apache-2.0), read at first use.

use std::io::Read;
use std::sync::LazyLock;

use flate2::read::ZlibDecoder;
use rustc_hash::{FxHashMap, FxHashSet};

static PACKED: &[u8] = include_bytes!("punkt.zz");

/// Abbreviations that M-IFEval adds to the French model (Dussolle et al. 2025), as it writes them.
const MORE_FRENCH: &str = "m mr mme mlle dir. dr dre drs dres prof pr cap lt adm. assoc. min. etc cf vs rép i.e c.-à-d ex e.g \
    apr av j.c. j.-c. j.c j.-c a.d env janv fév mar avr juil sept oct nov déc p.-ê. svp p.-v. p.v tél adj q.v p resp tel v \
    vol nb n.b p.s ps p.p.s p.-s p-s";

/// Ways in which a word was seen while the model was trained.
pub(super) const MID_UPPER: u8 = 1 << 2;
pub(super) const UPPER: u8 = 0b1110;
pub(super) const BEGIN_LOWER: u8 = 1 << 4;
pub(super) const LOWER: u8 = 0b111_0000;

/// What Punkt knows of a language.
#[derive(Debug, Default)]
pub struct Model {
    pub(super) abbreviations: FxHashSet<String>,
    /// Two words with a space between.
    pub(super) pairs: FxHashSet<String>,
    pub(super) starters: FxHashSet<String>,
    pub(super) seen: FxHashMap<String, u8>,
}

impl Model {
    /// The English model.
    pub fn english() -> &'static Self {
        &MODELS[0]
    }

    /// The French model.
    pub fn french() -> &'static Self {
        &MODELS[1]
    }

    /// The French model with the abbreviations that M-IFEval adds.
    pub fn french_with_more() -> &'static Self {
        &MODELS[2]
    }

    fn read(block: &str) -> Self {
        let mut lines = block.lines();
        let mut set = || lines.next().unwrap_or_default().split('\t').map(str::to_owned).collect();
        let (abbreviations, pairs, starters) = (set(), set(), set());
        let seen = lines.filter_map(|line| line.split_once('\t'));
        let seen = seen.map(|(word, flags)| (word.to_owned(), flags.parse().unwrap_or(0))).collect();
        Self { abbreviations, pairs, starters, seen }
    }
}

static MODELS: LazyLock<Vec<Model>> = LazyLock::new(|| {
    let mut text = String::new();
    ZlibDecoder::new(PACKED).read_to_string(&mut text).expect("the packed models are whole");
    let mut blocks: Vec<&str> = text.trim_end().split("\n\n").collect();
    blocks.push(blocks[1]);
    let mut models: Vec<Model> = blocks.into_iter().map(Model::read).collect();
    models[2].abbreviations.extend(MORE_FRENCH.split_whitespace().map(str::to_owned));
    models
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn are_read_whole() {
        let sizes =
            |model: &Model| [model.abbreviations.len(), model.pairs.len(), model.starters.len(), model.seen.len()];
        assert_eq!(sizes(Model::english()), [156, 37, 39, 20_366]);
        assert_eq!(sizes(Model::french()), [61, 18, 48, 26_726]);
        assert!(Model::french_with_more().abbreviations.contains("c.-à-d"));
    }
}
