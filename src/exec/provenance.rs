//! Where an artifact comes from, in two formats that other programs read: W3C PROV, as PROV-JSON, and an in-toto Statement
//! with a SLSA provenance predicate.
//!
//! Both are made from the records alone and hold no time, host or path, so that the same history is the same text
//! everywhere. They are statements of what luthflow did, unsigned: who signs them vouches for them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::ExecError;
use super::chain::{Chain, Link};
use super::decide::Decider;
use crate::cache::Action;
use crate::digest::Digest;
use crate::plan::KeyParts;

/// Returns a chain as PROV-JSON (W3C Member Submission of 24 April 2013): artifacts, their outputs and the sources' files
/// are entities, results are activities.
pub fn prov(decider: &Decider<'_>, chain: &Chain) -> Value {
    let mut document = Prov::default();
    for link in &chain.links {
        document.link(&decider.plan.instance(link.id).name, link);
    }
    let prefix = json!({
        "luthflow": "urn:luthflow:",
        "artifact": "urn:luthflow:artifact:blake3:",
        "action": "urn:luthflow:action:blake3:",
        "producer": "urn:luthflow:producer:",
    });
    let mut all = Map::from_iter([("prefix".to_owned(), prefix)]);
    for (name, entries) in document.parts {
        all.insert(name.to_owned(), Value::Object(entries));
    }
    Value::Object(all)
}

/// The parts of a PROV document: the kind of record, and the records by identifier.
#[derive(Default)]
struct Prov {
    parts: BTreeMap<&'static str, Map<String, Value>>,
    /// Every relation so far, as text.
    related: BTreeSet<String>,
}

impl Prov {
    fn link(&mut self, name: &str, link: &Link) {
        let action = &link.action;
        let activity = format!("action:{}", action.key);
        // Instances can share a key (a merge at t = 0 is its base): then one activity has two labels.
        let known = self.parts.get("activity").is_some_and(|part| part.contains_key(&activity));
        let parts = KeyParts::from_value(&action.parts);
        let config = parts.as_ref().map_or(Value::Null, |parts| parts.config.clone());
        let mut fields = json!({
            "prov:type": qualified("luthflow:action"),
            "luthflow:kind": action.kind,
            "luthflow:kindVersion": parts.as_ref().map_or(0, |parts| parts.version),
            "luthflow:config": config.to_string(),
            "luthflow:key": format!("blake3:{}", action.key),
        });
        for (metric, value) in action.metrics.iter().filter(|(_, value)| value.is_finite()) {
            fields[format!("luthflow:metric.{}", local(metric))] = json!(value);
        }
        self.labelled("activity", &activity, name, fields);
        let artifact = format!("artifact:{}", action.artifact);
        let entity = json!({
            "prov:type": qualified("luthflow:artifact"),
            "luthflow:digest": format!("blake3:{}", action.artifact),
            "luthflow:size": action.size,
            "luthflow:files": action.files,
        });
        self.labelled("entity", &artifact, name, entity);
        if known {
            return;
        }
        self.made(name, action, &activity, &artifact);
        self.read(link, &activity, &artifact);
    }

    /// What an action made: its artifact and the outputs in it.
    fn made(&mut self, name: &str, action: &Action, activity: &str, artifact: &str) {
        let producer = format!("producer:{}", local(&action.producer));
        let agent = json!({"prov:type": qualified("prov:SoftwareAgent"), "prov:label": action.producer});
        self.part("agent").insert(producer.clone(), agent);
        self.relate("wasAssociatedWith", json!({"prov:activity": activity, "prov:agent": producer}));
        self.relate("wasGeneratedBy", json!({"prov:entity": artifact, "prov:activity": activity}));
        for (output, digest) in action.outputs.iter().filter(|(_, digest)| **digest != action.artifact) {
            let entity = format!("artifact:{digest}");
            let fields =
                json!({"prov:type": qualified("luthflow:output"), "luthflow:digest": format!("blake3:{digest}")});
            self.labelled("entity", &entity, &format!("{name}.{output}"), fields);
            self.relate("wasGeneratedBy", json!({"prov:entity": entity, "prov:activity": activity}));
            self.relate("hadMember", json!({"prov:collection": artifact, "prov:entity": entity}));
        }
    }

    /// What an action read.
    fn read(&mut self, link: &Link, activity: &str, artifact: &str) {
        for input in &link.inputs {
            let entity = format!("artifact:{}", input.digest);
            let kind = if input.artifact.is_none() { "luthflow:file" } else { "luthflow:artifact" };
            let fields = json!({"prov:type": qualified(kind), "luthflow:digest": format!("blake3:{}", input.digest)});
            self.labelled("entity", &entity, &input.name, fields);
            self.relate("used", json!({"prov:activity": activity, "prov:entity": entity, "prov:role": input.slot}));
            let derived =
                json!({"prov:generatedEntity": artifact, "prov:usedEntity": entity, "prov:activity": activity});
            self.relate("wasDerivedFrom", derived);
        }
    }

    fn part(&mut self, part: &'static str) -> &mut Map<String, Value> {
        self.parts.entry(part).or_default()
    }

    /// Enters a record with a label, or gives the one that is there a further label.
    fn labelled(&mut self, part: &'static str, id: &str, label: &str, fields: Value) {
        let record = self.part(part).entry(id).or_insert(fields);
        let labels = match record.get("prov:label") {
            None => json!(label),
            Some(Value::Array(labels)) if labels.contains(&json!(label)) => json!(labels),
            Some(Value::Array(labels)) => labels.iter().cloned().chain([json!(label)]).collect(),
            Some(one) if *one == json!(label) => one.clone(),
            Some(one) => json!([one, label]),
        };
        record["prov:label"] = labels;
    }

    fn relate(&mut self, part: &'static str, fields: Value) {
        // A node may read the same thing twice in one role, and instances may share artifacts.
        if self.related.insert(format!("{part} {fields}")) {
            let records = self.part(part);
            records.insert(format!("_:{part}{}", records.len() + 1), fields);
        }
    }
}

fn qualified(name: &str) -> Value {
    json!({"$": name, "type": "prov:QUALIFIED_NAME"})
}

/// Makes text fit for the part of a name behind the colon.
fn local(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' }).collect()
}

/// Returns a chain as an in-toto Statement v1 with a SLSA provenance v1 predicate: its subjects are the files of the artifact,
/// its parameters the whole recipe, its dependencies the files of the sources.
pub fn slsa(decider: &Decider<'_>, chain: &Chain) -> Result<Value, ExecError> {
    let Some(last) = chain.last() else { return Ok(Value::Null) };
    let blake3 = |digest: &Digest| json!({"blake3": digest.hex()});
    let subject: Vec<Value> = match decider.cache.manifest(&last.action.artifact)? {
        Some(listing) => {
            let file = |file: &crate::digest::FileEntry| json!({"name": file.path, "digest": blake3(&file.digest)});
            listing.files.iter().map(file).collect()
        }
        // Collected; the listing as a whole is still known.
        None => vec![json!({"name": "_", "digest": {"luthflowTree1": last.action.artifact.hex()}})],
    };
    let mut dependencies: Vec<Value> = Vec::new();
    for link in &chain.links {
        let node = &decider.plan.instance(link.id).name;
        for file in link.inputs.iter().filter(|input| input.artifact.is_none()) {
            dependencies.push(json!({"name": format!("{node}/{}", file.name), "digest": blake3(&file.digest)}));
        }
    }
    let recipe: Vec<Value> = chain.links.iter().map(|link| step(decider, link)).collect();
    let (program, version, platform) = producer(&last.action.producer);
    Ok(json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subject,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:luthflow:node:v1",
                "externalParameters": {
                    "pipeline": decider.plan.name,
                    "node": decider.plan.instance(last.id).name,
                    "recipe": recipe,
                },
                "internalParameters": {"platform": platform, "artifact": last.action.artifact.hex()},
                "resolvedDependencies": dependencies,
            },
            "runDetails": {
                "builder": {"id": format!("urn:{program}"), "version": {program: version}},
                "metadata": {"invocationId": last.action.key.hex()},
            },
        },
    }))
}

/// One node of the recipe.
fn step(decider: &Decider<'_>, link: &Link) -> Value {
    let mut inputs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for input in link.inputs.iter().filter(|input| input.artifact.is_some()) {
        inputs.entry(&input.slot).or_default().push(&input.name);
    }
    let parts = KeyParts::from_value(&link.action.parts);
    json!({
        "node": decider.plan.instance(link.id).name,
        "kind": link.action.kind,
        "version": parts.as_ref().map(|parts| parts.version),
        "config": parts.map(|parts| parts.config),
        "inputs": inputs,
        "key": link.action.key.hex(),
        "artifact": link.action.artifact.hex(),
        "producer": link.action.producer,
    })
}

/// Takes `luthflow 0.1.0 x86_64-linux` apart.
fn producer(text: &str) -> (&str, &str, &str) {
    let mut words = text.split(' ');
    let mut next = || words.next().unwrap_or("unknown");
    (next(), next(), next())
}
