//! The settings of a file: a name, a type, a value. Arrays stay where they are in the file and are read when asked for,
//! so that a vocabulary of 262,144 tokens costs nothing until somebody wants it.

use super::cursor::Cursor;

/// The types a value can have, by their numbers in the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

const KINDS: [Kind; 13] = [
    Kind::U8,
    Kind::I8,
    Kind::U16,
    Kind::I16,
    Kind::U32,
    Kind::I32,
    Kind::F32,
    Kind::Bool,
    Kind::String,
    Kind::Array,
    Kind::U64,
    Kind::I64,
    Kind::F64,
];

impl Kind {
    pub(super) fn from_number(number: u32) -> Option<Self> {
        KINDS.get(number as usize).copied()
    }

    pub(super) fn number(self) -> u32 {
        KINDS.iter().position(|kind| *kind == self).unwrap_or_default() as u32
    }

    /// Returns the fewest bytes that a value of this type takes.
    pub(super) fn least_size(self) -> usize {
        match self {
            Kind::U8 | Kind::I8 | Kind::Bool => 1,
            Kind::U16 | Kind::I16 => 2,
            Kind::U32 | Kind::I32 | Kind::F32 => 4,
            Kind::U64 | Kind::I64 | Kind::F64 | Kind::String => 8,
            Kind::Array => 12,
        }
    }
}

/// A value as it was read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// Whole numbers of all widths.
    Whole(i128),
    /// A number of single precision, kept so that it can be printed with no more digits than it has.
    Single(f32),
    /// A number of double precision.
    Double(f64),
    /// A truth value.
    Truth(bool),
    /// A text.
    Text(String),
    /// An array: the type of its items, how many there are, and the byte of the file the first one begins at.
    Array { of: Kind, count: usize, at: usize },
}

impl Value {
    /// Reads a value of a type.
    pub(super) fn read(cursor: &mut Cursor<'_>, kind: Kind) -> Result<Self, String> {
        let scalar = |cursor: &mut Cursor<'_>| number(cursor, kind);
        match kind {
            Kind::String => Ok(Value::Text(cursor.string("a text")?.to_owned())),
            Kind::Array => read_array(cursor),
            _ => scalar(cursor),
        }
    }

    pub(super) fn as_usize(&self) -> Option<usize> {
        match self {
            Value::Whole(number) => usize::try_from(*number).ok(),
            _ => None,
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns a number, one of single precision as the shortest decimal that means it: 1e-5 and not 9.99…e-6.
    pub(super) fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Single(number) => number.to_string().parse().ok(),
            Value::Double(number) => Some(*number),
            Value::Whole(number) => Some(*number as f64),
            _ => None,
        }
    }

    pub(super) fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Truth(truth) => Some(*truth),
            _ => None,
        }
    }
}

fn number(cursor: &mut Cursor<'_>, kind: Kind) -> Result<Value, String> {
    let at = cursor.position();
    let raw = cursor.take(kind.least_size(), "a number")?;
    let mut wide = [0; 8];
    wide[..raw.len()].copy_from_slice(raw);
    let bits = u64::from_le_bytes(wide);
    // The bits that are not there become copies of the sign.
    let signed = || {
        let unused = 64 - 8 * raw.len() as u32;
        Value::Whole(i128::from((bits << unused) as i64 >> unused))
    };
    Ok(match kind {
        Kind::I8 | Kind::I16 | Kind::I32 | Kind::I64 => signed(),
        Kind::F32 => Value::Single(f32::from_bits(bits as u32)),
        Kind::F64 => Value::Double(f64::from_bits(bits)),
        Kind::Bool if bits > 1 => return Err(format!("the truth value at byte {at} is {bits}")),
        Kind::Bool => Value::Truth(bits == 1),
        _ => Value::Whole(i128::from(bits)),
    })
}

/// Reads the head of an array and walks over its items.
fn read_array(cursor: &mut Cursor<'_>) -> Result<Value, String> {
    let at = cursor.position();
    let number = cursor.u32("the type of an array")?;
    let of = Kind::from_number(number).filter(|kind| *kind != Kind::Array);
    let of = of.ok_or_else(|| format!("the array at byte {at} is of type {number}, which no array can have"))?;
    let count = cursor.u64("the length of an array")?;
    let count = usize::try_from(count).ok().filter(|count| *count <= cursor.left() / of.least_size());
    let count = count
        .ok_or_else(|| format!("the array at byte {at} claims more items than {} bytes can hold", cursor.left()))?;
    let start = cursor.position();
    if of == Kind::String {
        for _ in 0..count {
            cursor.string("an item of an array")?;
        }
    } else {
        let items = cursor.take(count * of.least_size(), "an array")?;
        if of == Kind::Bool && items.iter().any(|item| *item > 1) {
            return Err(format!("an item of the array at byte {at} is no truth value"));
        }
    }
    Ok(Value::Array { of, count, at: start })
}

/// Reads the items of an array of numbers that was walked over before.
pub(super) fn numbers(bytes: &[u8], of: Kind, count: usize, at: usize) -> Result<Vec<Value>, String> {
    let mut cursor = Cursor::new(bytes, at);
    (0..count).map(|_| number(&mut cursor, of)).collect()
}

/// Reads the items of an array of texts that was walked over before.
pub(super) fn texts(bytes: &[u8], count: usize, at: usize) -> Result<Vec<&str>, String> {
    let mut cursor = Cursor::new(bytes, at);
    (0..count).map(|_| cursor.string("an item of an array")).collect()
}
