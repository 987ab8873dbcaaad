//! What type a column of JSON has, over all rows, and the column of Arrow that holds it.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::builder::{
    ArrayBuilder, BooleanBuilder, Float64Builder, Int64Builder, ListBuilder, NullBuilder, StringBuilder, StructBuilder,
};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use serde_json::{Map, Value};

/// The type of a value, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum Shape {
    /// Only `null` was seen.
    #[default]
    Nothing,
    Truth,
    Whole,
    Real,
    Text,
    List(Box<Shape>),
    /// Columns in the order in which they were first seen.
    Columns(Vec<(String, Shape)>),
}

impl Shape {
    /// Returns the shape of a row.
    pub(super) fn of_columns(columns: &Map<String, Value>) -> Result<Self, String> {
        let shape =
            |(name, value): (&String, &Value)| Ok((name.clone(), Self::of(value).map_err(|why| at(name, &why))?));
        columns.iter().map(shape).collect::<Result<_, _>>().map(Self::Columns)
    }

    fn of(value: &Value) -> Result<Self, String> {
        Ok(match value {
            Value::Null => Self::Nothing,
            Value::Bool(_) => Self::Truth,
            Value::Number(number) if number.is_i64() => Self::Whole,
            Value::Number(_) => Self::Real,
            Value::String(_) => Self::Text,
            Value::Array(items) => {
                let shapes = items.iter().map(Self::of);
                Self::List(Box::new(shapes.reduce(|a, b| a?.and(b?)).unwrap_or(Ok(Self::Nothing))?))
            }
            Value::Object(columns) => Self::of_columns(columns)?,
        })
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Truth => "true or false",
            Self::Whole | Self::Real => "a number",
            Self::Text => "text",
            Self::List(_) => "a list",
            Self::Columns(_) => "an object",
        }
    }

    /// Returns the shape that holds both.
    pub(super) fn and(self, other: Self) -> Result<Self, String> {
        Ok(match (self, other) {
            (Self::Nothing, shape) | (shape, Self::Nothing) => shape,
            (Self::Whole | Self::Real, Self::Real) | (Self::Real, Self::Whole) => Self::Real,
            (Self::List(one), Self::List(two)) => Self::List(Box::new(one.and(*two)?)),
            (Self::Columns(mut columns), Self::Columns(more)) => {
                for (name, shape) in more {
                    match columns.iter_mut().find(|(known, _)| *known == name) {
                        Some((_, known)) => {
                            *known = std::mem::take(known).and(shape).map_err(|why| at(&name, &why))?;
                        }
                        None => columns.push((name, shape)),
                    }
                }
                Self::Columns(columns)
            }
            (one, two) if one == two => one,
            (one, two) => {
                let (one, two) = (one.word(), two.word());
                return Err(format!(
                    "it holds {two}, and {one} in a row before; Parquet has one type: write `jsonl.zst`"
                ));
            }
        })
    }

    fn data_type(&self) -> Result<DataType, String> {
        Ok(match self {
            Self::Nothing => DataType::Null,
            Self::Truth => DataType::Boolean,
            Self::Whole => DataType::Int64,
            Self::Real => DataType::Float64,
            Self::Text => DataType::Utf8,
            Self::List(items) => DataType::List(Arc::new(Field::new_list_field(items.data_type()?, true))),
            Self::Columns(columns) => DataType::Struct(fields(columns)?),
        })
    }

    /// Returns the schema of rows of this shape.
    pub(super) fn schema(&self) -> Result<SchemaRef, String> {
        match self {
            Self::Columns(columns) => Ok(Arc::new(Schema::new(fields(columns)?))),
            _ => Ok(Arc::new(Schema::empty())),
        }
    }
}

fn at(name: &str, why: &str) -> String {
    if why.starts_with('`') { format!("`{name}`.{why}") } else { format!("`{name}`: {why}") }
}

fn fields(columns: &[(String, Shape)]) -> Result<Fields, String> {
    let field = |(name, shape): &(String, Shape)| match shape {
        Shape::Columns(inner) if inner.is_empty() => {
            Err(format!("`{name}` holds only empty objects, which Parquet has no word for: write `jsonl.zst`"))
        }
        shape => Ok(Field::new(name, shape.data_type()?, true)),
    };
    columns.iter().map(field).collect::<Result<Vec<_>, String>>().map(Fields::from)
}

/// Returns rows as columns.
pub(super) fn batch_of(schema: &SchemaRef, rows: &[Value]) -> Result<RecordBatch, String> {
    let mut arrays = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let mut builder = builder_of(field.data_type(), rows.len());
        for row in rows {
            append(&mut *builder, field.data_type(), &row[field.name()])?;
        }
        arrays.push(builder.finish());
    }
    RecordBatch::try_new(schema.clone(), arrays).map_err(|error| error.to_string())
}

/// A builder whose parts all are boxed, so that they can be reached without knowing their types.
fn builder_of(kind: &DataType, rows: usize) -> Box<dyn ArrayBuilder> {
    match kind {
        DataType::Boolean => Box::new(BooleanBuilder::with_capacity(rows)),
        DataType::Int64 => Box::new(Int64Builder::with_capacity(rows)),
        DataType::Float64 => Box::new(Float64Builder::with_capacity(rows)),
        DataType::Utf8 => Box::new(StringBuilder::new()),
        DataType::List(item) => {
            Box::new(ListBuilder::new(builder_of(item.data_type(), rows)).with_field(Arc::clone(item)))
        }
        DataType::Struct(fields) => {
            let inner = fields.iter().map(|field| builder_of(field.data_type(), rows)).collect();
            Box::new(StructBuilder::new(fields.clone(), inner))
        }
        _ => Box::new(NullBuilder::new()),
    }
}

fn append(builder: &mut dyn ArrayBuilder, kind: &DataType, value: &Value) -> Result<(), String> {
    let any = builder.as_any_mut();
    match kind {
        DataType::Boolean => part::<BooleanBuilder>(any)?.append_option(value.as_bool()),
        DataType::Int64 => part::<Int64Builder>(any)?.append_option(value.as_i64()),
        DataType::Float64 => part::<Float64Builder>(any)?.append_option(value.as_f64()),
        DataType::Utf8 => part::<StringBuilder>(any)?.append_option(value.as_str()),
        DataType::List(item) => {
            let list = part::<ListBuilder<Box<dyn ArrayBuilder>>>(any)?;
            for item_value in value.as_array().into_iter().flatten() {
                append(&mut **list.values(), item.data_type(), item_value)?;
            }
            list.append(value.is_array());
        }
        DataType::Struct(fields) => {
            let structs = part::<StructBuilder>(any)?;
            for (field, inner) in fields.iter().zip(structs.field_builders_mut()) {
                append(&mut **inner, field.data_type(), &value[field.name()])?;
            }
            structs.append(value.is_object());
        }
        _ => part::<NullBuilder>(any)?.append_null(),
    }
    Ok(())
}

fn part<T: 'static>(any: &mut dyn std::any::Any) -> Result<&mut T, String> {
    any.downcast_mut().ok_or_else(|| "a column has another type than its schema says".to_owned())
}
