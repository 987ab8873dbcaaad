//! The JSON Schema of a pipeline file, generated from the same types that read it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::params::{
    ApplyLoraParams, CommandParams, CurateParams, EvalParams, ExportParams, ExtractLoraParams, GenerateParams,
    InitParams, Kind, MergeParams, MoeParams, ReportParams, SelectParams, SftParams, SourceParams, TokenizerParams,
};
use super::path::{FieldPath, Segment};

/// Returns the schema of a whole pipeline file, for editors and for reading.
pub fn pipeline_schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut nodes: Vec<Value> = Kind::ALL.into_iter().map(|kind| node_schema(kind, &mut generator)).collect();
    let mut definitions = generator.take_definitions(true);
    nodes.iter_mut().chain(definitions.values_mut()).for_each(allow_parameters);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "luthflow pipeline",
        "type": "object",
        "required": ["version"],
        "additionalProperties": false,
        "properties": {
            "version": {"const": 1, "description": "The version of the pipeline language."},
            "name": {"type": "string", "description": "The name in lockfiles and reports; the file's own when left out."},
            "include": {
                "description": "Other pipeline files, as paths relative to this one.",
                "anyOf": [include_schema(), {"type": "array", "items": include_schema()}]
            },
            "env": {
                "type": "array",
                "description": "The variables of the environment that may enter keys: `${env:NAME}`.",
                "items": {"type": "string"}
            },
            "params": params_of(),
            "sweep": sweep_of(),
            "profiles": {
                "type": "object",
                "description": "Other values for parameters and sweeps, by name: `--profile smoke`.",
                "additionalProperties": {
                    "type": ["object", "null"],
                    "additionalProperties": false,
                    "properties": {"params": params_of(), "sweep": sweep_of()}
                }
            },
            "nodes": {
                "type": "object",
                "description": "The graph: every node by name.",
                "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_-]*$"},
                "additionalProperties": {"oneOf": nodes}
            }
        },
        "$defs": definitions
    })
}

fn params_of() -> Value {
    json!({
        "type": "object",
        "description": "Values that settings use as `${name}`.",
        "additionalProperties": {"not": {"type": "object"}}
    })
}

fn sweep_of() -> Value {
    json!({
        "type": "object",
        "description": "Parameters with several values: a list, or a range `start:end:step`.",
        "properties": {
            "zip": {
                "type": "array",
                "description": "Lists of swept parameters that move together instead of being multiplied.",
                "items": {"type": ["array", "string"]}
            },
            "exclude": {
                "type": ["array", "object"],
                "description": "Combinations that are left out: every point with all of the values of an entry.",
                "items": {"type": "object"}
            }
        },
        "additionalProperties": {"type": ["array", "string"]}
    })
}

fn include_schema() -> Value {
    json!({
        "anyOf": [
            {"type": "string", "description": "A file whose nodes become nodes of this one."},
            {
                "type": "object",
                "description": "A file that keeps to itself: its nodes are called `as/name`.",
                "required": ["file"],
                "additionalProperties": false,
                "properties": {
                    "file": {"type": "string", "description": "The path, relative to this file."},
                    "as": {"type": "string", "description": "The name in front of all that is in it."},
                    "params": {"type": "object", "description": "Values for its parameters."}
                }
            }
        ]
    })
}

/// Lets `${name}` stand wherever a setting has a value that is no text: the types describe what it becomes.
fn allow_parameters(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    for choice in object.get_mut("oneOf").and_then(Value::as_array_mut).into_iter().flatten() {
        allow_parameters(choice);
    }
    for (name, setting) in object.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        let Some(inner) = setting.as_object_mut() else { continue };
        // That inputs are not serialised says nothing about pipeline files.
        inner.remove("writeOnly");
        let is_text = inner.get("type").is_some_and(|kind| kind == "string" || kind == &json!(["string", "null"]));
        if name == "kind" || is_text {
            continue;
        }
        let description = inner.remove("description");
        let mut outer = json!({"anyOf": [inner, {"type": "string", "pattern": r"\$\{.+\}"}]});
        if let (Some(outer), Some(description)) = (outer.as_object_mut(), description) {
            outer.shift_insert(0, "description".into(), description);
        }
        *setting = outer;
    }
}

/// Returns the schema of one kind's settings, without `kind` itself.
pub fn kind_schema(kind: Kind) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    params_schema(kind, &mut generator)
}

fn node_schema(kind: Kind, generator: &mut SchemaGenerator) -> Value {
    let mut schema = params_schema(kind, generator);
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".into(), kind.name().into());
        let properties = object.entry("properties").or_insert_with(|| Value::Object(Map::new()));
        if let Some(properties) = properties.as_object_mut() {
            properties.insert("kind".into(), json!({"const": kind.name()}));
            properties.extend(super::execution::schema());
        }
        let required = object.entry("required").or_insert_with(|| json!([]));
        if let Some(required) = required.as_array_mut() {
            required.insert(0, "kind".into());
        }
    }
    schema
}

fn params_schema(kind: Kind, generator: &mut SchemaGenerator) -> Value {
    fn of<P: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
        P::json_schema(generator).to_value()
    }
    match kind {
        Kind::Source => of::<SourceParams>(generator),
        Kind::Curate => of::<CurateParams>(generator),
        Kind::Generate => of::<GenerateParams>(generator),
        Kind::Tokenizer => of::<TokenizerParams>(generator),
        Kind::Init => of::<InitParams>(generator),
        Kind::Sft => of::<SftParams>(generator),
        Kind::Merge => of::<MergeParams>(generator),
        Kind::Moe => of::<MoeParams>(generator),
        Kind::ApplyLora => of::<ApplyLoraParams>(generator),
        Kind::ExtractLora => of::<ExtractLoraParams>(generator),
        Kind::Eval => of::<EvalParams>(generator),
        Kind::Export => of::<ExportParams>(generator),
        Kind::Select => of::<SelectParams>(generator),
        Kind::Command => of::<CommandParams>(generator),
        Kind::Report => of::<ReportParams>(generator),
    }
}

/// Returns the fields that a block of a kind's settings cannot do without: `at` is its place below the node.
pub fn required_at(kind: Kind, at: &FieldPath) -> Vec<String> {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let root = params_schema(kind, &mut generator);
    let definitions = generator.take_definitions(true);
    let resolve = |schema: &Value| -> Value {
        let name = schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.rsplit('/').next());
        name.and_then(|name| definitions.get(name)).unwrap_or(schema).clone()
    };
    let mut schema = root;
    for segment in &at.0 {
        let next = match segment {
            Segment::Index(_) => schema.get("items").cloned(),
            Segment::Key(key) => {
                // One word of several (`bits_per_byte: {…}`) is an alternative with that one property.
                let either = |word: &str| schema.get(word).and_then(Value::as_array).into_iter().flatten();
                let alternatives = either("oneOf").chain(either("anyOf"));
                std::iter::once(&schema).chain(alternatives).find_map(|s| s.get("properties")?.get(key).cloned())
            }
        };
        let Some(next) = next else { return Vec::new() };
        schema = resolve(&next);
    }
    required(&schema)
}

/// Returns the fields that a kind cannot do without.
pub fn required_fields(kind: Kind) -> &'static [String] {
    shape(kind).map_or(&[], |shape| &shape.required)
}

/// Returns the fields among these that a kind does not know.
pub fn unknown_fields(kind: Kind, fields: &Value) -> impl Iterator<Item = &str> {
    let names = fields.as_object().into_iter().flat_map(Map::keys).map(String::as_str);
    names.filter(move |name| !shape(kind).is_some_and(|shape| shape.known.contains(*name)))
}

/// What is asked of every node's settings, read from the schemas once.
struct Shape {
    required: Vec<String>,
    known: BTreeSet<String>,
}

fn shape(kind: Kind) -> Option<&'static Shape> {
    static SHAPES: LazyLock<BTreeMap<Kind, Shape>> = LazyLock::new(|| {
        let shape = |kind| {
            let schema = kind_schema(kind);
            let known = schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys);
            (kind, Shape { required: required(&schema), known: known.cloned().collect() })
        };
        Kind::ALL.into_iter().map(shape).collect()
    });
    SHAPES.get(&kind)
}

fn required(schema: &Value) -> Vec<String> {
    let names = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    names.filter_map(Value::as_str).map(str::to_owned).collect()
}
