//! The language of pipelines in several files, with profiles, variables and settings of the run, through the program.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use luthflow::plan::resolve;
use luthflow::spec::{Overrides, SourceFile, parse_files};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::world::{Ran, World};

/// Checks a pipeline and returns what was said; it must be wrong.
fn wrong(world: &World, args: &[&str]) -> String {
    let args: Vec<&str> = std::iter::once("check").chain(args.iter().copied()).collect();
    let ran = world.run(&args);
    assert_eq!(ran.code, 2, "{}{}", ran.stdout, ran.stderr);
    world.tidy(&ran.stderr)
}

/// Checks a pipeline text in a world with data; it must be wrong.
fn wrong_text(text: &str) -> String {
    let world = World::new();
    world.write("pipeline.yaml", text);
    wrong(&world, &[])
}

fn names(world: &World, args: &[&str]) -> Vec<String> {
    let args: Vec<&str> = ["plan", "--json"].iter().chain(args).copied().collect();
    let plan = world.json(&args);
    plan["nodes"].as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap().to_owned()).collect()
}

fn config(world: &World, args: &[&str]) -> serde_json::Value {
    let args: Vec<&str> = ["show", "--json"].iter().chain(args).copied().collect();
    world.json(&args)["config"].clone()
}

/// Runs with variables of the environment.
fn with_env(world: &World, args: &[&str], env: &[(&str, &str)]) -> Ran {
    let output = world.command(args).envs(env.iter().copied()).output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

const RECIPE: &str = "\
version: 1
params: {data: en.txt, chars: 5}
sweep: {eval: [0.1, 0.2]}
profiles: {smoke: {params: {chars: 7}, sweep: {eval: [0.5]}}}
nodes:
  text: {kind: source, dataset: \"${data}\", rows: line}
  clean: {kind: curate, from: [text], steps: [length: {min_chars: \"${chars}\"}, split: {eval: \"${eval}\"}]}
";

/// A world in which `recipes/recipe.yaml` can be included, with data beside it.
fn with_recipe(main: &str) -> World {
    let world = World::empty();
    let lines = |word: &str| (0..40).map(|i| format!("{word} line number {i}")).collect::<Vec<_>>().join("\n");
    world.write("recipes/en.txt", &lines("english"));
    world.write("recipes/fr.txt", &lines("french"));
    world.write("recipes/recipe.yaml", RECIPE);
    world.write("pipeline.yaml", main);
    world
}

#[test]
fn a_plain_include_lies_under_the_file_that_names_it() {
    let world = with_recipe(
        "version: 1\ninclude: recipes/recipe.yaml\nparams: {chars: 9}\nsweep: {eval: [0.3]}\nnodes:\n  \
         more: {kind: curate, from: [clean.train], steps: [dedup: exact]}\n",
    );
    assert_eq!(names(&world, &[]), ["text", "clean[eval=0.3]", "more[eval=0.3]"]);
    assert_eq!(config(&world, &["clean[eval=0.3]"])["steps"][0]["length"]["min_chars"], 9);
}

#[test]
fn an_include_with_a_name_keeps_to_itself() {
    let world = with_recipe(
        "version: 1\nsweep: {length: [5, 8]}\ninclude:\n  \
         - {file: recipes/recipe.yaml, as: en, params: {chars: \"${length}\", eval: 0.1}}\n  \
         - {file: recipes/recipe.yaml, as: fr, params: {data: fr.txt}}\nnodes:\n  \
         both: {kind: curate, from: [en/clean.train, fr/clean.train], steps: [dedup: exact]}\n",
    );
    let found: BTreeSet<String> = names(&world, &[]).into_iter().collect();
    let wanted = [
        "both[length=5,fr/eval=0.1]",
        "both[length=5,fr/eval=0.2]",
        "both[length=8,fr/eval=0.1]",
        "both[length=8,fr/eval=0.2]",
        "en/clean[length=5]",
        "en/clean[length=8]",
        "en/text",
        "fr/clean[fr/eval=0.1]",
        "fr/clean[fr/eval=0.2]",
        "fr/text",
    ];
    assert_eq!(found, wanted.map(str::to_owned).into());
    assert_eq!(config(&world, &["en/clean[length=8]"])["steps"][0]["length"]["min_chars"], 8);
    assert_eq!(names(&world, &["fr/*", "--set", "fr/eval=0.4"]), ["fr/text", "fr/clean"]);
    assert_eq!(names(&world, &["*/text"]), ["en/text", "fr/text"]);
    let swept = names(&world, &["fr/clean", "--sweep", "fr/chars=1,2", "--set", "fr/eval=0.1"]);
    assert_eq!(swept, ["fr/text", "fr/clean[fr/chars=1]", "fr/clean[fr/chars=2]"]);
}

#[test]
fn includes_lie_in_each_other() {
    let world = with_recipe("version: 1\ninclude: [{file: recipes/outer.yaml, as: a, params: {n: 6}}]\n");
    world.write(
        "recipes/outer.yaml",
        "version: 1\nparams: {n: 1}\ninclude: [{file: ../recipes/recipe.yaml, as: b, params: {chars: \"${n}\", eval: 0.1}}]\n\
         nodes:\n  bpe: {kind: tokenizer, data: [b/clean.train], vocab_size: 300}\n",
    );
    assert_eq!(names(&world, &[]), ["a/b/text", "a/b/clean", "a/bpe"]);
    assert_eq!(config(&world, &["a/b/clean"])["steps"][0]["length"]["min_chars"], 6);
}

/// The files of an included source are found beside the file that names them, and names with `/` are good for all that is
/// kept by name.
#[test]
fn included_nodes_run_and_are_found_again() {
    let world = with_recipe("version: 1\ninclude: [{file: recipes/recipe.yaml, as: en, params: {eval: 0.5}}]\n");
    assert_eq!(world.run_ok(&[]).ran, ["en/text", "en/clean"]);
    assert!(world.run_ok(&[]).ran.is_empty());
    assert_eq!(world.run(&["run", "--locked"]).code, 0);
    assert_eq!(world.run(&["log", "en/clean"]).code, 0);
    let export = world.run(&["export", "en/clean.train", "out"]);
    assert_eq!(export.code, 0, "{}", export.stderr);
    // The same recipe under another name is the same work.
    world.edit("as: en", "as: english");
    assert!(world.run_ok(&[]).ran.is_empty());
}

/// A file reached on two ways is there once.
#[test]
fn a_diamond_of_includes_is_no_mistake() {
    let world = with_recipe("version: 1\ninclude: [recipes/a.yaml, recipes/b.yaml]\n");
    world.write("recipes/a.yaml", "version: 1\ninclude: recipe.yaml\n");
    world.write("recipes/b.yaml", "version: 1\ninclude: ./recipe.yaml\n");
    assert_eq!(names(&world, &["text"]), ["text"]);
}

#[test]
fn a_mistake_is_drawn_in_the_file_it_is_in() {
    let world = with_recipe(
        "version: 1\ninclude:\n  - {file: recipes/recipe.yaml, as: en, params: {char: 5}}\n  \
         - {file: recipes/recipe.yaml, as: fr, params: {chars: \"${lenght}\"}}\nparams: {length: 3}\nnodes:\n  \
         a: {kind: curate, from: [en/claen.train], steps: [length: {min_chars: \"${length}\"}]}\n",
    );
    world.edit_file("recipes/recipe.yaml", "from: [text]", "form: [text]");
    insta::assert_snapshot!(wrong(&world, &[]));
}

#[test]
fn includes_that_cannot_be() {
    let circle = with_recipe("version: 1\ninclude: recipes/a.yaml\n");
    circle.write("recipes/a.yaml", "version: 1\ninclude: b.yaml\n");
    circle.write("recipes/b.yaml", "version: 1\ninclude: ../pipeline.yaml\n");
    let told = wrong(&circle, &[]).replace("\n  │ ", " ");
    assert!(told.contains("pipeline.yaml -> recipes/a.yaml -> recipes/b.yaml -> pipeline.yaml"), "{told}");
    for (include, why) in [
        ("/etc/passwd", "relative to the file"),
        ("recipes/none.yaml", "there is no file"),
        ("[3]", "takes paths"),
        ("[{as: a}]", "does not say its `file`"),
        ("[{file: recipes/recipe.yaml, params: {chars: 1}}]", "add `as: name`"),
        ("[{file: recipes/recipe.yaml, as: a}, {file: recipes/recipe.yaml, as: a}]", "`as: a` stands twice"),
        ("[{file: recipes/recipe.yaml, as: a/b}]", "`as` must be a name"),
        ("[{fiel: recipes/recipe.yaml}]", "did you mean `file`?"),
    ] {
        let world =
            with_recipe(&format!("version: 1\ninclude: {include}\nnodes:\n  a: {{kind: source, dataset: x}}\n"));
        let told = wrong(&world, &[]);
        assert!(told.contains(why), "{include}: {told}");
    }
    let twice =
        with_recipe("version: 1\ninclude: recipes/recipe.yaml\nnodes:\n  text: {kind: source, dataset: x.txt}\n");
    assert!(wrong(&twice, &[]).contains("recipes/recipe.yaml has a node `text` too"));
}

#[test]
fn profiles_change_parameters_and_have_their_own_lockfile() {
    let world = with_recipe("version: 1\ninclude: [recipes/recipe.yaml, {file: recipes/recipe.yaml, as: own}]\n");
    let found = names(&world, &["clean", "own/clean", "--profile", "smoke"]);
    assert_eq!(found, ["text", "clean[eval=0.5]", "own/text", "own/clean[own/eval=0.5]"]);
    let args = ["show", "--json", "clean[eval=0.5]"];
    let ran = with_env(&world, &args, &[("LUTHFLOW_PROFILE", "smoke")]);
    assert!(ran.stdout.contains("\"min_chars\": 7"), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(config(&world, &["clean[eval=0.1]"])["steps"][0]["length"]["min_chars"], 5);
    let fixed = names(&world, &["clean", "--profile", "smoke", "--set", "eval=0.4"]);
    assert_eq!(fixed, ["text", "clean"], "the command line stands above the profile");
    let told = wrong(&world, &["--profile", "smok"]);
    assert!(told.contains("no such profile") && told.contains("did you mean `smoke`?"), "{told}");
}

#[test]
fn the_lockfile_of_a_profile_is_its_own() {
    let world = World::new();
    world.edit("name: tiny\n", "name: tiny\nprofiles: {small: {params: {seed: 8}}}\n");
    world.run_ok(&["--profile", "small", "text_en"]);
    assert!(world.path("pipeline.small.lock").is_file() && !world.path("pipeline.lock").exists());
}

#[test]
fn a_profile_adds_nothing() {
    let told = wrong_text(
        "version: 1\nparams: {chars: 3}\nprofiles: {smoke: {params: {cahrs: 1}, swep: {}}}\nnodes:\n  \
         text: {kind: source, dataset: data/en.txt}\n",
    );
    assert!(told.contains("which is not there") && told.contains("did you mean `chars`?"), "{told}");
    assert!(told.contains("unknown field `swep`") && told.contains("did you mean `sweep`?"), "{told}");
}

const ENV: &str = "\
version: 1
nodes:
  text: {kind: source, dataset: \"${env:FOLDER}/en.txt\", needs: {cpu: \"${env:CORES:-2}\"}}
  clean: {kind: curate, from: [text], steps: [length: {min_chars: \"${env:CHARS:-4}\"}]}
";

#[test]
fn variables_enter_a_key_only_if_they_are_declared() {
    let world = World::new();
    world.write("pipeline.yaml", ENV);
    let told = wrong(&world, &[]);
    assert!(told.contains("no variable `FOLDER`") && told.contains("${env:FOLDER:-default}"), "{told}");
    let ran = with_env(&world, &["check"], &[("FOLDER", "data")]);
    assert!(ran.stderr.contains("`${env:CHARS}` would enter the key of `clean`"), "{}", ran.stderr);
    assert!(ran.stderr.contains("env: [CHARS]") && !ran.stderr.contains("env: [FOLDER]"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("`${env:CORES"), "{}", ran.stderr);
    world.edit("version: 1\n", "version: 1\nenv: [CHARS]\n");
    let ran = with_env(&world, &["show", "--json", "clean"], &[("FOLDER", "data"), ("CHARS", "6")]);
    assert!(ran.stdout.contains("\"min_chars\": 6"), "{}{}", ran.stdout, ran.stderr);
}

/// The key of a source has its content and not its path, so a folder from the environment leaves it as it is.
#[test]
fn a_variable_that_enters_no_key_runs_nothing_again() {
    let world = World::new();
    world.write("pipeline.yaml", &ENV.replace("\"${env:CHARS:-4}\"", "4"));
    world.write("other/en.txt", &world.read("data/en.txt"));
    let first = with_env(&world, &["run"], &[("FOLDER", "data")]);
    assert_eq!(first.code, 0, "{}", first.stderr);
    let second = with_env(&world, &["plan"], &[("FOLDER", "other"), ("CORES", "1")]);
    assert!(second.stderr.contains("0 to run, 0 that may run, 2 fresh"), "{}", second.stderr);
}

#[test]
fn a_variable_that_names_an_input_enters_the_key_too() {
    let world = World::new();
    world.write(
        "pipeline.yaml",
        "version: 1\nnodes:\n  a: {kind: source, dataset: data/en.txt}\n  b: {kind: source, dataset: data/fr.txt}\n  \
         c: {kind: curate, from: [\"${env:WHICH:-a}\"], steps: [dedup: exact]}\n",
    );
    assert!(wrong(&world, &[]).contains("`${env:WHICH}` would enter the key of `c`"));
}

#[test]
fn a_secret_stands_in_no_setting() {
    let told = wrong_text(
        "version: 1\nenv: [TOKEN]\nparams: {folder: \"${env:TOKEN:-x}\"}\nnodes:\n  \
         a: {kind: source, dataset: \"${folder}/en.txt\"}\n  \
         b: {kind: command, run: [sh, -c, \"true\"], outputs: [out], secrets: [TOKEN]}\n",
    );
    assert!(told.contains("`TOKEN` is a secret of `b`"), "{told}");
}

#[test]
fn how_a_node_is_run_is_read_and_enters_no_key() {
    let world = World::new();
    let plain = config(&world, &["bpe"]);
    let key = |world: &World| world.json(&["explain", "--json", "text_en"])["key_parts"].clone();
    world.run_ok(&["text_en"]);
    let before = key(&world);
    world.edit(
        "{kind: source, dataset: data/en.txt, rows: line}",
        "{kind: source, dataset: data/en.txt, rows: line, needs: {cpu: 2, gpu: 1, memory: 16GB}, retries: 2, timeout: 90m}",
    );
    world.edit("vocab_size: 320}", "vocab_size: 320, timeout: \"${seed}h\", needs: {memory: 512MiB}}");
    assert_eq!(config(&world, &["bpe"]), plain);
    assert_eq!(key(&world), before);
    assert!(!before.is_null() && world.run_ok(&["text_en"]).ran.is_empty());
}

#[test]
fn how_a_node_is_run_is_checked() {
    let told = wrong_text(
        "version: 1\nnodes:\n  a:\n    kind: source\n    dataset: data/en.txt\n    needs: {cpus: 2, memory: 16gb}\n    \
         retries: often\n    timeout: 90\n  b: {kind: source, dataset: data/en.txt, retires: 2, timeout: \"${long}\"}\n",
    );
    insta::assert_snapshot!(told);
}

const ALL: &str = "\
version: 1
env: [A]
include: [one.yaml, {file: two.yaml, as: x, params: {chars: \"${t}\"}}]
params: {n: 3, p: \"${env:A:-1}\"}
sweep: {t: [1, 2], u: \"1:3:1\", v: [4, 5], zip: [[t, v]], exclude: [{t: 1, u: 2}]}
profiles: {smoke: {params: {n: 1}, sweep: {u: [1]}}}
nodes:
  a: {kind: source, dataset: \"${env:HOME}/${n}\", needs: {cpu: 1, memory: 1GB}, retries: 1, timeout: 1m}
  b: {kind: curate, from: [a, x/clean.train], steps: [length: {min_chars: \"${t}\", max_chars: \"${u}${v}\"}]}
  c: {kind: select, from: b, by: b.rows_out, goal: max, search: {parameter: n, low: 0, high: 9, precision: 1}}
";

const WORDS: [&str; 22] = [
    "", "\n", " ", "{", "}", "[", "]", "${", "${env:", ":-", "zip", "exclude", "as: ", "x/", "..", "one.yaml", "t",
    "nan", "'", "é", "*", "-1",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is in the files, reading ends, nothing panics, and every mistake points into the file that it names.
    #[test]
    fn mutated_files_are_read_to_an_end(
        edits in proptest::collection::vec((0..3usize, any::<Index>(), 0..9usize, select(WORDS.to_vec())), 1..5),
    ) {
        let mut texts = [ALL.to_owned(), RECIPE.replace("text", "other").replace("clean", "neat"), RECIPE.to_owned()];
        for (file, at, length, with) in edits {
            let text = &mut texts[file];
            let places: Vec<usize> = text.char_indices().map(|(i, _)| i).chain([text.len()]).collect();
            let start = at.index(places.len());
            let end = (start + length).min(places.len() - 1);
            text.replace_range(places[start]..places[end], with);
        }
        let main = SourceFile { path: PathBuf::from("pipeline.yaml"), text: texts[0].clone() };
        let read = |path: &Path| match path.to_str() {
            Some("one.yaml") => Ok(texts[1].clone()),
            Some("two.yaml") => Ok(texts[2].clone()),
            _ => Err("there is no such file".to_owned()),
        };
        let parsed = parse_files(main, "mutated", &Overrides::default(), &read);
        let mut diagnostics = parsed.diagnostics;
        match parsed.pipeline.as_ref().map(resolve) {
            Some(Err(more)) => diagnostics.extend(more),
            Some(Ok(_)) => {}
            None => prop_assert!(!diagnostics.is_empty()),
        }
        for diagnostic in diagnostics {
            let text = &parsed.files[diagnostic.file].text;
            let (start, end) = diagnostic.span;
            prop_assert!(text.get(start..end).is_some(), "{}: {start}..{end}", diagnostic.message);
        }
    }
}

/// Every whole example on the page of the language is right.
#[test]
fn the_page_of_the_language_is_true() {
    let page = fs_err::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/language.md")).unwrap();
    let blocks: Vec<&str> = page.split("```yaml\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    assert!(blocks.len() > 7);
    let world = World::new();
    world.write("models/smol.gguf", "");
    world.write("data/prompts.jsonl", "{\"prompt\": \"Hello\"}\n");
    for model in ["base", "tuned"] {
        world.write(&format!("models/{model}/config.json"), "{}");
        world.write(&format!("models/{model}/model.safetensors"), "");
    }
    world.write("models/lora/adapter_config.json", "{}");
    world.write("models/lora/adapter_model.safetensors", "");
    for (i, block) in blocks.iter().enumerate() {
        if let Some(name) = block.lines().next().and_then(|line| line.strip_prefix("# ")) {
            world.write(name, block);
        }
        let file = format!("block{i}.yaml");
        world.write(&file, block);
        let ran = world.run(&["check", &file]);
        assert_eq!(ran.code, 0, "{block}\n{}", ran.stderr);
    }
}
