//! Strings that stay whole though they hold hyphens, apostrophes or dots: French compounds and addresses on the web.
//!
//! spaCy asks two regular expressions, of 300 alternatives and with look-around. Both have a plain structure (a known head, a
//! hyphen, letters), and asking for the structure takes no back-tracking.

use std::sync::LazyLock;

use rustc_hash::FxHashSet;

use super::class::{self, Class};
use super::tables::{ELIDED_HEADS, HEADS, LINKS, STEMS, WHOLE};

static HEAD_SET: LazyLock<FxHashSet<&str>> = LazyLock::new(|| HEADS.iter().copied().collect());

pub(super) fn is_hyphen(c: char) -> bool {
    matches!(c, '-' | '–' | '—' | '‐' | '‑')
}

pub(super) fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '’')
}

/// Whether the word is one of French's compounds: `faux-vampire`, `entr'ouvrir`, `saut-de-ski`, `week-end` not among them.
pub(super) fn is_compound(word: &str) -> bool {
    let Some(first) = word.find(|c| is_hyphen(c) || is_apostrophe(c)) else { return false };
    let (head, after) = (word[..first].to_lowercase(), &word[first..]);
    let mut tail = after.chars();
    let joint = tail.next().unwrap_or(' ');
    let known = if is_hyphen(joint) { HEAD_SET.contains(&*head) } else { ELIDED_HEADS.contains(&&*head) };
    if known && goes_on(tail.as_str()) {
        return true;
    }
    is_listed(word) || (is_hyphen(joint) && is_linked(word))
}

/// A letter, then letters, hyphens and apostrophes.
fn goes_on(tail: &str) -> bool {
    let mut letters = tail.chars();
    letters.next().is_some_and(class::is_letter_of_any_case)
        && letters.all(|c| is_hyphen(c) || is_apostrophe(c) || class::is_letter_of_any_case(c))
}

fn is_listed(word: &str) -> bool {
    let rest_after = |stem: &str| {
        let mut rest = word.chars();
        for wanted in stem.chars() {
            let c = rest.next()?;
            let fits = match wanted {
                '-' => is_hyphen(c),
                '’' => is_apostrophe(c),
                _ => c == wanted || c.to_lowercase().eq([wanted]),
            };
            if !fits {
                return None;
            }
        }
        Some(rest)
    };
    let ends = |stem: &str, least| {
        rest_after(stem)
            .is_some_and(|rest| rest.as_str().len() >= least && rest.clone().all(class::is_letter_of_any_case))
    };
    STEMS.iter().any(|stem| ends(stem, 1)) || WHOLE.iter().any(|stem| ends(stem, 0))
}

/// Two words and one of the small ones between them.
fn is_linked(word: &str) -> bool {
    let mut parts = word.split(is_hyphen);
    let (Some(first), Some(link), Some(last), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let letters = |part: &str| !part.is_empty() && part.chars().all(is_alpha_of_any_case);
    let elided = |part: &str| {
        let mut rest = part.chars();
        matches!(rest.next(), Some('l' | 'L')) && rest.next().is_some_and(is_apostrophe) && letters(rest.as_str())
    };
    letters(first) && LINKS.contains(&&*link.to_lowercase()) && (letters(last) || elided(last))
}

fn is_alpha_of_any_case(c: char) -> bool {
    class::of(c).is(Class::ALPHA) || c.to_lowercase().next().is_some_and(|small| class::of(small).is(Class::ALPHA))
}

/// Whether the word is an address on the web: `exemple.fr`, `http://a.b.org/c?d`, `nom@exemple.fr`, `8.8.8.8:80`.
pub(super) fn is_address(word: &str) -> bool {
    let scheme = word.find("://").filter(|at| {
        let name = &word[..*at];
        name.chars().count() >= 2 && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '+' | '-' | '.'))
    });
    scheme.is_some_and(|at| after_names(&word[at + 3..])) || after_names(word)
}

/// A place, perhaps after a name and an at sign.
fn after_names(rest: &str) -> bool {
    is_place(rest) || rest.match_indices('@').any(|(at, _)| at > 0 && is_place(&rest[at + 1..]))
}

/// Host, port and path.
fn is_place(rest: &str) -> bool {
    let host_end = rest.find([':', '/', '?', '#']).unwrap_or(rest.len());
    let (host, mut after) = rest.split_at(host_end);
    if let Some(port) = after.strip_prefix(':') {
        let digits = port.chars().take_while(|c| c.is_numeric()).count();
        if !(2..=5).contains(&digits) {
            return false;
        }
        after = port.trim_start_matches(char::is_numeric);
    }
    (after.is_empty() || after.starts_with(['/', '?', '#'])) && (is_number(host) || is_domain(host))
}

fn is_domain(host: &str) -> bool {
    let Some((labels, top)) = host.rsplit_once('.') else { return false };
    let length = top.chars().count();
    let end = |c: char| c.is_ascii_alphanumeric() || ('\u{a1}'..='\u{ffff}').contains(&c);
    let label = |label: &str| {
        label.starts_with(end)
            && label.ends_with(end)
            && label.chars().all(|c| end(c) || matches!(c, '_' | '-'))
            && label.chars().count() <= 64
    };
    (2..=63).contains(&length) && top.chars().all(|c| class::of(c).is(Class::LOWER)) && labels.split('.').all(label)
}

/// A public address of four numbers, leading zeros as the expression has them.
fn is_number(host: &str) -> bool {
    let mut parts = [0u16; 4];
    let mut count = 0;
    for part in host.split('.') {
        let digits = (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        let (Some(slot), true) = (parts.get_mut(count), digits) else { return false };
        *slot = part.parse().unwrap_or(u16::MAX);
        if (count == 0 || count == 3) && part.starts_with('0') {
            return false;
        }
        count += 1;
    }
    let [a, b, c, d] = parts;
    let private = matches!((a, b), (10 | 127, _) | (169, 254) | (192, 168) | (172, 16..=31));
    count == 4 && (1..=223).contains(&a) && b <= 255 && c <= 255 && (1..=254).contains(&d) && !private
}
