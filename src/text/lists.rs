//! Lists of words that a text must not hold, found as whole words and whatever their case.
//!
//! The bounds are C4's: a word stands alone if what is beside it is no letter, digit or underscore. The two lists that come
//! along are short and ours: insults and slurs that have no innocent sense. Longer ones (LDNOOBW has `veuve` and `bander`
//! for French) drop ordinary prose; who wants them gives them as `words`, from a file of their own (docs/curation.md).

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

/// French insults and slurs without an innocent sense.
pub const FRENCH: &[&str] = &[
    "bamboula",
    "bâtard de merde",
    "bougnoul",
    "bougnoule",
    "branleur",
    "branleurs",
    "chinetoque",
    "connard",
    "connards",
    "connasse",
    "connasses",
    "couille molle",
    "crouille",
    "emmanché",
    "enculé",
    "enculée",
    "enculer",
    "enculés",
    "enfoiré",
    "enfoirée",
    "enfoirés",
    "fils de pute",
    "fille de pute",
    "fils de putes",
    "gouinasse",
    "grognasse",
    "lopette",
    "nique ta mère",
    "nique ta race",
    "pédale de merde",
    "petite pute",
    "pouffiasse",
    "pétasse",
    "ratonnade",
    "sac à merde",
    "sale arabe",
    "sale juif",
    "sale juive",
    "sale nègre",
    "sale noir",
    "sale pédé",
    "salope",
    "salopes",
    "salopard",
    "ta gueule",
    "tarlouze",
    "trou du cul",
    "va te faire enculer",
    "va te faire foutre",
    "youpin",
    "youpine",
    "youpins",
];

/// English insults and slurs without an innocent sense.
pub const ENGLISH: &[&str] = &[
    "asshole",
    "assholes",
    "cocksucker",
    "cunt",
    "cunts",
    "dickhead",
    "faggot",
    "faggots",
    "fuck",
    "fucked",
    "fucker",
    "fucking",
    "kike",
    "kikes",
    "motherfucker",
    "motherfuckers",
    "motherfucking",
    "nigger",
    "niggers",
    "shithead",
    "slut",
    "sluts",
    "spic",
    "towelhead",
    "tranny",
    "wanker",
    "whore",
    "whores",
];

/// Words to look for.
pub struct WordList {
    finder: AhoCorasick,
}

impl WordList {
    /// Looks for these words and phrases; empty ones are left out. The error says why there are too many.
    pub fn new<W: AsRef<str>>(words: &[W]) -> Result<Self, String> {
        let words: Vec<_> =
            words.iter().map(|word| word.as_ref().trim().to_lowercase()).filter(|word| !word.is_empty()).collect();
        let finder = AhoCorasick::builder().match_kind(MatchKind::Standard).build(&words);
        finder.map(|finder| Self { finder }).map_err(|error| error.to_string())
    }

    /// Words of a file: one a line, lines that start with `#` left out.
    pub fn lines(text: &str) -> Vec<&str> {
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
    }

    /// The words that stand in the text, in their order, in small letters.
    pub fn find(&self, text: &str) -> Vec<String> {
        let small = super::lower(text);
        let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let whole = |found: &aho_corasick::Match| {
            !inside(small[..found.start()].chars().next_back()) && !inside(small[found.end()..].chars().next())
        };
        let all = self.finder.find_overlapping_iter(&small).filter(whole);
        all.map(|found| small[found.range()].to_owned()).collect()
    }
}

/// The French list.
pub static IN_FRENCH: LazyLock<Option<WordList>> = LazyLock::new(|| WordList::new(FRENCH).ok());

/// The English list.
pub static IN_ENGLISH: LazyLock<Option<WordList>> = LazyLock::new(|| WordList::new(ENGLISH).ok());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_alone() {
        let list = WordList::new(&["con", "fils de con", " ", "ÉTÉ"]).unwrap();
        assert_eq!(list.find("Un CON, un conseil ; l'été_2 et fils de con."), ["con", "fils de con", "con"]);
        assert_eq!(list.find("(été)"), ["été"]);
        assert!(IN_FRENCH.as_ref().unwrap().find("La veuve porte une gerbe ; le petit con-sommateur.").is_empty());
        assert_eq!(WordList::lines("# titre\n a b \n\nc"), ["a b", "c"]);
    }
}
