//! The JSON Schema of a pipeline file, generated from the same types that read it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::params::{
    CurateParams, EvalParams, InitParams, Kind, MergeParams, ReportParams, SftParams, SourceParams, TokenizerParams,
};

/// Returns the schema of a whole pipeline file, for editors and for reading.
pub fn pipeline_schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let nodes: Vec<Value> = Kind::ALL.into_iter().map(|kind| node_schema(kind, &mut generator)).collect();
    let definitions = generator.take_definitions(true);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "luthflow pipeline",
        "type": "object",
        "required": ["version", "nodes"],
        "additionalProperties": false,
        "properties": {
            "version": {"const": 1, "description": "The version of the pipeline language."},
            "name": {"type": "string", "description": "The name in lockfiles and reports; the file's own when left out."},
            "params": {
                "type": "object",
                "description": "Values that settings use as `${name}`.",
                "additionalProperties": {"not": {"type": "object"}}
            },
            "sweep": {
                "type": "object",
                "description": "Parameters with several values: a list, or a range `start:end:step`.",
                "additionalProperties": {"type": ["array", "string"]}
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
        Kind::Tokenizer => of::<TokenizerParams>(generator),
        Kind::Init => of::<InitParams>(generator),
        Kind::Sft => of::<SftParams>(generator),
        Kind::Merge => of::<MergeParams>(generator),
        Kind::Eval => of::<EvalParams>(generator),
        Kind::Report => of::<ReportParams>(generator),
    }
}

/// Returns the fields that a kind cannot do without.
pub fn required_fields(kind: Kind) -> &'static [String] {
    static FIELDS: LazyLock<BTreeMap<Kind, Vec<String>>> =
        LazyLock::new(|| Kind::ALL.into_iter().map(|kind| (kind, required(&kind_schema(kind)))).collect());
    FIELDS.get(&kind).map_or(&[], Vec::as_slice)
}

fn required(schema: &Value) -> Vec<String> {
    let names = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    names.filter_map(Value::as_str).map(str::to_owned).collect()
}
