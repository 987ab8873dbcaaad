//! The card of a model: `README.md` as the Hugging Face Hub reads it, written from what is known and nothing else.
//!
//! No time, path or host stands in it, so that the same model has the same card. What nobody stated, such as a licence, is
//! left out rather than guessed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::ExecError;
use super::chain::Chain;
use super::decide::{Decider, NodeState};
use crate::cache::Action;
use crate::digest::Digest;
use crate::plan::KeyParts;
use crate::plan::graph::InstanceId;
use crate::spec::params::{InputType, Kind, Op};
use crate::spec::sweep;

/// The most bytes of a source's `README.md` that are looked at for its licence.
const LONGEST_HEAD: u64 = 64 << 10;

/// Returns the card of an instance that gives a model; nothing if it gives none.
pub fn model_card(decider: &Decider<'_>, chain: &Chain) -> Result<Option<String>, ExecError> {
    let Some(last) = chain.last() else { return Ok(None) };
    let instance = decider.plan.instance(last.id);
    let model = instance.op.outputs().into_iter().find(|output| output.name.is_empty());
    if !model.is_some_and(|model| model.kind == InputType::Model) {
        return Ok(None);
    }
    let mut card = front_matter(decider, chain)?;
    let _ = write!(card, "\n# {}\n\n", instance.name);
    let _ =
        writeln!(card, "A model that the pipeline `{}` made. This page was written by luthflow.", decider.plan.name);
    if let Some(model) = instance.op.outputs().into_iter().find(|output| output.name.is_empty()) {
        exits(&decider.cache.artifact_path(&last.action.artifact).join(&*model.path), &mut card)?;
    }
    scores(decider, last.id, &mut card)?;
    recipe(decider, chain, &mut card);
    card.push_str("\n## Digests\n\nBLAKE3. The first one is of the listing of all files, the others are of what it was made from.\n\n");
    card.push_str("| what | digest |\n|---|---|\n");
    for link in chain.links.iter().rev() {
        let _ = writeln!(card, "| `{}` | `{}` |", decider.plan.instance(link.id).name, link.action.artifact);
    }
    // The name of the file alone: where it lies is nobody's business.
    let file =
        Path::new(&decider.scope).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let _ = write!(
        card,
        "\n## To get it again\n\nWith the pipeline file, its lockfile and its sources:\n\n\
         ```sh\nluthflow run --locked {file} '{node}'\nluthflow export {file} '{node}' out\n```\n\n\
         The bytes are promised on the platform they were made on: {producer}.\n",
        node = instance.name,
        producer = last.action.producer,
    );
    Ok(Some(card))
}

fn front_matter(decider: &Decider<'_>, chain: &Chain) -> Result<String, ExecError> {
    let (mut bases, mut datasets) = (Vec::new(), Vec::new());
    let (mut licenses, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for link in &chain.links {
        let instance = decider.plan.instance(link.id);
        kinds.insert(instance.kind().name());
        let Op::Source(source) = &instance.op else { continue };
        match &source.model {
            Some(folder) => bases.push(folder.trim_end_matches('/').rsplit('/').next().unwrap_or(folder).to_owned()),
            None => datasets.push(instance.name.clone()),
        }
        licenses.extend(license(decider, &link.action.artifact)?);
    }
    let mut text = "---\nlibrary_name: transformers\npipeline_tag: text-generation\n".to_owned();
    let mut list = |name: &str, items: &[String]| {
        if !items.is_empty() {
            let items: Vec<String> = items.iter().map(|item| format!("- {}", quoted(item))).collect();
            let _ = writeln!(text, "{name}:\n{}", items.join("\n"));
        }
    };
    list("base_model", &bases);
    list("datasets", &datasets);
    let tags = ["sft", "merge"].into_iter().filter(|tag| kinds.contains(tag)).chain(["luthflow"]);
    list("tags", &tags.map(str::to_owned).collect::<Vec<_>>());
    // Several licences at once need a person.
    if let [license] = licenses.into_iter().collect::<Vec<_>>().as_slice() {
        let _ = writeln!(text, "license: {}", quoted(license));
    }
    text.push_str("---\n");
    Ok(text)
}

/// Returns the licence that the card of a source states.
fn license(decider: &Decider<'_>, artifact: &Digest) -> Result<Option<String>, ExecError> {
    use std::io::Read as _;
    let path = decider.cache.artifact_path(artifact).join("README.md");
    if !path.is_file() {
        return Ok(None);
    }
    let mut head = Vec::new();
    fs_err::File::open(path)?.take(LONGEST_HEAD).read_to_end(&mut head)?;
    let head = String::from_utf8_lossy(&head);
    let mut lines = head.lines();
    if lines.next().map(str::trim_end) != Some("---") {
        return Ok(None);
    }
    let stated = lines.take_while(|line| line.trim_end() != "---").find_map(|line| line.strip_prefix("license:"));
    let stated = stated.map(|text| text.trim().trim_matches(['"', '\'']).to_owned());
    Ok(stated.filter(|text| !text.is_empty() && text.len() < 80))
}

/// The scores of this model: what the `eval` nodes that read it, and are up to date, measured.
fn scores(decider: &Decider<'_>, id: InstanceId, card: &mut String) -> Result<(), ExecError> {
    let plan = decider.plan;
    let evals: Vec<InstanceId> = plan.downstream(id).filter(|id| plan.instance(*id).kind() == Kind::Eval).collect();
    let states = decider.preview(&plan.with_ancestors(&evals))?;
    let mut rows: BTreeMap<(String, String), f64> = BTreeMap::new();
    for eval in &evals {
        if let Some(NodeState::Fresh(action)) = &states[eval.index()] {
            let name = |metric: &String| (plan.instance(*eval).name.clone(), metric.clone());
            rows.extend(action.metrics.iter().map(|(metric, value)| (name(metric), *value)));
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    card.push_str("\n## Scores\n\n| eval | metric | value | standard error |\n|---|---|---|---|\n");
    for ((node, metric), value) in &rows {
        if metric.ends_with("_stderr") {
            continue;
        }
        let error = rows.get(&(node.clone(), format!("{metric}_stderr")));
        let error = error.map_or_else(String::new, |error| format!("{error:.4}"));
        let _ = writeln!(card, "| `{node}` | {metric} | {value:.4} | {error} |");
    }
    Ok(())
}

/// What stands beside the layers of a model, and what is lost without it.
fn exits(folder: &Path, card: &mut String) -> Result<(), ExecError> {
    let path = folder.join("early_exit.json");
    if !path.is_file() {
        return Ok(());
    }
    // Written by the node that made the model.
    let Ok(found) = serde_json::from_slice::<Value>(&fs_err::read(path)?) else { return Ok(()) };
    let list = |layers: &Value| {
        let layers = layers.as_array().into_iter().flatten().map(Value::to_string);
        layers.collect::<Vec<_>>().join(", ")
    };
    card.push_str("\n## Exits\n\n");
    let layers = list(&found["layers"]);
    if !layers.is_empty() {
        let _ = writeln!(
            card,
            "It can stop early: heads behind layers {layers} stand in `early_exit.safetensors`. luthflow runs them (`exit` of an `eval` node)."
        );
    }
    let branches = list(&found["branches"]["layers"]);
    if branches.is_empty() {
        card.push_str("Without that file the folder is the whole model, for transformers as for others.\n");
    } else {
        let _ = writeln!(
            card,
            "Branches beside layers {branches} belong to the model, and **only luthflow runs them**: transformers loads the folder without \
             a word and computes something else."
        );
    }
    Ok(())
}

fn recipe(decider: &Decider<'_>, chain: &Chain, card: &mut String) {
    card.push_str("\n## Recipe\n\n");
    for link in &chain.links {
        let instance = decider.plan.instance(link.id);
        let mut read: Vec<String> = Vec::new();
        for input in link.inputs.iter().filter(|input| input.artifact.is_some()) {
            read.push(format!("`{}` as {}", input.name, input.slot));
        }
        let read = if read.is_empty() { String::new() } else { format!(", reads {}", read.join(", ")) };
        let _ = writeln!(card, "- `{}` ({}){read}{}", instance.name, instance.kind().name(), point(&instance.axes));
        let settings = settings(&link.action);
        if !settings.is_empty() {
            let _ = writeln!(card, "  - {}", settings.join(", "));
        }
    }
}

fn point(axes: &BTreeMap<String, Value>) -> String {
    let axes: Vec<String> = axes.iter().map(|(name, value)| format!("{name} = {}", sweep::show(value))).collect();
    if axes.is_empty() { String::new() } else { format!(", at {}", axes.join(", ")) }
}

/// The settings that the result hangs on, those that say nothing left out.
fn settings(action: &Action) -> Vec<String> {
    let config = KeyParts::from_value(&action.parts).map_or(Value::Null, |parts| parts.config);
    let Value::Object(config) = config else { return Vec::new() };
    let said = config.iter().filter(|(_, value)| !value.is_null());
    said.map(|(name, value)| format!("{name}: `{}`", value.to_string().replace('`', "'"))).collect()
}

/// Writes text as YAML that means just this text.
fn quoted(text: &str) -> String {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'));
    let word = plain && text.starts_with(|c: char| c.is_ascii_alphabetic());
    if word { text.to_owned() } else { Value::from(text).to_string() }
}
