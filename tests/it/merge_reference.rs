//! Models of a MergeKit configuration, as text and as mappings, with adapters, in pipelines and without.

use std::path::PathBuf;

use crate::world::World;

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lora")
}

/// A base, an adapter, and what MergeKit made of the two.
fn world() -> (World, Vec<u8>) {
    let world = World::empty();
    for (from, to) in [("base-bf16", "models/base"), ("plain-bf16", "lo+ra")] {
        fs_err::create_dir_all(world.path(to)).unwrap();
        for entry in fs_err::read_dir(fixtures().join(from)).unwrap() {
            let path = entry.unwrap().path();
            fs_err::copy(&path, world.path(to).join(path.file_name().unwrap())).unwrap();
        }
    }
    (world, fs_err::read(fixtures().join("plain-bf16.safetensors")).unwrap())
}

const MAPPING: &str = "\
merge_method: linear
models:
  - model: {model: {path: models/base, revision: null}, lora: {path: lo+ra}, override_architecture: null}
    parameters: {weight: 1}
dtype: bfloat16
";

const SOURCES: &str = "\
version: 1
nodes:
  base: {kind: source, model: models/base}
  lora: {kind: source, adapter: lo+ra}
";

#[test]
fn a_model_may_be_written_as_a_mapping() {
    let (world, golden) = world();
    world.write("merge.yaml", MAPPING);
    let ran = world.run(&["merge", "merge.yaml", "out"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(fs_err::read(world.path("out/model.safetensors")).unwrap() == golden);
}

#[test]
fn parts_that_are_not_followed_are_refused_where_they_stand() {
    let (world, _) = world();
    let config = |reference: &str| {
        format!("merge_method: linear\nmodels:\n  - model: {reference}\n    parameters: {{weight: 1}}\n")
    };
    for (reference, said, under) in [
        ("{model: {path: models/base, revision: v2}}", "the revision `v2` is not looked for", "v2"),
        ("{model: models/base, lora: {path: lora, revision: v2}}", "the revision `v2` is not looked for", "v2"),
        (
            "{model: models/base, override_architecture: Llama}",
            "`override_architecture: Llama` is not followed",
            "Llama",
        ),
        ("{model: models/base, adapter: lora}", "a model has no `adapter`", "lora"),
        ("{model: {path: models/base, branch: main}}", "a path has no `branch`", "main"),
        ("{lora: lora}", "the `model` is missing", "{lora: lora}"),
        ("{model: {revision: null}}", "the `path` is missing", "{revision: null}"),
        ("{model: 7}", "expected a path", "7"),
    ] {
        world.write("merge.yaml", &config(reference));
        let ran = world.run(&["merge", "merge.yaml", "out"]);
        assert!(ran.code == 2 && ran.stderr.contains(said), "{reference}: {}", ran.stderr);
        let column = 12 + reference.find(under).unwrap();
        assert!(ran.stderr.contains(&format!("merge.yaml:3:{column}")), "{reference}: {}", ran.stderr);
        // The same inside of a pipeline.
        world.write("pipeline.yaml", &format!("{SOURCES}  it:\n    kind: merge\n    config: {{merge_method: linear, models: [{{model: {reference}, parameters: {{weight: 1}}}}]}}\n"));
        let ran = world.run(&["check"]);
        assert!(ran.code == 2 && ran.stderr.contains(said), "{reference}: {}", ran.stderr);
    }
    // Where a single token comes from, with and without a kind.
    let wrong = "{model: models/base, adapter: lora}";
    world.write(
        "merge.yaml",
        &format!(
            "{}tokenizer:\n  source: base\n  tokens:\n    a: {{source: {wrong}}}\n    b: {{source: {{kind: model_token, model: {wrong}, token: b}}}}\n",
            config("models/base")
        ),
    );
    let ran = world.run(&["merge", "merge.yaml", "out"]);
    assert!(ran.code == 2 && ran.stderr.matches("a model has no `adapter`").count() == 2, "{}", ran.stderr);
}

#[test]
fn a_pipeline_adds_the_adapters_that_its_merges_name() {
    let (world, golden) = world();
    let merge = |model: &str, nodes: &str| {
        format!(
            "{SOURCES}  it:\n    kind: merge\n    config: {{merge_method: linear, dtype: bfloat16, models: [{{model: {model}, parameters: {{weight: 1}}}}]}}\n{nodes}"
        )
    };
    world.write("pipeline.yaml", &merge("base+lora", ""));
    world.run_ok(&["pipeline.yaml"]);
    assert_eq!(world.run(&["export", "it", "it"]).code, 0);
    assert!(fs_err::read(world.path("it/model.safetensors")).unwrap() == golden);
    // The node that was made can be asked for like any other, and nothing is done twice, however it is written.
    let ran = world.run(&["export", "base+lora", "adapted"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for (model, nodes) in
        [("{model: base, lora: {path: lora}}", ""), ("my/base+./lo+ra", "    nodes: {my/base: base, ./lo+ra: lora}\n")]
    {
        world.write("pipeline.yaml", &merge(model, nodes));
        let ran = world.run(&["run", "pipeline.yaml", "--json"]);
        assert!(ran.code == 0 && !ran.stdout.contains("\"node_started\""), "{}\n{}", ran.stdout, ran.stderr);
    }
    // From a file of its own too, and an adapter that is none is a mistake.
    world.write(
        "merge.yaml",
        "merge_method: linear\nmodels:\n  - model: base+lora\n    parameters: {weight: 1}\ndtype: bfloat16\n",
    );
    world.write("pipeline.yaml", &format!("{SOURCES}  it: {{kind: merge, config: merge.yaml}}\n"));
    let ran = world.run(&["run", "pipeline.yaml", "--json"]);
    assert!(ran.code == 0 && !ran.stdout.contains("\"node_started\""), "{}\n{}", ran.stdout, ran.stderr);
    world.write("pipeline.yaml", &merge("base+base", ""));
    let ran = world.run(&["check"]);
    assert!(ran.code == 2 && ran.stderr.contains("a LoRA adapter is needed here"), "{}", ran.stderr);
    world.write("pipeline.yaml", &merge("base+nowhere", ""));
    let ran = world.run(&["check"]);
    assert!(ran.code == 2 && ran.stderr.contains("base+nowhere"), "{}", ran.stderr);
}

/// A result that was made just now is not digested again; one from the cache is, and a damaged one is never handed out.
#[test]
fn a_damaged_result_is_not_copied_out() {
    let (world, golden) = world();
    world.write("merge.yaml", MAPPING);
    assert_eq!(world.run(&["merge", "merge.yaml", "out"]).code, 0);
    let objects = walkdir(&world.path("cache"));
    let mut damaged = 0;
    for file in objects.iter().filter(|file| fs_err::read(file).is_ok_and(|bytes| bytes == golden)) {
        let mut permissions = fs_err::metadata(file).unwrap().permissions();
        #[expect(clippy::permissions_set_readonly_false, reason = "a file of a test")]
        permissions.set_readonly(false);
        fs_err::set_permissions(file, permissions).unwrap();
        let mut bytes = golden.clone();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs_err::write(file, bytes).unwrap();
        damaged += 1;
    }
    assert!(damaged > 0, "{objects:?}");
    let ran = world.run(&["merge", "merge.yaml", "again"]);
    let copied = fs_err::read(world.path("again/model.safetensors"));
    assert!(ran.code != 0 || copied.is_ok_and(|bytes| bytes == golden), "{}", ran.stderr);
}

fn walkdir(dir: &std::path::Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs_err::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(walkdir(&path)) } else { files.push(path) }
    }
    files
}
