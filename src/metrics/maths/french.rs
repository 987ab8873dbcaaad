//! What a reader accepts and a parser made for English LaTeX does not: `3,5`, `1 000`, `5 cm`, `5 %` for 5, answers outside LaTeX.
//!
//! A comma is ambiguous (`3,5` is also a list), so a prediction may be read either way, a reference only as it is written.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::{
    Language, Profile,
    equal::{self, Rules},
    expr::Expr,
    extract::{Extracted, formula, tail},
};

#[expect(clippy::unwrap_used, reason = "patterns of this file, compiled by its tests")]
fn re(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

static GROUPS: LazyLock<Regex> =
    LazyLock::new(|| re(r"\d+(?:(?:\\[,;:! ]|\\thinspace ?|[ ~\x{a0}\x{202f}\x{2009}])\d{3})+(?:\D|$)"));
static COMMA: LazyLock<Regex> = LazyLock::new(|| re(r"(\d)\{,\}(\d+)"));
static JOINED: LazyLock<Regex> =
    LazyLock::new(|| re(r"\\text\{\s*(?:et|ou|and|or)\s*\}|\\(?:quad|qquad)?\s+(?:et|ou)\s+"));
static DECIMAL: LazyLock<Regex> = LazyLock::new(|| re(r"(^|[^\d,])(\d+),(\d+)($|[^\d,])"));
static UNIT: LazyLock<Regex> = LazyLock::new(|| {
    re(concat!(
        r"^(.*[\d})])\s*(?:\\[,;: ~]|~)?\s*(?:\\text\{)?\s*(?:",
        r"[kcdm]?m(?:\^\{?[23]\}?|²|³)?|[kcm]?g|[cm]?l|L|km/h|m/s|mph|h|min|s|ft|inch(?:es)?|feet|miles?|yards?|degrees?|degrés?",
        r"|hours?|heures?|minutes?|seconds?|secondes?|days?|jours?|weeks?|semaines?|months?|mois|years?|ans?|années?",
        r"|meters?|metres?|mètres?|units?|unités?|points?|pounds?|livres?|cents?|centimes?|dollars?|euros?|€|\\euro|£",
        r"|°\s*[CF]?|square units|cubic units|sq units",
        r")\s*\}?$"
    ))
});
static SAYS: LazyLock<Regex> = LazyLock::new(|| {
    re(
        r"(?i)(?:####|réponse|answer|résultat|result)(?: finale?)?(?: (?:est|is|vaut))?\s*:?\s*(?:environ |about )?\**\s*([^\n]+)",
    )
});
static PROSE: LazyLock<Regex> = LazyLock::new(|| re(r"(?:^|[^\\a-zA-Zà-ÿ{])[a-zA-Zà-ÿ]{2,}\s+[a-zA-Zà-ÿ]"));

/// Digits in groups of three joined, `{,}` read as the comma it prints, "et" and "ou" as separators.
pub(crate) fn respelled(source: &str) -> String {
    let joined = |c: &Captures| {
        let whole = &c[0];
        let first = whole.bytes().take_while(u8::is_ascii_digit).count();
        if first > 3 {
            return whole.to_owned();
        }
        let last = whole.chars().next_back().filter(|c| !c.is_ascii_digit());
        let digits: String = whole.chars().filter(char::is_ascii_digit).collect();
        digits + &last.map(String::from).unwrap_or_default()
    };
    let text = GROUPS.replace_all(source, joined);
    let text = COMMA.replace_all(&text, |c: &Captures| {
        let mark = if c[2].len() == 3 { ',' } else { '.' };
        format!("{}{mark}{}", &c[1], &c[2])
    });
    JOINED.replace_all(&text, separator(&text)).into_owned()
}

/// Commas between digits as decimal points.
pub(crate) fn decimals(text: &str) -> String {
    // Twice, because neighbours share the mark between them.
    let once = DECIMAL.replace_all(text, "${1}${2}.${3}${4}");
    DECIMAL.replace_all(&once, "${1}${2}.${3}${4}").into_owned()
}

/// What "et" stands for: a comma where commas part the others, else a semicolon, because commas may be decimal.
fn separator(text: &str) -> &'static str {
    if text.contains(", ") { "," } else { ";" }
}

/// The answer of a sentence without LaTeX: what follows "la réponse est", if all of it is a formula.
pub(crate) fn bare(output: &str, language: Language) -> Option<Extracted> {
    let text = tail(output.trim());
    if text.replace(r"\$", "").contains('$') || text.contains(r"\(") || text.contains(r"\[") {
        return None;
    }
    let said = SAYS.captures_iter(text).last()?.get(1)?.as_str();
    let said = said.trim().trim_end_matches(['.', '*', '!']).trim();
    let (and, or) = language.joiners();
    let listed = said.replace(&format!(" {and} "), separator(said)).replace(&format!(" {or} "), separator(said));
    let unit = UNIT.captures(&listed).map_or(listed.as_str(), |c| c.get(1).map_or("", |m| m.as_str())).to_owned();
    if PROSE.is_match(&unit) {
        return None;
    }
    formula(&unit, false, true)
}

/// A reference that is nothing but its answer.
pub(crate) fn alone(reference: &str) -> Option<Extracted> {
    let marked = ["$", r"\boxed", r"\(", r"\["].iter().any(|mark| reference.replace(r"\$", "").contains(mark));
    if marked || reference.len() > 300 || PROSE.is_match(reference) { None } else { formula(reference, false, true) }
}

/// Whether another reading of the prediction is the reference.
pub(crate) fn lenient(gold: &Extracted, pred: &Extracted, profile: Profile) -> bool {
    if matches!(profile, Profile::Luth | Profile::Lighteval) {
        return false;
    }
    let human = profile == Profile::Native;
    let rules = Rules::of(profile);
    let equal = |value: &Expr| equal::matches(&gold.value, value, rules);
    if let Expr::Percent(inner) = &pred.value
        && equal(inner)
    {
        return true;
    }
    let read = |text: &str| formula(text, false, human).map(|f| f.value);
    let bare = UNIT.captures(&pred.text).and_then(|c| read(c.get(1)?.as_str()));
    if let Expr::Percent(inner) = &gold.value
        && let shown = bare.as_ref().unwrap_or(&pred.value)
        // math-verify does so for numbers only.
        && (human || matches!(shown, Expr::Num(_) | Expr::Relation(..)))
        && equal::matches(inner, shown, rules)
    {
        return true;
    }
    if human
        && let Expr::Mul(parts) = &pred.value
        && let [sign, Expr::Percent(inner)] = parts.as_slice()
        && equal(&Expr::Mul(vec![sign.clone(), (**inner).clone()]))
    {
        return true;
    }
    if bare.is_some_and(|value| equal(&value)) {
        return true;
    }
    let read = |text: &str| read(text).is_some_and(|value| equal(&value));
    if !human {
        // math-verify's "and" is a comma, and no number in thousands begins with nought.
        let small = pred.text.strip_prefix("0,").filter(|part| part.len() == 3).map(|part| format!("0.{part}"));
        return small.is_some_and(|text| read(&text))
            || (pred.text.contains(';') && read(&pred.text.replace(';', ",")));
    }
    let commas = decimals(&pred.text);
    let brackets = pred.text.contains(['(', '[', ']']) && !pred.text.contains(';');
    commas != pred.text && !brackets && read(&commas)
}
