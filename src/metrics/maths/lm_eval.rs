//! The maths scoring of lm-evaluation-harness (4e7e0d47): GSM8K's two filters with their exact match, and Minerva's normalised
//! answers (Lewkowycz et al. 2022, appendix D). `math_verify` is `Profile::MathVerify`.

use std::sync::LazyLock;

use regex::Regex;

use super::Profile;
use super::{
    Language, clean,
    equal::{self, Rules},
    extract::{LONGEST, tail},
    parse::{Dialect, parse},
};

#[expect(clippy::unwrap_used, reason = "patterns of this file, compiled by its tests")]
fn re(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

static HASHES: LazyLock<Regex> = LazyLock::new(|| re(r"#### (-?[0-9.,]+)"));
static SAID: LazyLock<Regex> = LazyLock::new(|| re(r"La réponse est (-?[0-9.,]+)"));
static NUMBER: LazyLock<Regex> = LazyLock::new(|| re(r"-?[$0-9.,]{2,}|-?[0-9]+"));

/// GSM8K's strict answer: the first number after `####` (in French: after "La réponse est").
pub fn strict(output: &str, language: Language) -> Option<&str> {
    let pattern = if language == Language::French { &SAID } else { &HASHES };
    pattern.captures(tail(output)).and_then(|c| c.get(1)).map(|m| m.as_str())
}

/// GSM8K's flexible answer: the last number of the output.
pub fn flexible(output: &str) -> Option<&str> {
    NUMBER.find_iter(tail(output)).last().map(|m| m.as_str())
}

/// GSM8K's exact match: commas, dollars, everything up to `#### ` and a last full stop do not count, nor does case.
pub fn exact_match(gold: &str, answer: &str) -> bool {
    let plain = |s: &str| {
        let s = s.replace([',', '$'], "");
        let s = s.rfind("#### ").map_or(s.as_str(), |at| &s[at + 5..]).to_lowercase();
        s.strip_suffix('.').unwrap_or(&s).to_owned()
    };
    plain(gold) == plain(answer)
}

const SUBSTITUTED: [(&str, &str); 10] = [
    ("an ", ""),
    ("a ", ""),
    (".$", "$"),
    (r"\$", ""),
    (r"\ ", ""),
    (" ", ""),
    ("mbox", "text"),
    (r",\text{and}", ","),
    (r"\text{and}", ","),
    (r"\text{m}", r"\text{}"),
];
const REMOVED: [&str; 41] = [
    "square",
    "ways",
    "integers",
    "dollars",
    "mph",
    "inches",
    "ft",
    "hours",
    "km",
    "units",
    r"\ldots",
    "sue",
    "points",
    "feet",
    "minutes",
    "digits",
    "cents",
    "degrees",
    "cm",
    "gm",
    "pounds",
    "meters",
    "meals",
    "edges",
    "students",
    "childrentickets",
    "multiples",
    r"\text{s}",
    r"\text{.}",
    "\\text{\ns}",
    r"\text{}^2",
    r"\text{}^3",
    "\\text{\n}",
    r"\text{}",
    r"\mathrm{th}",
    r"^\circ",
    r"^{\circ}",
    r"\;",
    r",\!",
    "{,}",
    "\"",
];
static DOLLARS: LazyLock<Regex> = LazyLock::new(|| re(r"(.*?)(\$)(.*?)(\$)(.*)"));
static WRAPPED: LazyLock<[Regex; 4]> =
    LazyLock::new(|| [r"\\text\{(.*?)\}", r"\\textbf\{(.*?)\}", r"\\overline\{(.*?)\}", r"\\boxed\{(.*)\}"].map(re));
static FRAC: LazyLock<Regex> = LazyLock::new(|| re(r"frac([^{])(.)"));
static SQRT: LazyLock<Regex> = LazyLock::new(|| re(r"sqrt([^{])"));
static FINAL: LazyLock<Regex> = LazyLock::new(|| re(r"Final Answer: The final answer is(.*?). I hope it is correct\."));

/// The answer of an output in Minerva's form, normalised; `None` where the sentence is missing.
pub fn minerva_answer(output: &str) -> Option<String> {
    let text = format!("{}I hope it is correct.", tail(output));
    let answer = FINAL.captures(&text)?.get(1)?.as_str().trim().to_owned();
    Some(minerva_normalized(&answer))
}

/// Minerva's `normalize_final_answer`.
pub fn minerva_normalized(answer: &str) -> String {
    let mut text = answer.rsplit('=').next().unwrap_or(answer).to_owned();
    for (old, new) in SUBSTITUTED {
        text = text.replace(old, new);
    }
    for word in REMOVED {
        text = text.replace(word, "");
    }
    text = text.replace(r"\dots", "");
    text = DOLLARS.replace_all(&text, "$$$3$$").into_owned();
    for pattern in &*WRAPPED {
        text = pattern.replace_all(&text, "$1").into_owned();
    }
    text = FRAC.replace_all(&text, "frac{$1}{$2}").into_owned();
    text = SQRT.replace_all(&text, "sqrt{$1}").into_owned();
    text = text.replace('$', "");
    let digits = text.replace(',', "");
    if !digits.is_empty() && digits.chars().all(char::is_numeric) { digits } else { text }
}

/// Whether two normalised answers are equal: as strings, or by value where both can be read.
pub fn minerva_equal(a: &str, b: &str) -> bool {
    let read = |s: &str| (s.len() <= LONGEST).then(|| parse(s, Dialect::default())).flatten();
    a == b
        || match (read(a), read(b)) {
            (Some(x), Some(y)) => equal::matches(&x, &y, Rules::of(Profile::MathVerify)),
            _ => false,
        }
}

/// The last box of a solution, Minerva's reference.
pub fn last_box(solution: &str) -> Option<String> {
    let text = tail(solution);
    let at = text.rfind(r"\boxed")?;
    Some(clean::unboxed(&text[at..], true))
}
