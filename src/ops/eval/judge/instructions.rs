//! IFEval: four scores of one judgement. Those of prompts are shares of rows, those of instructions shares of all instructions,
//! for which a row keeps its own share.

use serde_json::{Map, Value, json};

use super::super::sampled::Sampled;
use super::{Fault, Judged, Worth, several};
use crate::metrics::ifeval::{Instruction, Rules, judge};
use crate::spec::params::IFEVAL_SCORES;

/// Says whether a score counts instructions one by one.
pub(super) fn one_by_one(score: &str) -> bool {
    score.ends_with(IFEVAL_SCORES[1]) || score.ends_with(IFEVAL_SCORES[3])
}

/// Judges a row. The values are in the order of [`IFEVAL_SCORES`].
pub(super) fn row(judged: &Judged, sampled: &Sampled, rules: Rules, worth: &mut Worth) -> Result<(), Fault> {
    let instructions = read(sampled, rules)?;
    let verdicts: Vec<_> = several::any(sampled)?.map(|answer| judge(&instructions, answer)).collect();
    let share =
        |followed: &[bool]| followed.iter().filter(|followed| **followed).count() as f64 / followed.len().max(1) as f64;
    let mut sums = [0.0; 4];
    for verdict in &verdicts {
        sums[0] += f64::from(u8::from(verdict.all_strict()));
        sums[1] += share(&verdict.strict);
        sums[2] += f64::from(u8::from(verdict.all_loose()));
        sums[3] += share(&verdict.loose);
    }
    for (name, sum) in judged.scores().into_iter().zip(sums) {
        worth.values.insert(name, Value::from(sum / verdicts.len() as f64));
    }
    let (strict, loose): (Vec<_>, Vec<_>) = verdicts.into_iter().map(|verdict| (verdict.strict, verdict.loose)).unzip();
    let one = |mut lists: Vec<Vec<bool>>| if lists.len() == 1 { json!(lists.pop()) } else { json!(lists) };
    worth.extracted.insert(judged.name.clone(), json!({"strict": one(strict), "loose": one(loose)}));
    Ok(())
}

fn read(sampled: &Sampled, rules: Rules) -> Result<Vec<Instruction>, Fault> {
    let ids = list(sampled, "instruction_id_list")?;
    let settings = list(sampled, "kwargs")?;
    if ids.is_empty() || ids.len() != settings.len() {
        let message = format!("it has {} instructions and {} of their settings", ids.len(), settings.len());
        return Err(Fault::new(message, "`kwargs` has one entry for each of `instruction_id_list`"));
    }
    let read = |(id, settings): (&Value, &Value)| {
        let Some(id) = id.as_str() else {
            return Err(Fault::new(
                format!("`{id}` is not an instruction"),
                "`instruction_id_list` is a list of texts",
            ));
        };
        let settings = settings_of(settings).ok_or_else(|| {
            Fault::new(format!("the settings of `{id}` are no mapping"), "`kwargs` is a list of mappings")
        })?;
        Instruction::read(id, &settings, rules)
            .map_err(|fault| Fault::new(fault.to_string(), "mend the row, or drop it with `where`"))
    };
    ids.iter().zip(&settings).map(read).collect()
}

/// A column that is a list, or JSON of one.
fn list(sampled: &Sampled, name: &str) -> Result<Vec<Value>, Fault> {
    let list = match sampled.columns.get(name) {
        Some(Value::Array(list)) => Some(list.clone()),
        Some(Value::String(text)) => serde_json::from_str(text).ok(),
        _ => None,
    };
    list.ok_or_else(|| {
        let help = "the data of `ifeval` has `instruction_id_list` and `kwargs`, lists or JSON of lists";
        Fault::new(format!("it has no list `{name}`"), help)
    })
}

fn settings_of(value: &Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(settings) => Some(settings.clone()),
        Value::Null => Some(Map::new()),
        Value::String(text) => serde_json::from_str(text).ok(),
        _ => None,
    }
}
