//! The shipped pipelines and examples: all are right, all are planned, and the small ones run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::world::World;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every pipeline file below these folders, as paths from the root of the repository.
fn shipped() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("pipelines"), root().join("examples")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // What others include is no pipeline by itself.
                if !path.ends_with("parts") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// A world with the shipped pipelines in it: the files are copied, so that lockfiles stay out of the repository; the data
/// is linked.
fn with_shipped() -> World {
    let world = World::empty();
    for file in shipped() {
        world.write(file.to_str().unwrap(), &std::fs::read_to_string(root().join(&file)).unwrap());
    }
    for part in std::fs::read_dir(root().join("pipelines/luth/parts")).unwrap() {
        let path = part.unwrap().path();
        let name = format!("pipelines/luth/parts/{}", path.file_name().unwrap().to_str().unwrap());
        world.write(&name, &std::fs::read_to_string(path).unwrap());
    }
    std::os::unix::fs::symlink(root().join("pipelines/data"), world.path("pipelines/data")).unwrap();
    std::fs::create_dir_all(world.path("tests/fixtures/eval")).unwrap();
    std::os::unix::fs::symlink(root().join("tests/fixtures/eval/data"), world.path("tests/fixtures/eval/data"))
        .unwrap();
    std::os::unix::fs::symlink(root().join("examples/eval/capitals.jsonl"), world.path("examples/eval/capitals.jsonl"))
        .unwrap();
    // What `tests/models/fetch.sh` fetches; for a plan, any bytes will do.
    world.write("target/test-models/SmolLM2-135M-Instruct.Q4_1.gguf", "a model");
    // What a user of `scholar.yaml` has; for a plan, any bytes will do.
    world.write("target/scholar/papers/mathematiques-2019-sujet.pdf", "%PDF-");
    world
}

#[test]
fn all_are_right_and_can_be_planned() {
    let world = with_shipped();
    let files = shipped();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let file = file.to_str().unwrap();
        let check = world.run(&["check", file]);
        assert_eq!(check.code, 0, "{file}: {}", check.stderr);
        // What lies on the hub is looked up there before a plan is made.
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        if text.contains("hf://") || text.contains("parts/") {
            continue;
        }
        let plan = world.json(&["plan", "--json", file]);
        let nodes = plan["nodes"].as_array().unwrap();
        assert!(!nodes.is_empty());
        assert!(nodes.iter().all(|node| node["state"] != "fresh"), "nothing has run");
    }
}

#[test]
fn the_examples_run_and_then_have_nothing_to_do() {
    let world = with_shipped();
    for file in shipped().iter().filter(|file| file.starts_with("examples")) {
        let file = file.to_str().unwrap();
        let first = world.run_ok(&[file]);
        assert!(!first.ran.is_empty() && first.failed.is_empty(), "{file}");
        let second = world.run_ok(&[file]);
        assert!(second.ran.is_empty(), "{file}: {:?}", second.ran);
        assert_eq!(world.run(&["run", "--locked", file]).code, 0, "{file} agrees with the lockfile it just wrote");
    }
}

/// The promises in the comments of `examples/merge-ratio`.
#[test]
fn the_merge_example_runs_again_what_it_says() {
    let world = with_shipped();
    let file = "examples/merge-ratio/pipeline.yaml";
    world.run_ok(&[file]);
    let mut ran = world.run_ok(&[file, "--sweep", "t=0:1:0.25"]).ran;
    ran.sort();
    assert_eq!(ran, ["merged[t=0.25]", "merged[t=0.75]", "report", "scores[t=0.25]", "scores[t=0.75]"]);
    let ran: BTreeSet<String> = world.run_ok(&[file, "--set", "steps=20"]).ran.into_iter().collect();
    assert!(ran.contains("sft") && !ran.contains("base") && !ran.contains("bpe"), "{ran:?}");
}

/// The promises in the comments of `examples/best-ratio`.
#[test]
fn the_search_example_finds_a_ratio_and_is_over() {
    let world = with_shipped();
    let file = "examples/best-ratio/pipeline.yaml";
    let first = world.run_ok(&[file]);
    let trials = first.ran.iter().filter(|node| node.starts_with("merged[")).count();
    assert!((3..=10).contains(&trials), "{:?}", first.ran);
    assert_eq!(first.ran.iter().filter(|node| *node == "table").count(), 1);
    let chosen = world.json(&["show", "best", "--json", "-p", file])["chosen"]["instance"].clone();
    let lock = world.read("examples/best-ratio/pipeline.lock");
    assert!(lock.contains(&format!("instance: {}\n", chosen.as_str().unwrap())), "{chosen}: {lock}");
    assert!(world.run(&["plan", file]).stdout.contains(&format!("chose {} of {trials}", chosen.as_str().unwrap())));
    assert!(world.run_ok(&[file]).ran.is_empty(), "the search is over");
    assert_eq!(world.run(&["lock", "--check", file]).code, 0);
    assert_eq!(world.run(&["export", "-p", file, "best", "out"]).code, 0);
    assert!(
        world.read("out/README.md").contains(&format!("# {}\n", chosen.as_str().unwrap())),
        "a model gets its card"
    );
    // All ratios that there are: the search found the best of them, so nothing between is better.
    world.run_ok(&[file, "--sweep", "t=0:1:0.05"]);
    let all = world.json(&["show", "best", "--json", "-p", file, "--sweep", "t=0:1:0.05"]);
    assert_eq!(all["chosen"]["instance"], chosen);
}

/// Every field that the shipped pipelines use stands in the schema, and none that the schema demands is missing.
#[test]
fn the_schema_knows_every_field_of_them() {
    let schema: Value = serde_json::from_str(&World::empty().run(&["schema"]).stdout).unwrap();
    for file in shipped() {
        let text = std::fs::read_to_string(root().join(&file)).unwrap();
        let folder = root().join(&file).parent().unwrap().to_owned();
        let main = luthflow::spec::SourceFile { path: file.file_name().unwrap().into(), text };
        let read = |path: &Path| std::fs::read_to_string(folder.join(path)).map_err(|error| error.to_string());
        let parsed = luthflow::spec::parse_files(main, "x", &luthflow::spec::Overrides::default(), &read);
        let pipeline = parsed.pipeline.unwrap();
        let kinds = schema["properties"]["nodes"]["additionalProperties"]["oneOf"].as_array().unwrap();
        for node in &pipeline.nodes {
            let kind = kinds.iter().find(|kind| kind["properties"]["kind"]["const"] == node.kind.name()).unwrap();
            let mut problems = Vec::new();
            let mut fields = node.fields.clone();
            fields["kind"] = node.kind.name().into();
            fits(&schema, kind, &fields, &node.name, &mut problems);
            assert!(problems.is_empty(), "{}: {problems:?}", file.display());
        }
    }
}

/// Checks a value against the part of JSON Schema that the schema uses. `${…}` fits wherever a value may stand.
fn fits(root: &Value, schema: &Value, value: &Value, at: &str, problems: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        return fits(root, root.pointer(&reference[1..]).unwrap(), value, at, problems);
    }
    for word in ["oneOf", "anyOf"] {
        let Some(choices) = schema[word].as_array() else { continue };
        let mut fewest: Option<Vec<String>> = None;
        for choice in choices {
            let mut own = Vec::new();
            fits(root, choice, value, at, &mut own);
            if fewest.as_ref().is_none_or(|fewest| own.len() < fewest.len()) {
                fewest = Some(own);
            }
        }
        problems.extend(fewest.unwrap());
        return;
    }
    if let Some(wanted) = schema.get("const").filter(|wanted| *wanted != value) {
        problems.push(format!("{at}: {value} is not {wanted}"));
    }
    if let Some(words) = schema["enum"].as_array().filter(|words| !words.contains(value)) {
        problems.push(format!("{at}: {value} is none of {words:?}"));
    }
    fits_type(schema, value, at, problems);
    if let Some(pattern) = schema["pattern"].as_str() {
        assert_eq!(pattern, r"\$\{.+\}", "the only pattern of a setting");
        if !value.as_str().is_some_and(|text| text.contains("${")) {
            problems.push(format!("{at}: {value} uses no parameter"));
        }
    }
    if let Some(items) = value.as_array() {
        for (i, item) in items.iter().enumerate() {
            fits(root, &schema["items"], item, &format!("{at}[{i}]"), problems);
        }
    }
    let Some(fields) = value.as_object() else { return };
    // A value of any form, such as a task of one's own.
    if ["type", "properties", "additionalProperties"].iter().all(|word| schema.get(word).is_none()) {
        return;
    }
    for (name, field) in fields {
        match schema["properties"].get(name) {
            Some(schema) => fits(root, schema, field, &format!("{at}.{name}"), problems),
            // A mapping with names of its own, whose values may have a form.
            None if schema["additionalProperties"].is_object() => {
                fits(root, &schema["additionalProperties"], field, &format!("{at}.{name}"), problems);
            }
            None if schema["additionalProperties"] == true => {}
            None => problems.push(format!("{at} has no field {name}")),
        }
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        if !fields.contains_key(name.as_str().unwrap()) {
            problems.push(format!("{at} needs {name}"));
        }
    }
}

fn fits_type(schema: &Value, value: &Value, at: &str, problems: &mut Vec<String>) {
    let types: Vec<&str> = match &schema["type"] {
        Value::String(only) => vec![only],
        Value::Array(several) => several.iter().map(|word| word.as_str().unwrap()).collect(),
        _ => return,
    };
    let fits = |word: &&str| match *word {
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        other => panic!("the type {other}"),
    };
    if !types.iter().any(fits) {
        problems.push(format!("{at}: {value} is no {}", types.join(" or ")));
    }
}

#[test]
fn luth_sft_is_made_on_a_small_scale() {
    let world = with_shipped();
    world.run_ok(&["pipelines/luth-sft-small.yaml"]);
    let shown = world.json(&["show", "pipelines/luth-sft-small.yaml", "set", "--json"]);
    let folder = PathBuf::from(shown["path"].as_str().unwrap());
    let stats: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("stats.json")).unwrap()).unwrap();
    let step = |name: &str| stats["steps"].as_array().unwrap().iter().find(|step| step["step"] == name).unwrap();
    // The English ones are found, all of them, and no French prose goes with them.
    assert_eq!(step("language")["rows_by_source"][2], 0);
    assert_eq!(step("language")["rows_by_source"][1], step("fix_text")["rows_by_source"][1]);
    insta::assert_json_snapshot!(stats);
}
