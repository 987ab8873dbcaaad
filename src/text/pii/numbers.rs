//! Numbers that name a person, an account or a company in France: found by their shape, believed by their check digits.
//!
//! A number is a run of digits with single separators; what is written against it (letters, more digits) makes it another.

use iban::Iban;

use super::Kind;

/// A run of digits and single separators, cut where two separators meet.
struct Run {
    start: usize,
    end: usize,
    digits: Vec<u8>,
}

/// Calls `take` with the first and last byte of each number of the kind.
pub(super) fn find(kind: Kind, text: &str, mut take: impl FnMut(usize, usize)) {
    if kind == Kind::Iban {
        accounts(text, take);
        return;
    }
    for run in runs(text) {
        let fits = match kind {
            Kind::PhoneFr => is_phone(&text[run.start..run.end], &run.digits),
            Kind::Nir => is_nir(&text[run.start..run.end]),
            Kind::Siret => matches!(run.digits.len(), 9 | 14) && is_siret(&text[run.start..run.end], &run.digits),
            Kind::Card => is_card(&text[run.start..run.end], &run.digits),
            Kind::Email | Kind::Ip | Kind::Iban => false,
        };
        if fits {
            take(run.start, run.end);
        }
    }
}

fn runs(text: &str) -> Vec<Run> {
    let bytes = text.as_bytes();
    let (mut runs, mut at) = (Vec::new(), 0);
    while let Some(found) = bytes[at..].iter().position(u8::is_ascii_digit) {
        let mut start = at + found;
        let mut end = start;
        while let Some(byte) = bytes.get(end) {
            let joins = match byte {
                b'0'..=b'9' => true,
                // Two letters of social-security numbers of Corsica.
                b'A' | b'B' => bytes[end - 1] == b'2' && bytes.get(end + 1).is_some_and(|next| is_inside(*next)),
                b' ' | b'.' | b'-' | b'(' | b')' => {
                    bytes.get(end + 1).is_some_and(|next| next.is_ascii_digit() || matches!(next, b'(' | b')'))
                }
                _ => false,
            };
            if !joins {
                break;
            }
            end += 1;
        }
        at = end.max(start + 1);
        let before = text[..start].chars().next_back();
        if before == Some('+') {
            start -= 1;
        }
        let touches = before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ',' | '/'))
            || text[end..].starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '/'));
        if !touches {
            let digits =
                bytes[start..end].iter().filter(|byte| byte.is_ascii_digit()).map(|byte| byte - b'0').collect();
            runs.push(Run { start, end, digits });
        }
    }
    runs
}

fn is_inside(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b' '
}

/// Ten digits from 01 to 09, or the same after 33 without the zero, in pairs or in one run.
fn is_phone(written: &str, digits: &[u8]) -> bool {
    let national = match digits {
        [3, 3, 0, rest @ ..] if written.starts_with('+') && written.contains("(0)") => rest,
        [3, 3, rest @ ..] if written.starts_with('+') => rest,
        [0, 0, 3, 3, rest @ ..] | [0, rest @ ..] => rest,
        _ => return false,
    };
    national.len() == 9 && national[0] != 0 && grouped(written)
}

/// Whether the groups could be those of a telephone number: none of more than three digits, or no separator in the number.
fn grouped(written: &str) -> bool {
    let national = written.trim_start_matches("+33").trim_start_matches("0033").replace("(0)", "");
    let mut groups: Vec<usize> = national.split([' ', '.', '-']).map(str::len).filter(|length| *length > 0).collect();
    let pairs = |groups: &[usize]| groups.len() == 4 && groups.iter().all(|length| *length == 2);
    let threes = |groups: &[usize]| groups.len() == 3 && groups.iter().all(|length| *length == 3);
    let first = groups.remove(0);
    groups.is_empty()
        || (first <= 2 && pairs(&groups))
        || (first <= 4 && (groups == [2, 2, 2] || groups == [3, 3]))
        || (first == 1 && (pairs(&groups) || threes(&groups)))
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match u32::from(*digit) * (1 + at as u32 % 2) {
            double @ 10.. => double - 9,
            single => single,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Separators a company's number is written with, digits in threes and the seat's five at the end.
fn is_siret(written: &str, digits: &[u8]) -> bool {
    const POST: [u8; 9] = [3, 5, 6, 0, 0, 0, 0, 0, 0];
    let groups: Vec<usize> = written.split(' ').map(str::len).collect();
    let shaped = match digits.len() {
        14 => groups == [14] || groups == [9, 5] || groups == [3, 3, 3, 5],
        // Nine digits in one run are any number: only the usual groups make them a company.
        _ => groups == [3, 3, 3],
    };
    let post = digits.len() == 14
        && digits[..9] == POST
        && digits.iter().map(|digit| u32::from(*digit)).sum::<u32>().is_multiple_of(5);
    shaped && digits[..9].iter().any(|digit| *digit > 0) && luhn(&digits[..9]) && (luhn(digits) || post)
}

/// Thirteen to nineteen digits in one run or in fours, from an issuer of payment cards.
fn is_card(written: &str, digits: &[u8]) -> bool {
    let groups: Vec<usize> = written.split([' ', '-']).map(str::len).collect();
    let fours = groups.len() > 1
        && groups[..groups.len() - 1].iter().all(|length| *length == 4)
        && groups[groups.len() - 1] <= 4;
    let express = groups == [4, 6, 5] || groups == [4, 6, 4];
    let issued = matches!(
        digits,
        [4, ..] | [5, 1..=5, ..] | [2, 2..=7, ..] | [3, 4 | 6 | 7 | 8, ..] | [3, 0, 0..=5, ..] | [6, 0 | 2 | 4 | 5, ..]
    );
    (13..=19).contains(&digits.len()) && issued && (groups.len() == 1 || fours || express) && luhn(digits)
}

/// Sex, year, month, place, order, and the key that makes the number divisible by 97.
fn is_nir(written: &str) -> bool {
    let plain: String = written.chars().filter(|c| *c != ' ').collect();
    let place = match plain.get(5..7) {
        Some("2A") => "19",
        Some("2B") => "18",
        Some(place) => place,
        None => return false,
    };
    let number = format!("{}{place}{}", &plain[..5], &plain[7..]);
    if number.len() != 15 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    let part = |from: usize, to: usize| number[from..to].parse::<u64>().unwrap_or(0);
    let month = part(3, 5);
    let sex = matches!(&number[..1], "1" | "2" | "3" | "4" | "7" | "8");
    let months = matches!(month, 1..=12 | 20..=42 | 50..=99);
    sex && months && part(13, 15) == 97 - part(0, 13) % 97
}

/// Two letters, two digits, and as much as makes a number whose check digits are right.
fn accounts(text: &str, mut take: impl FnMut(usize, usize)) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at + 15 <= bytes.len() {
        let start = at;
        at += 1;
        let fresh =
            !text.is_char_boundary(start) || !text[..start].chars().next_back().is_some_and(char::is_alphanumeric);
        let begins = bytes[start].is_ascii_uppercase()
            && bytes[start + 1].is_ascii_uppercase()
            && bytes[start + 2].is_ascii_digit()
            && bytes[start + 3].is_ascii_digit();
        if !begins || !fresh {
            continue;
        }
        let mut plain = String::new();
        let mut longest = None;
        for (offset, byte) in bytes[start..].iter().enumerate() {
            match byte {
                b'0'..=b'9' | b'A'..=b'Z' if plain.len() < 34 => plain.push(char::from(*byte)),
                b' ' if bytes.get(start + offset + 1).is_some_and(u8::is_ascii_alphanumeric) => continue,
                _ => break,
            }
            let end = start + offset + 1;
            let closed = !text[end..].starts_with(char::is_alphanumeric);
            if plain.len() >= 15 && closed && plain.parse::<Iban>().is_ok() {
                longest = Some(end);
            }
        }
        if let Some(end) = longest {
            take(start, end);
            at = end;
        }
    }
}
