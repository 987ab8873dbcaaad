//! Columns of Arrow as JSON, in the way in which `pyarrow` gives them to Python.
//!
//! What JSON has no word for is text: dates and times as ISO 8601 (instants in UTC), decimals with all their digits, bytes
//! in base64. A number that is none is `null`. A map is a list of pairs, since its keys need not be text.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, GenericListArray, OffsetSizeTrait, RecordBatch};
use arrow_cast::cast;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::DataType;
use serde_json::{Map, Number, Value};

use super::Record;

/// Returns the rows of a batch.
pub(super) fn rows(batch: &RecordBatch) -> Result<Vec<Record>, String> {
    let mut rows: Vec<Record> =
        (0..batch.num_rows()).map(|_| Record(Map::with_capacity(batch.num_columns()))).collect();
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        let values = column(array).map_err(|why| format!("the column `{}`: {why}", field.name()))?;
        for (row, value) in rows.iter_mut().zip(values) {
            row.0.insert(field.name().clone(), value);
        }
    }
    Ok(rows)
}

/// Says whether [`rows`] would return the rows of a batch, and what is wrong otherwise. Nothing is made of what always is a value.
pub(super) fn check(batch: &RecordBatch) -> Result<(), String> {
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        if !is_always_a_value(array.data_type()) {
            column(array).map_err(|why| format!("the column `{}`: {why}", field.name()))?;
        }
    }
    Ok(())
}

fn is_always_a_value(of: &DataType) -> bool {
    match of {
        DataType::List(field) | DataType::LargeList(field) | DataType::Map(field, _) => {
            is_always_a_value(field.data_type())
        }
        DataType::Struct(fields) => fields.iter().all(|field| is_always_a_value(field.data_type())),
        DataType::Null | DataType::Boolean => true,
        other => other.is_integer() || other.is_floating() || other.is_string() || other.is_binary(),
    }
}

fn column(array: &ArrayRef) -> Result<Vec<Value>, String> {
    Ok(match array.data_type() {
        DataType::Null => vec![Value::Null; array.len()],
        DataType::Boolean => array.as_boolean().iter().map(|value| value.map_or(Value::Null, Value::Bool)).collect(),
        DataType::Int8 => numbers::<Int8Type>(array, |n| Some(n.into())),
        DataType::Int16 => numbers::<Int16Type>(array, |n| Some(n.into())),
        DataType::Int32 => numbers::<Int32Type>(array, |n| Some(n.into())),
        DataType::Int64 => numbers::<Int64Type>(array, |n| Some(n.into())),
        DataType::UInt8 => numbers::<UInt8Type>(array, |n| Some(n.into())),
        DataType::UInt16 => numbers::<UInt16Type>(array, |n| Some(n.into())),
        DataType::UInt32 => numbers::<UInt32Type>(array, |n| Some(n.into())),
        DataType::UInt64 => numbers::<UInt64Type>(array, |n| Some(n.into())),
        DataType::Float16 => numbers::<Float16Type>(array, |n| Number::from_f64(n.to_f64())),
        DataType::Float32 => numbers::<Float32Type>(array, |n| Number::from_f64(f64::from(n))),
        DataType::Float64 => numbers::<Float64Type>(array, Number::from_f64),
        DataType::Utf8 => texts(array.as_string::<i32>().iter()),
        DataType::LargeUtf8 => texts(array.as_string::<i64>().iter()),
        DataType::Utf8View => texts(array.as_string_view().iter()),
        DataType::Binary => bytes(array.as_binary::<i32>().iter()),
        DataType::LargeBinary => bytes(array.as_binary::<i64>().iter()),
        DataType::BinaryView => bytes(array.as_binary_view().iter()),
        DataType::FixedSizeBinary(_) => bytes(array.as_fixed_size_binary().iter()),
        DataType::List(_) => list(array.as_list::<i32>())?,
        DataType::LargeList(_) => list(array.as_list::<i64>())?,
        DataType::FixedSizeList(field, _) => column(&cast_to(array, &DataType::LargeList(field.clone()))?)?,
        DataType::ListView(field) | DataType::LargeListView(field) => {
            column(&cast_to(array, &DataType::LargeList(field.clone()))?)?
        }
        DataType::Struct(_) => structs(array)?,
        DataType::Map(..) => maps(array)?,
        DataType::Dictionary(_, values) => column(&cast_to(array, values)?)?,
        DataType::RunEndEncoded(_, values) => column(&cast_to(array, values.data_type())?)?,
        // Not every machine knows every time zone by name, and an instant needs none.
        DataType::Timestamp(unit, Some(zone)) if &**zone != "+00:00" => {
            column(&cast_to(array, &DataType::Timestamp(*unit, Some("+00:00".into())))?)?
        }
        DataType::Union(..) => return Err("a union has no one type, and is not read".into()),
        _ => formatted(array)?,
    })
}

fn cast_to(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, String> {
    cast(array, to).map_err(|error| error.to_string())
}

fn numbers<T: ArrowPrimitiveType>(array: &ArrayRef, number: impl Fn(T::Native) -> Option<Number>) -> Vec<Value> {
    let value = |value: Option<T::Native>| value.and_then(&number).map_or(Value::Null, Value::Number);
    array.as_primitive::<T>().iter().map(value).collect()
}

fn texts<'a>(texts: impl Iterator<Item = Option<&'a str>>) -> Vec<Value> {
    texts.map(|text| text.map_or(Value::Null, |text| Value::String(text.to_owned()))).collect()
}

fn bytes<'a>(values: impl Iterator<Item = Option<&'a [u8]>>) -> Vec<Value> {
    values.map(|bytes| bytes.map_or(Value::Null, |bytes| Value::String(base64(bytes)))).collect()
}

fn base64(bytes: &[u8]) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let word = three.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let sign = SIGNS[(word >> (18 - 6 * place) & 63) as usize];
            text.push(if place > three.len() { '=' } else { char::from(sign) });
        }
    }
    text
}

fn list<O: OffsetSizeTrait>(array: &GenericListArray<O>) -> Result<Vec<Value>, String> {
    let offsets = array.value_offsets();
    let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else { return Ok(Vec::new()) };
    let (first, last) = (first.as_usize(), last.as_usize());
    let mut values = column(&array.values().slice(first, last - first))?.into_iter();
    let mut lists = Vec::with_capacity(array.len());
    for (row, ends) in offsets.windows(2).enumerate() {
        let items: Vec<Value> = values.by_ref().take(ends[1].as_usize() - ends[0].as_usize()).collect();
        lists.push(if array.is_null(row) { Value::Null } else { Value::Array(items) });
    }
    Ok(lists)
}

fn structs(array: &ArrayRef) -> Result<Vec<Value>, String> {
    let array = array.as_struct();
    let mut rows: Vec<Map<String, Value>> = (0..array.len()).map(|_| Map::with_capacity(array.num_columns())).collect();
    for (field, values) in array.fields().iter().zip(array.columns()) {
        for (row, value) in rows.iter_mut().zip(column(values)?) {
            row.insert(field.name().clone(), value);
        }
    }
    let rows = rows.into_iter().enumerate();
    Ok(rows.map(|(row, map)| if array.is_null(row) { Value::Null } else { Value::Object(map) }).collect())
}

fn maps(array: &ArrayRef) -> Result<Vec<Value>, String> {
    let array = array.as_map();
    let offsets = array.value_offsets();
    let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else { return Ok(Vec::new()) };
    let (first, last) = (*first as usize, *last as usize);
    let here = |all: &ArrayRef| column(&all.slice(first, last - first));
    let (mut keys, mut values) = (here(array.keys())?, here(array.values())?);
    let mut rows = Vec::with_capacity(array.len());
    for (row, ends) in offsets.windows(2).enumerate() {
        let (from, to) = (ends[0] as usize - first, ends[1] as usize - first);
        let pair = |at: usize| Value::Array(vec![keys[at].take(), values[at].take()]);
        let pairs: Vec<Value> = (from..to).map(pair).collect();
        rows.push(if array.is_null(row) { Value::Null } else { Value::Array(pairs) });
    }
    Ok(rows)
}

fn formatted(array: &ArrayRef) -> Result<Vec<Value>, String> {
    let options = FormatOptions::new().with_display_error(false);
    let formatter = ArrayFormatter::try_new(array, &options).map_err(|error| error.to_string())?;
    let text = |row: usize| {
        let text = formatter.value(row).try_to_string().map_err(|error| error.to_string())?;
        Ok(if array.is_null(row) { Value::Null } else { Value::String(text) })
    };
    (0..array.len()).map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_base64() {
        let texts = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(texts, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
    }
}
