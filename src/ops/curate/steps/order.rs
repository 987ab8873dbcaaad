//! `shuffle` and `sort`: rows in another order, more of them than memory holds.

use std::path::Path;

use rayon::prelude::*;
use serde_json::Value;

use super::where_::{View, expression, failed};
use crate::data::Expression;
use crate::ops::OpError;
use crate::ops::curate::flow::{Needs, Step, Verdict};
use crate::ops::curate::item::Item;
use crate::ops::curate::row_hash::content_hash;
use crate::ops::curate::sorter::{Sorted, Sorter};
use crate::spec::params::{Shuffle, Sort};

const DOMAIN: &str = "luthflow curate shuffle 1";

/// By what rows are ordered.
enum By {
    /// A hash of seed, content and place.
    Chance(u64),
    /// The value of an expression.
    Value { source: String, expression: Box<Expression>, descending: bool, entries: Vec<String> },
}

/// Puts rows into an order.
pub(super) struct InOrder {
    by: By,
    sorter: Option<Sorter>,
    sorted: Option<Sorted>,
}

impl InOrder {
    pub(super) fn shuffled(shuffle: Shuffle, scratch: &Path, file: &str) -> Self {
        Self { by: By::Chance(shuffle.seed), sorter: Some(Sorter::new(scratch, file)), sorted: None }
    }

    pub(super) fn sorted(sort: &Sort, entries: &[String], scratch: &Path, file: &str) -> Result<Self, OpError> {
        let by = By::Value {
            source: sort.by.clone(),
            expression: Box::new(expression("sort.by", &sort.by)?),
            descending: sort.descending,
            entries: entries.to_vec(),
        };
        Ok(Self { by, sorter: Some(Sorter::new(scratch, file)), sorted: None })
    }
}

impl By {
    fn key(&self, item: &Item) -> Result<Vec<u8>, OpError> {
        match self {
            By::Chance(seed) => Ok(content_hash(DOMAIN, *seed, &item.identity()).to_be_bytes().to_vec()),
            By::Value { source, expression, descending, entries } => {
                let value = expression.value(&View { item, entries }).map_err(|why| failed(source, item, &why))?;
                let mut key = ordered(&value);
                if *descending {
                    for byte in &mut key {
                        *byte = !*byte;
                    }
                }
                Ok(key)
            }
        }
    }
}

/// Returns bytes that compare as values do: nothing, truth values, numbers, text, everything else.
fn ordered(value: &Value) -> Vec<u8> {
    match value {
        Value::Null => vec![0],
        Value::Bool(truth) => vec![1, u8::from(*truth)],
        Value::Number(number) => {
            let bits = number.as_f64().unwrap_or(0.0).to_bits();
            // The order of floating point numbers is that of their bits, with the negative ones turned round.
            let bits = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
            [&[2][..], &bits.to_be_bytes()].concat()
        }
        // The end of a text is smaller than any letter, and turned round it is greater.
        Value::String(text) => [&[3][..], text.as_bytes(), &[0]].concat(),
        other => [&[4][..], other.to_string().as_bytes(), &[0]].concat(),
    }
}

impl Step for InOrder {
    fn needs(&self) -> Needs {
        match self.by {
            By::Chance(_) => Needs::Nothing,
            By::Value { .. } => Needs::Columns,
        }
    }

    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        let keys: Vec<Result<Vec<u8>, OpError>> = items.par_iter().map(|item| self.by.key(item)).collect();
        let keyed = keys.into_iter().zip(items).map(|(key, item)| Ok((key?, item))).collect::<Result<_, OpError>>()?;
        if let Some(sorter) = &mut self.sorter {
            sorter.push(keyed)?;
        }
        Ok(Vec::new())
    }

    fn held(&mut self) -> Result<Option<Vec<Verdict>>, OpError> {
        if let Some(sorter) = self.sorter.take() {
            self.sorted = Some(sorter.sorted()?);
        }
        let Some(sorted) = &mut self.sorted else { return Ok(None) };
        let items = sorted.next_block()?;
        Ok((!items.is_empty()).then(|| items.into_iter().map(Verdict::Keep).collect()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bytes_compare_as_values_do() {
        let all = [
            json!(null),
            json!(false),
            json!(true),
            json!(-1e300),
            json!(-2.5),
            json!(-2),
            json!(0),
            json!(1e-300),
            json!(3),
            json!(""),
            json!("a"),
            json!("a b"),
            json!("ab"),
            json!("é"),
            json!([1]),
        ];
        for pair in all.windows(2) {
            assert!(ordered(&pair[0]) < ordered(&pair[1]), "{pair:?}");
            let turned = |value| ordered(value).iter().map(|byte| !byte).collect::<Vec<u8>>();
            assert!(turned(&pair[0]) > turned(&pair[1]), "{pair:?} descending");
        }
    }
}
