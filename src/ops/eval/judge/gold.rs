//! What is right, as a row has it: the place of a choice or a list of places; a text or a list of texts; a letter.

use serde_json::Value;

use super::super::sampled::Sampled;
use super::Fault;

/// How many choices a question has, when its row does not say.
const CHOICES: usize = 4;

fn each(gold: &Value) -> &[Value] {
    match gold {
        Value::Array(several) => several,
        one => std::slice::from_ref(one),
    }
}

/// The places of the right choices, of so many.
pub(super) fn places(gold: &Value, choices: usize) -> Result<Vec<usize>, Fault> {
    let place = |value: &Value| {
        let place =
            value.as_u64().or_else(|| value.as_f64().filter(|n| n.fract() == 0.0 && *n >= 0.0).map(|n| n as u64));
        place.filter(|place| *place < choices as u64).map(|place| place as usize)
    };
    let places: Option<Vec<usize>> = each(gold).iter().map(place).collect();
    places.filter(|places| !places.is_empty()).ok_or_else(|| {
        let message = format!("its reference {} is not the place of one of {choices} choices", shown(gold));
        Fault::new(message, "`gold` is an expression for a place counted from 0, or for a list of places")
    })
}

/// The references, each a text; numbers as they are written.
pub(super) fn texts(gold: &Value) -> Result<Vec<String>, Fault> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let texts: Option<Vec<String>> = each(gold).iter().map(text).collect();
    texts.filter(|texts| !texts.is_empty()).ok_or_else(|| {
        let message = format!("its reference {} is not a text", shown(gold));
        Fault::new(message, "`gold` is an expression for a text, or for a list of texts that are right")
    })
}

/// The right letters, and how many there are to choose from.
pub(super) fn letters(sampled: &Sampled) -> Result<(Vec<char>, usize), Fault> {
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
    let choices = match sampled.columns.get("choices") {
        None | Some(Value::Null) => Some(CHOICES),
        Some(Value::Array(choices)) => Some(choices.len()),
        Some(value) => number(value).map(|number| number as usize),
    };
    let choices = choices.filter(|choices| (1..=26).contains(choices)).ok_or_else(|| {
        Fault::new("its column `choices` is not a number of letters", "make `choices` a number from 1 to 26, or a list")
    })?;
    let letter = |value: &Value| match value {
        Value::String(text) => {
            let mut chars = text.trim().chars();
            chars.next().filter(|letter| chars.next().is_none() && char::is_ascii_uppercase(letter))
        }
        Value::Number(place) => place.as_u64().filter(|place| *place < 26).map(|place| char::from(b'A' + place as u8)),
        _ => None,
    };
    let fits = |letter: &char| (*letter as usize - 'A' as usize) < choices;
    let letters: Option<Vec<char>> = each(&sampled.gold).iter().map(|value| letter(value).filter(fits)).collect();
    let letters = letters.filter(|letters| !letters.is_empty()).ok_or_else(|| {
        let message = format!("its reference {} is not one of {choices} letters", shown(&sampled.gold));
        Fault::new(message, "`gold` is a letter from `A` on, or a place counted from 0")
    })?;
    Ok((letters, choices))
}

fn shown(gold: &Value) -> String {
    let text = gold.to_string();
    if text.chars().count() <= 60 { text } else { format!("{}…", text.chars().take(60).collect::<String>()) }
}
