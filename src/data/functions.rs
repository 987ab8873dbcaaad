//! The functions that expressions and templates over a row have beside those of the template language: what prompts of
//! benchmarks need and a pipeline can be trusted with. Each is bounded by the size of what it is given.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, State, Value};
use regex::{NoExpand, Regex};

use super::expression::pattern_of;

/// How many patterns are kept compiled.
const PATTERNS: usize = 256;
/// The longest text that a replacement may make, in bytes.
const LONGEST: usize = 16 << 20;

/// Adds the functions; those that change one value are filters too, so that `map` can be given them.
pub(super) fn add(environment: &mut Environment<'static>) {
    let patterns = Patterns::default();
    let known = patterns.clone();
    environment
        .add_function("matches", move |text: &str, pattern: &str| Ok::<_, Error>(known.get(pattern)?.is_match(text)));
    let known = patterns.clone();
    environment.add_function("case", move |text: &str, cases: &Value| case(&known, text, cases));
    let replace = move |text: &str, pattern: &str, with: &str| regex_replace(&patterns, text, pattern, with);
    environment.add_function("regex_replace", replace.clone());
    environment.add_filter("regex_replace", replace);
    environment.add_function("index_of", index_of);
    environment.add_function("places_of", places_of);
    environment.add_function("letter", letter);
    environment.add_filter("letter", letter);
    environment.add_function("first_upper", first_upper);
    environment.add_filter("first_upper", first_upper);
    environment.add_function("python_list", python_list);
    environment.add_filter("python_list", python_list);
    environment.add_function("column", column);
}

fn wrong(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, why.into())
}

/// Patterns, compiled once. Rows are looked at by all threads, and nearly always find theirs.
#[derive(Clone, Default)]
struct Patterns(Arc<RwLock<BTreeMap<String, Arc<Regex>>>>);

impl Patterns {
    fn get(&self, pattern: &str) -> Result<Arc<Regex>, Error> {
        if let Some(compiled) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(pattern) {
            // The same one: a copy of a pattern would have to learn its way through texts anew.
            return Ok(Arc::clone(compiled));
        }
        let compiled = Arc::new(pattern_of(pattern).map_err(wrong)?);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= PATTERNS {
            known.clear();
        }
        known.insert(pattern.to_owned(), Arc::clone(&compiled));
        Ok(compiled)
    }
}

/// Puts `with` in place of every match. It stands for itself: groups are not filled in, which bounds what comes out.
fn regex_replace(patterns: &Patterns, text: &str, pattern: &str, with: &str) -> Result<String, Error> {
    let pattern = patterns.get(pattern)?;
    let found = pattern.find_iter(text).count();
    if text.len().saturating_add(found.saturating_mul(with.len())) > LONGEST {
        return Err(wrong(format!("the replaced text is longer than {LONGEST} bytes")));
    }
    Ok(pattern.replace_all(text, NoExpand(with)).into_owned())
}

/// The value beside the first pattern that is found in the text: `case(text, [['^a', 1], ['', 2]])`.
fn case(patterns: &Patterns, text: &str, cases: &Value) -> Result<Value, Error> {
    for case in cases.try_iter()? {
        let pattern = case.get_item_by_index(0)?;
        let pattern = pattern.as_str().ok_or_else(|| wrong("a case is a list of a pattern and a value"))?;
        if patterns.get(pattern)?.is_match(text) {
            return case.get_item_by_index(1);
        }
    }
    Err(wrong("no case fits"))
}

/// The place of a value in a list, counted from 0.
fn index_of(list: &Value, value: &Value) -> Result<usize, Error> {
    let place = list.try_iter()?.position(|item| item == *value);
    place.ok_or_else(|| wrong(format!("{value:?} is not in the list {list:?}")))
}

/// All the places of a value in a list.
fn places_of(list: &Value, value: &Value) -> Result<Vec<usize>, Error> {
    Ok(list.try_iter()?.enumerate().filter(|(_, item)| item == value).map(|(place, _)| place).collect())
}

/// The letter of a place: `A` for 0.
fn letter(place: u32) -> Result<char, Error> {
    let letter = char::from_u32(u32::from('A') + place.min(26));
    letter.filter(char::is_ascii_uppercase).ok_or_else(|| wrong(format!("place {place} has no letter")))
}

/// The text with its first letter in upper case, and the others as they are.
fn first_upper(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// The texts of a list that a column holds as Python writes it (`"['a', \"b\"]"`), as CSV files of benchmarks do. A list
/// stays as it is.
fn python_list(value: &Value) -> Result<Value, Error> {
    if value.kind() == ValueKind::Seq {
        return Ok(value.clone());
    }
    let text = value.as_str().map(str::trim).unwrap_or_default();
    let bare = || wrong(format!("{value:?} is no list of texts as Python writes it"));
    let mut rest = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).ok_or_else(bare)?.trim();
    let mut items = Vec::new();
    while !rest.is_empty() {
        let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"')).ok_or_else(bare)?;
        let (item, after) = quoted(&rest[1..], quote).ok_or_else(bare)?;
        items.push(Value::from(item));
        let after = after.trim_start();
        rest = if after.is_empty() { after } else { after.strip_prefix(',').ok_or_else(bare)?.trim_start() };
    }
    Ok(Value::from(items))
}

/// The text up to the quote that ends it, and what follows.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut item = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Some((item, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => item.push('\n'),
                't' => item.push('\t'),
                c @ ('\\' | '\'' | '"') => item.push(c),
                _ => return None,
            },
            c => item.push(c),
        }
    }
    None
}

/// A column whose name is no word: `column('Correct Answer')`.
fn column(state: &State<'_, '_>, name: &str) -> Result<Value, Error> {
    state.lookup(name).ok_or_else(|| wrong(format!("the row has no column `{name}`")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::data::{Expression, TextTemplate};

    fn value(source: &str) -> Result<serde_json::Value, String> {
        let row = json!({
            "list": ["A", "B"], "n": 2, "text": "Été [title] a [x] b", "Correct Answer": "yes",
            "python": "['it''s', \"it's\", 'a\\'b', 'tom, dick']", "good": "[\"it's\", 'a\\'b', 'tom, dick']",
        });
        Expression::new(source)?.value(row.as_object().unwrap())
    }

    #[test]
    fn functions_compute() {
        for (source, wanted) in [
            ("index_of(list, 'B')", json!(1)),
            ("places_of([1, 0, 1], 1)", json!([0, 2])),
            ("letter(n)", json!("C")),
            ("[0, 1] | map('letter') | list", json!(["A", "B"])),
            ("first_upper('état de Fait')", json!("État de Fait")),
            ("first_upper('')", json!("")),
            ("text | replace(' [title]', '. ') | regex_replace('\\\\[.*?\\\\]', '')", json!("Été.  a  b")),
            ("['[a] b', 'c'] | map('regex_replace', '\\\\[.*?\\\\] ?', '') | list", json!(["b", "c"])),
            ("regex_replace('ab', '(a)', '$1$1')", json!("$1$1b")),
            ("case('Where is it?', [['murderer', 'm'], ['Where', 'o'], ['', 'x']])", json!("o")),
            ("column('Correct Answer')", json!("yes")),
            ("python_list(good)", json!(["it's", "a'b", "tom, dick"])),
            ("python_list([])", json!([])),
            ("list[:1] + ['x'] + list[1:]", json!(["A", "x", "B"])),
        ] {
            assert_eq!(value(source), Ok(wanted), "{source}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (source, why) in [
            ("index_of(list, 'Z')", "not in the list"),
            ("letter(26)", "has no letter"),
            ("column('nothing')", "no column `nothing`"),
            ("case('a', [['b', 1]])", "no case fits"),
            ("case('a', ['b'])", ""),
            ("python_list(python)", "as Python writes it"),
            ("python_list('[1]')", "as Python writes it"),
            ("regex_replace('a', '(', '')", "no regular expression"),
            ("regex_replace('a' * 600000, '', 'b' * 60000)", "longer than"),
        ] {
            let told = value(source).expect_err(source);
            assert!(told.contains(why), "{source}: {told}");
        }
    }

    #[test]
    fn capitalize_is_python_s_on_french_and_english_text() {
        let text = TextTemplate::new("{{t | capitalize}}").unwrap();
        // What CPython 3.11 gives for `str.capitalize`.
        for (before, after) in [
            ("le CHAT de l'Été", "Le chat de l'été"),
            ("élan ÉTAIT À Œuvre", "Élan était à œuvre"),
            ("œuvre ÇA", "Œuvre ça"),
            ("« Ah ! » DIT-il", "« ah ! » dit-il"),
            ("", ""),
            ("[header] HOW to", "[header] how to"),
        ] {
            assert_eq!(text.render(json!({"t": before}).as_object().unwrap()).as_deref(), Ok(after));
        }
    }
}
