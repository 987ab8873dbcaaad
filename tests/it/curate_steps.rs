//! The steps of a curation, through the program: raw columns in, a training set out, and how to look at it.

use luthflow::data::Tokenizer;
use luthflow::model::{CausalLm, Packed};
use serde_json::{Value, json};

use crate::tiny::model_folder;
use crate::world::World;

/// Three sources in three shapes, as hubs have them.
fn world(steps: &str, more: &str) -> World {
    let world = World::empty();
    let lines = |rows: Vec<Value>| rows.iter().map(Value::to_string).collect::<Vec<_>>().join("\n") + "\n";
    let aya = (0..12).map(|i| {
        let code = if i % 4 == 0 { "eng" } else { "fra" };
        json!({"inputs": format!("Question {i} : quelle est la couleur de la mer en hiver ?"),
            "targets": format!("La mer numéro {i} est grise, et parfois verte quand le vent se lève."), "language_code": code})
    });
    let share = (0..8).map(|i| {
        json!({"id": i, "score": i % 3, "conversations": [
            {"from": "human", "value": format!("Explique-moi la règle {i} du jeu de paume.")},
            {"from": "gpt", "value": format!("<think>Voyons.</think>\n\nLa règle {i} dit que la balle ne touche le sol qu'une fois.")}]})
    });
    let alpaca = (0..6).map(|i| {
        json!({"instruction": format!("Résume le chapitre {i}."), "input": "", "output": format!("Le chapitre {i} raconte un voyage."),
            "document": i / 2})
    });
    world.write("data/aya.jsonl", &lines(aya.collect()));
    world.write("data/share.jsonl", &lines(share.collect()));
    world.write("data/alpaca.jsonl", &lines(alpaca.collect()));
    world.write(
        "pipeline.yaml",
        &format!(
            "version: 1\nnodes:\n  aya: {{kind: source, dataset: data/aya.jsonl}}\n  share: {{kind: source, dataset: data/share.jsonl}}\n  \
             alpaca: {{kind: source, dataset: data/alpaca.jsonl}}\n  set:\n    kind: curate\n    from: [{{node: aya, name: aya}}, {{node: \
             share, name: share}}, {{node: alpaca, name: alpaca}}]\n{more}    steps:\n{steps}"
        ),
    );
    world
}

fn head(world: &World, node: &str) -> Vec<Value> {
    let shown = world.run(&["data", "head", node, "-n", "1000", "--json"]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    shown.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn raw_columns_become_a_training_set_with_a_receipt() {
    let steps = "      - where: \"source != 'aya' or language_code == 'fra'\"
      - messages: {thinking: strip}
      - check_messages: {}
      - normalize: {}
      - replace: {pattern: \"numéro (\\\\d+)\", with: \"n° $1\", roles: [assistant]}
      - matches: {pattern: \"(?i)paume\", mode: flag}
      - dedup_exact: {key: prompt}
      - mix: {weights: {aya: 2, share: 1, alpaca: 1}, rows: 16, seed: 3}
      - shuffle: {seed: 1}
";
    let world = world(steps, "    columns: [source, flags, id]\n");
    world.run_ok(&[]);
    let rows = head(&world, "set");
    assert_eq!(rows.len(), 16);
    let of = |name: &str| rows.iter().filter(|row| row["source"] == name).count();
    assert_eq!((of("aya"), of("share"), of("alpaca")), (8, 4, 4));
    assert!(rows.iter().all(|row| !row.to_string().contains("<think>") && !row.to_string().contains("numéro")));
    for row in &rows {
        let flagged = row["flags"] == json!(["matches"]);
        assert_eq!(flagged, row["source"] == "share", "{row}");
        assert_eq!(row["id"].is_null(), row["source"] != "share", "{row}");
    }
    let shown = world.json(&["show", "set", "--json"]);
    let folder = std::path::PathBuf::from(shown["path"].as_str().unwrap());
    let read = |name: &str| fs_err::read_to_string(folder.join(name)).unwrap();
    insta::assert_snapshot!("receipt", read("stats.json"));
    insta::assert_snapshot!("card", read("README.md"));
    insta::assert_snapshot!("page", read("report.html").split("</style>").last().unwrap());
    assert_eq!(world.run_ok(&[]).ran, [""; 0]);
}

#[test]
fn columns_are_renamed_selected_exploded_and_sorted() {
    let steps = "      - where: \"source == 'alpaca'\"
      - rename: {output: text, document: doc}
      - select: [text, doc]
      - sort: {by: \"doc * 10 - (text | length)\", descending: true}
";
    let world = world(steps, "    columns: [doc]\n");
    world.run_ok(&[]);
    let docs: Vec<u64> = head(&world, "set").iter().map(|row| row["doc"].as_u64().unwrap()).collect();
    assert_eq!(docs, [2, 2, 1, 1, 0, 0]);
    world.write(
        "data/alpaca.jsonl",
        "{\"instruction\": \"q\", \"output\": [\"un\", \"deux\", \"trois\"], \"document\": 1}\n",
    );
    world.edit("      - select", "      - explode: text\n      - select");
    world.run_ok(&[]);
    let texts: Vec<String> = head(&world, "set").iter().map(|row| row["text"].as_str().unwrap().to_owned()).collect();
    assert_eq!(texts, ["un", "deux", "trois"]);
}

#[test]
fn a_split_keeps_groups_together_and_strata_even() {
    let steps = "      - messages: {}
      - split: {eval: 0.25, stratify: source, group: \"document if document is defined else messages\"}
";
    let world = world(steps, "    columns: [source, document]\n");
    world.run_ok(&[]);
    let (train, eval) = (head(&world, "set.train"), head(&world, "set.eval"));
    let of = |rows: &[Value], name: &str| rows.iter().filter(|row| row["source"] == name).count();
    assert_eq!((of(&eval, "aya"), of(&eval, "share")), (3, 2));
    assert_eq!((of(&train, "aya"), of(&train, "share")), (9, 6));
    assert!(of(&eval, "alpaca").is_multiple_of(2), "documents stay whole");
    // A row that is added moves no other one, where strata do not need it to.
    world.edit(", stratify: source", "");
    world.run_ok(&[]);
    let before = head(&world, "set.eval");
    world.write("data/aya.jsonl", &(world.read("data/aya.jsonl") + "{\"inputs\": \"neuf\", \"targets\": \"oui\"}\n"));
    world.run_ok(&[]);
    let after = head(&world, "set.eval");
    assert!(before.iter().all(|row| after.contains(row)));
}

#[test]
fn mistakes_of_steps_name_the_step_and_the_way_out() {
    for (steps, error) in [
        ("      - where: \"score >\"\n", "`steps[0].where`: `score >` cannot be read"),
        ("      - where: \"score > 3\"\n", "aya.jsonl, line 1"),
        ("      - normalize: {}\n", "there is neither `text` nor `messages`"),
        ("      - messages: {}\n      - matches: {pattern: \"(\"}\n", "`steps[1].matches.pattern`"),
        ("      - messages: {}\n      - mix: {weights: {aya: 1, nobody: 2}}\n", "`weights` knows an entry `nobody`"),
        (
            "      - messages: {}\n      - mix: {weights: {aya: 1, share: 1, alpaca: 1}, rows: 90}\n",
            "the share of `aya` is 30 rows, and it has 12",
        ),
        ("      - messages: {format: sharegpt, messages: nowhere}\n", "dropped all 26 rows"),
    ] {
        let world = world(steps, "");
        let ran = world.run(&["run"]);
        assert!(ran.code != 0, "{steps}");
        assert!(ran.stderr.contains(error), "{steps}: {}", ran.stderr);
    }
    for (steps, error) in [
        ("      - messages: {format: template}\n", "needs messages to write"),
        ("      - mix: {weights: {a: -1}}\n", "a weight is a number of 0 or more"),
        ("      - dedup_fuzzy: {keep: [datatrove, first]}\n", "`datatrove` stands alone"),
        ("      - dedup_fuzzy: {verify: 1.5}\n", "a likeness is above 0 and at most 1"),
        ("      - count_tokens: {tokenizer: aya, min: 9, max: 3}\n", "at least `min`"),
        ("      - split: {eval: 0.1}\n      - shuffle: {}\n", "must be the last step"),
        ("      - dedupe_fuzzy: {}\n", "dedup_fuzzy"),
    ] {
        let world = world(steps, "");
        let ran = world.run(&["check"]);
        assert!(ran.code != 0 && ran.stderr.contains(error), "{steps}: {}", ran.stderr);
    }
}

#[test]
fn passages_that_stood_earlier_go_or_take_their_row_along() {
    let long = "Il était une fois, dans un pays lointain où la mer touche le ciel, un vieux pêcheur qui ne parlait à personne.";
    let rows =
        [format!("{long} Premier récit."), format!("Deuxième récit. {long} Fin."), "Rien de commun ici.".to_owned()];
    let write = |world: &World| {
        let lines: Vec<String> = rows.iter().map(|text| json!({"text": text}).to_string()).collect();
        world.write("data/aya.jsonl", &(lines.join("\n") + "\n"));
        world.edit("{node: share, name: share}, {node: alpaca, name: alpaca}", "");
    };
    for (action, expected) in [
        ("drop", vec![rows[0].as_str(), rows[2].as_str()]),
        ("remove", vec![rows[0].as_str(), "Deuxième récit. Fin.", rows[2].as_str()]),
    ] {
        let world = world(&format!("      - dedup_substring: {{min_bytes: 60, action: {action}}}\n"), "");
        write(&world);
        world.run_ok(&[]);
        let texts: Vec<String> =
            head(&world, "set").iter().map(|row| row["text"].as_str().unwrap().to_owned()).collect();
        assert_eq!(texts, expected, "{action}");
    }
}

#[test]
fn rows_can_be_looked_at_and_compared() {
    let world = world("      - messages: {}\n      - sort: {by: source}\n", "    columns: [source]\n");
    world.run_ok(&[]);
    insta::assert_snapshot!("head", world.run(&["data", "head", "set", "-n", "2"]).stdout);
    insta::assert_snapshot!("stats", world.run(&["data", "stats", "set"]).stdout);
    let drawn = world.run(&["data", "sample", "set", "-n", "3", "--seed", "5", "--json"]).stdout;
    assert_eq!(drawn.lines().count(), 3);
    assert_eq!(drawn, world.run(&["data", "sample", "set", "-n", "3", "--seed", "5", "--json"]).stdout);
    world.edit("      - sort", "      - sample: {rows: 20}\n      - sort");
    let stale = world.run(&["data", "head", "set"]);
    assert!(stale.stderr.contains("not up to date"), "{}", stale.stderr);
    world.run_ok(&[]);
    let diff = world.json(&["data", "diff", "aya", "set", "--json"]);
    assert_eq!(
        (diff["same"].as_u64(), diff["removed"].as_u64(), diff["added"].as_u64()),
        (Some(0), Some(12), Some(20))
    );
    assert_eq!(diff["only_after"].as_array().unwrap().len(), 5);
}

#[test]
fn shards_are_read_as_lines_are() {
    let steps = "      - messages: {}\n      - sort: {by: source}\n";
    let lines = world(steps, "    columns: [source, id]\n");
    lines.run_ok(&[]);
    for format in ["jsonl_zst", "parquet"] {
        let shards =
            world(steps, &format!("    columns: [source, id]\n    output: {{format: {format}, shard_size: 1500}}\n"));
        shards.run_ok(&[]);
        assert_eq!(head(&shards, "set"), head(&lines, "set"), "{format}");
        let shown = shards.json(&["show", "set", "--json"]);
        assert!(shown["files"].as_u64().unwrap() > 4, "{format}: {shown}");
        shards.edit("  set:", "  again: {kind: curate, from: [set], steps: [shuffle: {}]}\n  set:");
        assert_eq!(shards.run_ok(&[]).ran, ["again"]);
        assert_eq!(head(&shards, "again").len(), 26);
    }
}

#[test]
fn a_new_file_does_not_run_the_others_again() {
    let world = World::empty();
    let file = |name: &str, rows: usize| {
        let text = |i: usize| {
            format!("{{\"text\": \"{name}, rangée {i} : la mer est grise et le vent se lève sur la lande.\"}}\n")
        };
        world.write(&format!("data/{name}.jsonl"), &(0..rows).map(text).collect::<String>());
    };
    file("a", 15_000);
    file("b", 15_000);
    world.write(
        "pipeline.yaml",
        "version: 1\nnodes:\n  raw: {kind: source, dataset: data/*.jsonl}\n  set:\n    kind: curate\n    from: [raw]\n    steps:\n      \
         - normalize: {}\n      - matches: {pattern: \"rangée \\\\d*7 :\"}\n      - shuffle: {}\n",
    );
    world.run_ok(&[]);
    let memo = || {
        let files = fs_err::read_dir(world.path("cache/memo")).unwrap().map(|entry| entry.unwrap().path());
        let mut rows: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "rows")).collect();
        rows.sort();
        rows
    };
    let before = memo();
    assert_eq!(before.len(), 2);
    let read = |name: &str| {
        let shown = world.json(&["show", "set", "--json"]);
        fs_err::read(format!("{}/{name}", shown["path"].as_str().unwrap())).unwrap()
    };
    // A third file, and one of the kept ones damaged: what is whole is used, and the result is that of a fresh cache.
    file("c", 14_000);
    fs_err::set_permissions(&before[0], std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let mut bytes = fs_err::read(&before[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs_err::write(&before[0], bytes).unwrap();
    world.run_ok(&[]);
    assert_eq!(memo().len(), 3);
    let names = ["stats.json", "report.html", "README.md", "rows/data.jsonl"];
    let kept = names.map(read);
    fs_err::remove_dir_all(world.path("cache/memo")).unwrap();
    world.run_ok(&["--force", "set"]);
    for (name, kept) in names.into_iter().zip(kept) {
        assert!(read(name) == kept, "{name} differs");
    }
    // What is done faster than it is read back is not kept.
    fs_err::remove_dir_all(world.path("cache/memo")).unwrap();
    world.edit("matches: {pattern: \"rangée \\\\d*7 :\"}", "length: {min_words: 3}");
    world.run_ok(&[]);
    assert!(!world.path("cache/memo").exists());
}

#[test]
fn a_model_says_which_rows_are_likely() {
    let world = World::empty();
    let model = model_folder("tied");
    for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        world.write(&format!("model/{name}"), "");
        fs_err::copy(model.path().join(name), world.path("model").join(name)).unwrap();
    }
    let texts = ["Il était une fois un roi.", "Once upon a time there was a king.", "naïve ☃", "zzz qqq zzz qqq"];
    let rows: String = texts.iter().map(|text| json!({"text": text}).to_string() + "\n").collect();
    world.write("rows.jsonl", &rows);
    let pipeline = |step: &str| {
        format!(
            "version: 1\nnodes:\n  model: {{kind: source, model: model}}\n  rows: {{kind: source, dataset: rows.jsonl}}\n  \
             set: {{kind: curate, from: [rows], columns: [bits_per_byte, flags], steps: [perplexity: {step}]}}\n"
        )
    };
    world.write("pipeline.yaml", &pipeline("{model: model, max_length: 256}"));
    world.run_ok(&[]);
    let (lm, tokenizer) =
        (CausalLm::load(&world.path("model")).unwrap(), Tokenizer::load(&world.path("model")).unwrap());
    let bits = |text: &str| {
        let mut ids = vec![tokenizer.document_start()];
        ids.extend(tokenizer.encode(text).unwrap());
        let log_probs = lm.log_probs(&Packed { lengths: vec![ids.len()], ids }).unwrap();
        -log_probs.iter().map(|log_prob| f64::from(*log_prob)).sum::<f64>() / std::f64::consts::LN_2 / text.len() as f64
    };
    let scored = head(&world, "set");
    assert_eq!(scored.len(), 4);
    for (row, text) in scored.iter().zip(texts) {
        let found = row["bits_per_byte"].as_f64().unwrap();
        assert!((found - bits(text)).abs() < 1e-4, "{text}: {found} and {}", bits(text));
    }
    // Those beyond the bounds go, or are marked.
    let mut all: Vec<f64> = scored.iter().map(|row| row["bits_per_byte"].as_f64().unwrap()).collect();
    all.sort_by(f64::total_cmp);
    let (least, most) = (all[0] + 1e-6, all[3] - 1e-6);
    world.write("pipeline.yaml", &pipeline(&format!("{{model: model, max_length: 256, min: {least}, max: {most}}}")));
    world.run_ok(&[]);
    assert_eq!(head(&world, "set").len(), 2);
    world.write("pipeline.yaml", &pipeline(&format!("{{model: model, max_length: 256, max: {most}, mode: flag}}")));
    world.run_ok(&[]);
    let flagged = head(&world, "set").iter().filter(|row| row["flags"] != json!([])).count();
    assert_eq!(flagged, 1);
}
