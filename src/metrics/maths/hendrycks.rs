//! Hendrycks' `is_equiv` for MATH as PRM800K ships it (`math_normalize.py`, MIT): two answers are equal when their strings are
//! after a handful of repairs. Strict about form and blind to mathematics, which is why it is only offered for comparison.

use super::clean::{fracs, slashed};

/// Whether two bare answers are equal.
pub fn equivalent(a: &str, b: &str) -> bool {
    normalized(a) == normalized(b)
}

/// The answer out of its enclosing `\text{…}` and repaired; what the repairs stumble over stays as it is.
fn normalized(answer: &str) -> String {
    let answer = answer.trim();
    let inner = answer.strip_prefix(r"\text{").and_then(|rest| rest.strip_suffix('}')).filter(|t| !t.is_empty());
    let answer = inner.map_or(answer, str::trim);
    strip(answer).unwrap_or_else(|| answer.to_owned())
}

/// The answer after its repairs; `None` where the reference implementation raises.
fn strip(source: &str) -> Option<String> {
    let mut text = source.replace('\n', "").replace(r"\!", "").replace(r"\\", r"\");
    text = text.replace("tfrac", "frac").replace("dfrac", "frac").replace(r"\left", "").replace(r"\right", "");
    text = text.replace(r"^{\circ}", "").replace(r"^\circ", "").replace(r"\$", "");
    if let Some((before, after)) = text.split_once(r"\text{ ") {
        if after.contains(r"\text{ ") {
            return None;
        }
        text = String::from(before);
    }
    text = text.replace(r"\%", "").replace(" .", " 0.").replace("{.", "{0.");
    if text.is_empty() {
        return Some(text);
    }
    if text.starts_with('.') {
        text.insert(0, '0');
    }
    if let Some((name, value)) = text.split_once('=')
        && !value.contains('=')
        && name.chars().count() <= 2
    {
        text = String::from(value);
    }
    text = roots(&text)?.replace(' ', "");
    text = fracs(&text);
    if text == "0.5" {
        r"\frac{1}{2}".clone_into(&mut text);
    }
    Some(slashed(text))
}

fn roots(text: &str) -> Option<String> {
    let mut pieces = text.split(r"\sqrt");
    let mut out = pieces.next()?.to_owned();
    for piece in pieces {
        out.push_str(r"\sqrt");
        let first = piece.chars().next()?;
        if first == '{' {
            out.push_str(piece);
        } else {
            out.extend(['{', first, '}']);
            out.push_str(&piece[first.len_utf8()..]);
        }
    }
    Some(out)
}
