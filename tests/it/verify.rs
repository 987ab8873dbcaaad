//! `verify`: what agrees is said to agree, and what does not is found, down to one bit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use luthflow::spec::lock::Lock;
use serde_json::Value;

use crate::cache::replace;
use crate::world::{NODES, Ran, World};

fn report(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}\n{}", ran.stdout, ran.stderr))
}

/// Returns the verdicts of one part by node.
fn verdicts(report: &Value, part: &str) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    report[part].as_array().unwrap().iter().map(|row| (text(&row["node"]), text(&row["verdict"]))).collect()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

/// Everything in the cache that a verification must leave as it is.
fn content(world: &World) -> Vec<(PathBuf, Vec<u8>)> {
    let parts = ["cache/objects", "cache/actions", "cache/quarantine", "cache/staging"];
    let files = parts.iter().flat_map(|part| files_below(&world.path(part)));
    files.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[test]
fn what_was_run_agrees() {
    let world = World::new();
    assert_eq!(world.run(&["verify"]).code, 2, "there is no lockfile");
    world.run_ok(&[]);
    let ran = world.run(&["verify"]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    insta::assert_snapshot!("verify_agrees", ran.stdout);
    let found = report(&world.run(&["verify", "--json"]));
    assert_eq!((&found["agrees"], found["version"].as_u64()), (&Value::Bool(true), Some(1)));
    let rows = verdicts(&found, "artifacts");
    assert!(
        rows.keys().map(String::as_str).eq(NODES) && rows.values().all(|verdict| verdict == "identical"),
        "{rows:?}"
    );
    let part = report(&world.run(&["verify", "--json", "pipeline.yaml", "english"]));
    assert!(verdicts(&part, "artifacts").keys().map(String::as_str).eq(["english", "text_en"]));
    // Nothing to compare is no agreement.
    let empty = world.run(&["verify", "--cache-dir", "other"]);
    assert_eq!(empty.code, 3);
    assert!(empty.stderr.contains("nothing of it is in this cache"), "{}", empty.stderr);
}

#[test]
fn a_flipped_bit_in_any_file_of_any_artifact_is_found() {
    let world = World::new();
    world.run_ok(&[]);
    let files = files_below(&world.path("cache/objects"));
    let mut flips = 0;
    for (index, path) in files.iter().enumerate() {
        let bytes = std::fs::read(path).unwrap();
        let is_listing = path.parent().unwrap().parent().unwrap() == world.path("cache/objects");
        if bytes.is_empty() || is_listing {
            continue;
        }
        replace(path, &flipped(&bytes, index * 7919 % (bytes.len() * 8)));
        let ran = world.run(&["verify", "--json"]);
        assert_eq!(ran.code, 3, "{}", path.display());
        let rows = verdicts(&report(&ran), "artifacts");
        assert!(rows.values().any(|verdict| verdict == "damaged"), "{}: {rows:?}", path.display());
        replace(path, &bytes);
        flips += 1;
    }
    assert!(flips >= 40, "only {flips} files");
    assert_eq!(world.run(&["verify"]).code, 0, "verifying moved and changed nothing");
}

#[test]
fn a_flipped_bit_in_the_lockfile_is_found() {
    let world = World::new();
    // A choice stands in the lockfile too.
    let best = "  best: {kind: select, from: merged, by: scores.fr.bits_per_byte, goal: min}\n  report:";
    world.edit("  report:", best);
    world.run_ok(&[]);
    let bytes = world.read("pipeline.lock").into_bytes();
    let original = Lock::read(&world.read("pipeline.lock")).unwrap();
    let choice = world.read("pipeline.lock").find("chosen:").unwrap();
    let (mut found, mut harmless) = (0, 0);
    for turn in 0..240 {
        // Every third one in the choice, which is small.
        let bit = match turn % 3 {
            0 => choice * 8 + turn * 7 % 640,
            _ => (turn * 104_729 + 17) % (bytes.len() * 8),
        };
        let wrong = flipped(&bytes, bit);
        std::fs::write(world.path("pipeline.lock"), &wrong).unwrap();
        let ran = world.run(&["verify"]);
        // A comment, a blank, or the name of the program: nothing that a result is compared with.
        let reads_the_same =
            std::str::from_utf8(&wrong).ok().and_then(|text| Lock::read(text).ok()).is_some_and(|lock| {
                Lock { luthflow: String::new(), platform: String::new(), ..lock }
                    == Lock { luthflow: String::new(), platform: String::new(), ..original.clone() }
            });
        if reads_the_same {
            harmless += 1;
        } else {
            found += 1;
            assert_ne!(ran.code, 0, "bit {bit}: {}", String::from_utf8_lossy(&wrong[bit / 8 - 20..=bit / 8]));
        }
    }
    assert!(found > 180 && harmless < 45, "{found} found, {harmless} harmless");
}

#[test]
fn a_flipped_bit_in_a_record_or_the_index_is_found() {
    let world = World::new();
    world.run_ok(&[]);
    for (index, path) in files_below(&world.path("cache/actions")).iter().enumerate() {
        let bytes = std::fs::read(path).unwrap();
        // Records hold times, so that another bit is hit in every run of this test: `1e-7` and `1E-7` are one number.
        let wrong = flipped(&bytes, index * 7919 % ((bytes.len() - 2) * 8));
        let value = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
        let harmless = value(&wrong) == value(&bytes);
        replace(path, &wrong);
        let ran = world.run(&["verify"]);
        assert_eq!(ran.code, if harmless { 0 } else { 3 }, "{}: {}", path.display(), String::from_utf8_lossy(&wrong));
        replace(path, &bytes);
    }
    assert_eq!(world.run(&["verify"]).code, 0);
    let path = world.path("cache/index.sqlite");
    let index = std::fs::read(&path).unwrap();
    let mut places: Vec<usize> = Vec::new();
    // The text of the records, and every place where a key or an artifact stands.
    let lock = Lock::read(&world.read("pipeline.lock")).unwrap();
    for name in lock.nodes.keys() {
        let node = lock.node(name).unwrap();
        for hex in [&node.key, &node.artifact] {
            let raw = *hex.parse::<luthflow::digest::Digest>().unwrap().as_bytes();
            places.extend(index.windows(32).enumerate().filter(|(_, window)| *window == raw).map(|(at, _)| at + 9));
        }
    }
    places.extend(index.windows(7).enumerate().filter(|(_, text)| text == b"\"seal\":").map(|(at, _)| at + 20));
    places.sort_unstable();
    places.dedup();
    assert!(places.len() > 40, "{places:?}");
    let sound = rows(&path).unwrap();
    let mut found = 0;
    for at in places.iter().step_by((places.len() / 60).max(1)) {
        std::fs::write(&path, flipped(&index, at * 8 + 1)).unwrap();
        let ran = world.run(&["verify"]);
        // Pages keep what was deleted from them: where no row changed, there is nothing to find.
        let harmless = rows(&path).is_ok_and(|rows| rows == sound);
        assert_eq!(ran.code, if harmless { 0 } else { 3 }, "byte {at}: {}", ran.stdout);
        found += usize::from(!harmless);
    }
    assert!(found >= 20, "only {found} flips changed a row");
    std::fs::write(&path, &index).unwrap();
    assert_eq!(world.run(&["verify"]).code, 0);
}

/// Returns every row of the index that results hang on, and what SQLite thinks of the file. The last keys of instances are a
/// convenience: only the reasons that `plan` gives come from them.
fn rows(path: &Path) -> rusqlite::Result<Vec<String>> {
    let connection = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut out = Vec::new();
    for query in ["SELECT * FROM actions ORDER BY key", "SELECT * FROM files ORDER BY path", "PRAGMA integrity_check"] {
        let mut statement = connection.prepare(query)?;
        let columns = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            (0..columns)
                .map(|at| row.get_ref(at).map(|value| format!("{value:?}")))
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        for row in statement.query_map([], row)? {
            out.push(row?.join(" "));
        }
    }
    Ok(out)
}

#[test]
fn a_changed_pipeline_and_a_changed_metric_are_told() {
    let world = World::new();
    world.run_ok(&[]);
    world.edit("rate: 2.0e-3", "rate: 1.5e-3");
    let ran = world.run(&["verify"]);
    assert_eq!(ran.code, 3);
    assert!(ran.stdout.contains("learning_rate: 2e-3 -> 1.5e-3"), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("the parameter `rate`: 0.002 in the lockfile, 0.0015 in the pipeline"),
        "{}",
        ran.stdout
    );
    world.edit("rate: 1.5e-3", "rate: 2.0e-3");
    let mut lock = Lock::read(&world.read("pipeline.lock")).unwrap();
    let mut scores = lock.node("scores_base").unwrap();
    *scores.metrics.get_mut("fr.bits_per_byte").unwrap() += 0.001;
    lock.set("scores_base", &scores);
    world.write("pipeline.lock", &lock.write().unwrap());
    let ran = world.run(&["verify", "--json"]);
    assert_eq!((ran.code, verdicts(&report(&ran), "artifacts")["scores_base"].as_str()), (3, "drifted"));
    let ran = world.run(&["verify", "--json", "--tolerance", "*.bits_per_byte=0.01"]);
    assert_eq!((ran.code, verdicts(&report(&ran), "artifacts")["scores_base"].as_str()), (0, "within_tolerance"));
    assert_eq!(world.run(&["verify", "--tolerance", "*.bits_per_byte=0.0001"]).code, 3);
    assert_eq!(world.run(&["verify", "--tolerance", "bits"]).code, 2);
}

#[test]
fn other_bytes_from_another_platform_prove_nothing() {
    let world = World::new();
    world.run_ok(&[]);
    let mut lock = Lock::read(&world.read("pipeline.lock")).unwrap();
    let mut scores = lock.node("report").unwrap();
    scores.artifact = "0".repeat(64);
    lock.set("report", &scores);
    world.write("pipeline.lock", &lock.write().unwrap());
    let here = world.run(&["verify", "--json"]);
    assert_eq!((here.code, verdicts(&report(&here), "artifacts")["report"].as_str()), (3, "drifted"));
    scores.platform = Some("vax-vms".into());
    lock.set("report", &scores);
    world.write("pipeline.lock", &lock.write().unwrap());
    let there = world.run(&["verify", "--json"]);
    assert_eq!((there.code, verdicts(&report(&there), "artifacts")["report"].as_str()), (0, "not_comparable"));
    let by_metrics = world.run(&["verify", "--json", "--tolerance", "models=0"]);
    assert_eq!(
        (by_metrics.code, verdicts(&report(&by_metrics), "artifacts")["report"].as_str()),
        (0, "within_tolerance")
    );
}

#[test]
fn a_second_execution_gives_the_same_and_is_not_kept() {
    let world = World::new();
    world.run_ok(&[]);
    let before = content(&world);
    let ran = world.run(&["verify", "--json", "--rerun", "all"]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    let rows = verdicts(&report(&ran), "reruns");
    assert!(
        rows.keys().map(String::as_str).eq(NODES) && rows.values().all(|verdict| verdict == "identical"),
        "{rows:?}"
    );
    assert!(content(&world) == before, "the cache is as it was");
    let sample = || verdicts(&report(&world.run(&["verify", "--json", "--rerun", "3"])), "reruns");
    assert_eq!((sample().len(), sample()), (3, sample()));
    let one = world.run(&["verify", "--json", "--rerun", "merged[t=0.25]"]);
    assert_eq!(verdicts(&report(&one), "reruns").into_keys().collect::<Vec<_>>(), ["merged[t=0.25]"]);
    let away = world.run(&["verify", "--rerun", "sft", "--cache-dir", "other"]);
    assert_eq!(away.code, 3);
    assert_eq!(world.run(&["verify", "--rerun", "stf"]).code, 2);
}

#[test]
fn a_node_that_gives_something_else_each_time_drifts() {
    let world = World::new();
    world.write(
        "pipeline.yaml",
        "version: 1\nname: p\nnodes:\n  \
         once: {kind: command, run: [sh, -c, \"head -c 16 /dev/urandom > out\"], outputs: [out]}\n  \
         same: {kind: command, run: [sh, -c, \"echo same > out\"], outputs: [out]}\n",
    );
    world.run_ok(&[]);
    let before = content(&world);
    let ran = world.run(&["verify", "--json", "--rerun", "all"]);
    assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);
    let rows = verdicts(&report(&ran), "reruns");
    assert_eq!([rows["once"].as_str(), rows["same"].as_str()], ["drifted", "identical"]);
    assert!(content(&world) == before, "the cache is as it was");
    assert_eq!(world.run(&["verify"]).code, 0);
}

#[test]
fn published_figures_are_compared_cell_by_cell() {
    let world = World::new();
    world.run_ok(&[]);
    let mut lock = Lock::read(&world.read("pipeline.lock")).unwrap();
    let metrics = lock.node("scores_base").unwrap().metrics;
    let (acc, bits) = (metrics["pairs.acc"], metrics["fr.bits_per_byte"]);
    let cell = |metric: &str, value: f64, rest: Value| {
        let mut cell = serde_json::json!({"node": "scores_base", "metric": metric, "value": value});
        cell.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        cell
    };
    let cells = serde_json::json!([
        cell("pairs.acc", acc * 100.0, serde_json::json!({"scale": 100})),
        cell("fr.bits_per_byte", bits + 0.01, serde_json::json!({"tolerance": 0.02})),
        {"node": "scores_base", "metric": "pairs.acc", "status": "not_published", "note": "the paper has no such cell"},
    ]);
    lock.published = vec![serde_json::json!({"title": "Table 1", "source": "https://example.org", "cells": cells})];
    world.write("pipeline.lock", &lock.write().unwrap());
    let ran = world.run(&["verify", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stdout);
    let found = report(&ran);
    let words: Vec<&str> =
        found["published"].as_array().unwrap().iter().map(|cell| cell["verdict"].as_str().unwrap()).collect();
    assert_eq!(words, ["reproduced", "within_tolerance", "not_published"]);
    let shown = world.run(&["verify"]).stdout;
    assert!(shown.contains("published figures\n  Table 1\n  reproduced        scores_base pairs.acc: "), "{shown}");
    // One that is off, and one that names nothing.
    lock.published[0]["cells"][1]["tolerance"] = 0.001.into();
    world.write("pipeline.lock", &lock.write().unwrap());
    assert_eq!(world.run(&["verify"]).code, 3);
    lock.published[0]["cells"][1] =
        serde_json::json!({"node": "scores_base", "metric": "fr.bits_per_bite", "value": 1});
    lock.published[0]["cells"][2] = serde_json::json!({"node": "scores_bse", "metric": "pairs.acc", "value": 1});
    world.write("pipeline.lock", &lock.write().unwrap());
    let ran = world.run(&["verify"]);
    assert_eq!(ran.code, 3);
    for help in ["did you mean `fr.bits_per_byte`?", "did you mean `scores_base`?"] {
        assert!(ran.stdout.contains(help), "{}", ran.stdout);
    }
}
