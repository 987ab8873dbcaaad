//! What one chat may cost: how large a value may grow, how much text may be handled and printed.
//!
//! minijinja counts instructions and no bytes. A template could double a text with each of its instructions, repeat a
//! list a thousand million times, or wrap a list into itself until the stack is gone. The filters here stand where
//! [`super::rewrite`] puts them, hand values on unchanged, and stop the template where its share is used up. All bounds
//! grow with the chat, so that what a template does to a long chat is no crime.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use minijinja::value::{Object, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::rewrite::{BOUNDED, FACTOR, KEPT, PERCENT, SLICE, TEXT, TIMES, TUPLE};
use super::{percent, python, tuple};

/// The variable with the size of the chat. No template can write it: the name has a space.
pub(super) const SIZE: &str = "luthflow size";
/// How deep lists may lie in lists.
const DEPTH: usize = 100;

/// What is left of a chat's share.
#[derive(Debug)]
struct Budget {
    /// The largest value.
    largest: u64,
    /// The bytes that may still be handled, and printed.
    work: AtomicU64,
    output: AtomicU64,
    /// The product that is being computed, and whether a text or a list is among its factors.
    product: AtomicU64,
}

impl Object for Budget {}

impl Budget {
    fn of(size: u64) -> Self {
        Self {
            largest: (1 << 20) + 8 * size,
            work: AtomicU64::new((256 << 20) + 256 * size),
            output: AtomicU64::new((8 << 20) + 16 * size),
            product: AtomicU64::new(1),
        }
    }

    fn work(&self, bytes: u64) -> Result<(), Error> {
        take(&self.work, bytes).ok_or_else(|| refused("it handles too much text for this chat"))
    }
}

fn take(from: &AtomicU64, count: u64) -> Option<()> {
    let left = from.load(Ordering::Relaxed).checked_sub(count)?;
    from.store(left, Ordering::Relaxed);
    Some(())
}

fn budget(state: &State<'_, '_>) -> Arc<Budget> {
    let size = || state.lookup(SIZE).and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
    state.get_or_set_temp_object("luthflow budget", || Budget::of(size()))
}

pub(super) fn refused(reason: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason.into())
}

fn too_large() -> Error {
    refused("a value grows too large for this chat")
}

/// Fails if a value of so many bytes would be too large.
pub(super) fn fits(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    if bytes as u64 > budget(state).largest { Err(too_large()) } else { Ok(()) }
}

/// Counts `bytes` of work; fails if a value of so many bytes would be too large.
pub(super) fn charge(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    let budget = budget(state);
    if bytes as u64 > budget.largest {
        return Err(too_large());
    }
    budget.work(bytes as u64)
}

/// Measures a value and counts it as work.
pub(super) fn bounded(state: &State<'_, '_>, value: &Value) -> Result<u64, Error> {
    let budget = budget(state);
    let mut left = budget.largest;
    measure(value, &mut left, 0)?;
    let size = budget.largest - left;
    budget.work(size)?;
    Ok(size)
}

/// Counts what is printed, into the text or into a variable.
pub(super) fn printed(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    take(&budget(state).output, bytes as u64).ok_or_else(|| refused("it prints too much text for this chat"))
}

fn measure(value: &Value, left: &mut u64, depth: usize) -> Result<(), Error> {
    if depth > DEPTH {
        return Err(refused("lists lie too deep in lists"));
    }
    let size = value.as_str().map_or(8, |text| 8 + text.len() as u64);
    *left = left.checked_sub(size).ok_or_else(too_large)?;
    match value.kind() {
        ValueKind::Map => {
            for key in value.try_iter()? {
                measure(&key, left, depth + 1)?;
                measure(&value.get_item(&key)?, left, depth + 1)?;
            }
        }
        ValueKind::Seq | ValueKind::Iterable => {
            for item in value.try_iter()? {
                measure(&item, left, depth + 1)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Adds the filters that the rewritten template calls.
pub(super) fn add_filters(environment: &mut Environment<'_>) {
    environment.add_filter(BOUNDED, |state: &State<'_, '_>, value: Value| bounded(state, &value).map(|_| value));
    environment.add_filter(KEPT, |state: &State<'_, '_>, value: Value| bounded(state, &value).map(|_| value));
    environment.add_filter(TEXT, |state: &State<'_, '_>, value: Value| -> Result<Value, Error> {
        bounded(state, &value)?;
        match value.kind() {
            ValueKind::String | ValueKind::Undefined => Ok(value),
            _ => Ok(Value::from(python::text(&value)?)),
        }
    });
    environment.add_filter(SLICE, python::slice);
    environment.add_filter(PERCENT, percent::percent);
    environment
        .add_filter(TUPLE, |state: &State<'_, '_>, value: Value| bounded(state, &value).map(|_| tuple::of(value)));
    environment.add_filter(FACTOR, |state: &State<'_, '_>, value: Value| {
        budget(state).product.store(1, Ordering::Relaxed);
        factor(state, &value).map(|()| value)
    });
    environment.add_filter(TIMES, |state: &State<'_, '_>, value: Value| factor(state, &value).map(|()| value));
}

/// Multiplies the product by the length of a text or list, or by a number that is a length. Numbers that are none
/// count as one: what they make is a number.
fn factor(state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    let by = match value.kind() {
        ValueKind::Number => i64::try_from(value.clone()).map_or(1, i64::unsigned_abs).max(1),
        _ => bounded(state, value)?.max(1),
    };
    let budget = budget(state);
    let product = budget.product.load(Ordering::Relaxed).saturating_mul(by);
    budget.product.store(product, Ordering::Relaxed);
    // The largest value is far beyond what the arithmetic of a template comes to.
    if product > budget.largest { Err(too_large()) } else { budget.work(product) }
}
