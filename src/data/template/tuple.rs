//! Python's tuples, which minijinja takes for lists: they are written in round brackets, and `%` takes one for its arguments.

use std::sync::Arc;

use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr, ValueKind};

/// A list that is written as a tuple.
#[derive(Debug)]
pub(super) struct Tuple(Vec<Value>);

impl Object for Tuple {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.0.len())
    }
}

/// Returns values as a tuple.
pub(super) fn tuple(values: Vec<Value>) -> Value {
    Value::from_object(Tuple(values))
}

/// Says whether a value is a tuple.
pub(super) fn is_tuple(value: &Value) -> bool {
    value.downcast_object_ref::<Tuple>().is_some()
}

/// The values of a tuple; nothing of any other value.
pub(super) fn values(value: &Value) -> Option<&[Value]> {
    value.downcast_object_ref::<Tuple>().map(|tuple| tuple.0.as_slice())
}

/// The filter that stands behind what Python reads as a tuple. It must have been measured.
pub(super) fn of(value: Value) -> Value {
    match value.kind() {
        ValueKind::Seq if !is_tuple(&value) => value.try_iter().map(|values| tuple(values.collect())).unwrap_or(value),
        _ => value,
    }
}

/// Turns a list of pairs, each a list, into a list of tuples: what Python's `items` gives.
pub(super) fn pairs(values: &Value) -> Value {
    values.try_iter().map_or_else(|_| values.clone(), |pairs| pairs.map(of).collect())
}
