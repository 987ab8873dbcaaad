//! The house's own rules, held by a test: who may import whom, which outside crate lives where, where the library must
//! be silent, and that no file is too long, undescribed or forgotten.
//!
//! Rules read the source as text, comments and test code apart: a rule that a reader can check by eye beats one that
//! needs a parser. What the lints of `Cargo.toml` can hold is left to them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What each module may use of ours. Only `spec::params` is finer than a module: what runs a node needs its settings, and
/// never what the user wrote.
const MAY_USE: &[(&str, &[&str])] = &[
    ("digest", &[]),
    ("data", &[]),
    ("text", &[]),
    ("metrics", &[]),
    ("hub", &["digest"]),
    ("endpoint", &["digest"]),
    ("tensor", &[]),
    ("model", &["tensor"]),
    ("gguf", &["tensor"]),
    ("generate", &["data", "model"]),
    ("spec", &["digest"]),
    ("cache", &["digest"]),
    ("plan", &["spec", "digest"]),
    ("estimate", &["plan", "spec::params", "model"]),
    (
        "ops",
        &[
            "spec::params",
            "spec::suggest",
            "data",
            "text",
            "metrics",
            "hub",
            "endpoint",
            "tensor",
            "model",
            "gguf",
            "generate",
            "digest",
        ],
    ),
    (
        "exec",
        &[
            "plan",
            "hub",
            "cache",
            "ops",
            "estimate",
            "spec::params",
            "spec::lock",
            "spec::sweep",
            "spec::execution",
            "spec::suggest",
            "digest",
        ],
    ),
    ("cli", &["spec", "plan", "estimate", "exec", "cache", "digest", "data", "tensor", "generate", "metrics"]),
];

/// Outside crates that only these modules may name.
const HOMES: &[(&str, &[&str])] = &[
    ("rusqlite", &["cache", "endpoint"]),
    ("object_store", &["cache"]),
    ("reqwest", &["cache"]),
    ("rustls", &["cache"]),
    ("tokio", &["cache"]),
    ("futures", &["cache"]),
    ("reflink_copy", &["ops"]),
    ("rustix", &["cache", "cli", "exec", "ops"]),
    // Ops hash rows by the million into sets; no such hash identifies anything outside its node.
    ("blake3", &["digest", "ops"]),
    // The date in a chat template.
    ("chrono", &["data", "cli"]),
    ("faer", &["ops"]),
    ("candle_core", &["tensor", "model", "gguf", "ops"]),
    ("candle_nn", &["model", "ops"]),
    ("gemm", &["tensor", "model", "ops"]),
    ("safetensors", &["tensor", "model", "ops"]),
    ("tokenizers", &["data"]),
    ("minijinja", &["data", "ops"]),
    ("minijinja_contrib", &["data"]),
    ("arrow_array", &["data"]),
    ("arrow_cast", &["data"]),
    ("arrow_ipc", &["data"]),
    ("arrow_schema", &["data"]),
    ("parquet", &["data"]),
    ("csv", &["data"]),
    ("lopdf", &["data"]),
    ("bzip2", &["data"]),
    ("flate2", &["data", "metrics"]),
    // Rows that wait for a step to see all others.
    ("zstd", &["data", "ops"]),
    ("hf_hub", &["hub"]),
    // Hashes of prompts as lm-evaluation-harness writes them.
    ("sha2", &["hub", "metrics"]),
    ("ureq", &["hub", "endpoint"]),
    ("jsonschema", &["ops"]),
    ("lingua", &["text"]),
    ("whichlang", &["text", "ops"]),
    ("fancy_regex", &["text", "data", "metrics"]),
    ("iban_validate", &["text"]),
    // The hub's data sets say in YAML which files make up a split.
    ("serde_yaml", &["spec", "hub"]),
    ("saphyr_parser", &["spec"]),
    ("petgraph", &["plan"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("comfy_table", &["ops"]),
    ("indicatif", &["cli"]),
    ("miette", &["cli"]),
    ("signal_hook", &["cli", "exec"]),
];

/// What only the command line may do: it alone has a user, an environment and the right to end the process.
const ONLY_CLI: &[&str] = &["println!", "print!", "eprintln!", "eprint!", "env::var", "env::args", "process::exit"];

/// Every fs call says which path it was about.
const NOT_OURS: &[&str] = &["std::fs::read", "std::fs::write", "std::fs::create", "std::fs::remove", "std::fs::rename"];

const LONGEST_FILE: usize = 500;

struct Source {
    path: PathBuf,
    text: String,
    /// The text without comments and without `#[cfg(test)] mod tests`.
    code: String,
}

impl Source {
    fn read(path: PathBuf) -> Self {
        let text = fs_err::read_to_string(&path).unwrap();
        let product = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or("");
        let lines = product.lines().map(|line| line.split("//").next().unwrap_or(""));
        let code = lines.collect::<Vec<_>>().join("\n");
        Self { path, text, code }
    }

    /// The module at the top of `src` that the file belongs to: `cache` for `src/cache/lock.rs`.
    fn module(&self) -> &str {
        let below = self.path.strip_prefix(root().join("src")).unwrap();
        let first = below.components().next().unwrap().as_os_str().to_str().unwrap();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    fn name(&self) -> String {
        self.path.strip_prefix(root()).unwrap().display().to_string()
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &str) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<Source> {
    rust_files("src").into_iter().map(Source::read).collect()
}

fn is_word(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// The paths that follow `crate::` in code, groups opened: `use crate::{a::b, c}` gives `a::b` and `c`.
fn own_imports(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for after in code.split("crate::").skip(1) {
        let end = |c: char| !(c.is_alphanumeric() || c == '_' || c == ':');
        match after.strip_prefix('{') {
            None => paths.push(after.split(end).next().unwrap_or("").to_owned()),
            Some(group) => {
                let mut depth = 0;
                let mut start = 0;
                for (at, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        ',' | '}' if depth == 0 => {
                            paths.push(group[start..at].trim().split(end).next().unwrap_or("").to_owned());
                            start = at + 1;
                            if c == '}' {
                                break;
                            }
                        }
                        '}' => depth -= 1,
                        _ => {}
                    }
                }
            }
        }
    }
    paths.retain(|path| !path.is_empty());
    paths
}

/// Says whether code names an outside crate: `name::` that nothing of ours precedes, or `use name;`.
fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + name.len()..]);
        let starts = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '.');
        let used = before.trim_end().ends_with("use") && after.starts_with([';', ' ']);
        starts && (after.starts_with("::") || used)
    })
}

fn complain(what: &str, problems: &[String]) {
    assert!(problems.is_empty(), "{what}:\n  {}", problems.join("\n  "));
}

#[test]
fn modules_use_only_what_the_table_allows() {
    let mut problems = Vec::new();
    for source in sources() {
        let Some((module, allowed)) = MAY_USE.iter().find(|(module, _)| *module == source.module()) else { continue };
        for path in own_imports(&source.code) {
            let first = path.split("::").next().unwrap_or(&path);
            let fits = |rule: &str| path == rule || path.starts_with(&format!("{rule}::"));
            if first != *module && !allowed.iter().any(|rule| fits(rule)) {
                problems.push(format!("{} uses crate::{path}, which {module} may not", source.name()));
            }
        }
    }
    complain("the import table (`MAY_USE`) is broken; move the code, or argue for another table", &problems);
}

#[test]
fn every_module_stands_in_the_table() {
    let lib = Source::read(root().join("src/lib.rs"));
    let declared: BTreeSet<_> = lib.code.lines().filter_map(|line| line.strip_prefix("pub mod ")).collect();
    let declared: BTreeSet<_> = declared.iter().map(|line| line.trim_end_matches(';')).collect();
    assert_eq!(declared, MAY_USE.iter().map(|(module, _)| *module).collect());
}

#[test]
fn outside_crates_stay_at_home() {
    let mut problems = Vec::new();
    for source in sources() {
        for (name, homes) in HOMES {
            if names_crate(&source.code, name) && !homes.contains(&source.module()) {
                problems.push(format!("{} names {name}, which lives in {}", source.name(), homes.join(", ")));
            }
        }
    }
    complain("outside crates are named where they do not live (`HOMES`)", &problems);
}

#[test]
fn the_library_is_silent_and_leaves_the_environment_alone() {
    let mut problems = Vec::new();
    for source in sources().iter().filter(|source| !matches!(source.module(), "cli" | "main")) {
        for call in ONLY_CLI {
            let named =
                |(at, _): &(usize, &str)| !source.code[..*at].ends_with(|c: char| c == '_' || is_word(&c.to_string()));
            if source.code.match_indices(call).any(|found| named(&found)) {
                problems.push(format!("{} has {call}", source.name()));
            }
        }
    }
    complain("only `cli` and `main.rs` print, read the environment or exit", &problems);
}

#[test]
fn file_errors_name_their_path() {
    let mut problems = Vec::new();
    for source in sources() {
        for call in NOT_OURS.iter().filter(|call| source.code.contains(**call)) {
            problems.push(format!("{} has {call}…", source.name()));
        }
    }
    complain("use `fs_err`, whose errors name the path", &problems);
}

#[test]
fn every_file_says_why_it_is_and_is_short_enough() {
    let mut problems = Vec::new();
    for source in sources() {
        if !source.text.starts_with("//!") {
            problems.push(format!("{} does not open with `//!`", source.name()));
        }
        let lines = source.text.lines().count();
        if lines > LONGEST_FILE {
            problems.push(format!("{} has {lines} lines, more than {LONGEST_FILE}", source.name()));
        }
    }
    complain("every file opens with its reasons and stays short", &problems);
}

#[test]
fn no_test_file_is_forgotten() {
    let main = fs_err::read_to_string(root().join("tests/it/main.rs")).unwrap();
    let declared: BTreeSet<_> = main.lines().filter_map(|line| line.strip_prefix("mod ")).collect();
    let mut found = BTreeSet::new();
    for entry in fs_err::read_dir(root().join("tests/it")).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if stem != "main"
            && (path.is_dir() && path.join("mod.rs").exists() || path.extension().is_some_and(|e| e == "rs"))
        {
            found.insert(format!("{stem};"));
        }
    }
    assert_eq!(declared, found.iter().map(String::as_str).collect(), "tests/it/main.rs declares every file beside it");
}

/// A rule that cannot see a breach holds nothing.
#[test]
fn the_rules_see_what_they_forbid() {
    assert_eq!(own_imports("use crate::cache::Cache;\nfn f(x: crate::plan::Plan)"), ["cache::Cache", "plan::Plan"]);
    assert_eq!(own_imports("use crate::{cache::{A, B}, digest, plan::Plan};"), ["cache::", "digest", "plan::Plan"]);
    assert!(names_crate("use rusqlite::Connection;", "rusqlite"));
    assert!(names_crate("use rusqlite as sql;", "rusqlite"));
    assert!(names_crate("fn f() -> rusqlite::Result<()>", "rusqlite"));
    assert!(!names_crate("let rusqlite = my_rusqlite::x();", "rusqlite"));
    assert!(!names_crate("use crate::gemm::product;", "gemm"));
}
