//! `kind: command`: any program as a node.

use crate::world::World;

/// A source, and the one node under test.
fn world(node: &str) -> World {
    let world = World::empty();
    world.write("data/rows.jsonl", "{\"text\": \"one\"}\n{\"text\": \"two\"}\n");
    world.write("pipeline.yaml", &format!("version: 1\nparams: {{n: 2, word: hello}}\nnodes:\n  rows: {{kind: source, dataset: data/rows.jsonl}}\n  it: {node}\n"));
    world
}

fn output(world: &World, name: &str) -> String {
    let shown = world.json(&["show", "it", "--json"]);
    std::fs::read_to_string(format!("{}/{name}", shown["path"].as_str().unwrap())).unwrap()
}

#[test]
fn a_program_gets_its_inputs_as_paths_and_its_outputs_are_kept() {
    let world = world("{kind: command, run: [cp, '${rows}/files/rows.jsonl', out.jsonl], outputs: [out.jsonl]}");
    assert_eq!(world.run_ok(&[]).ran, ["rows", "it"]);
    assert_eq!(output(&world, "out.jsonl").lines().count(), 2);
    assert_eq!(world.run_ok(&[]).ran, [""; 0]);
    world.write("data/rows.jsonl", "{\"text\": \"three\"}\n");
    assert_eq!(world.run_ok(&[]).ran, ["rows", "it"]);
    assert_eq!(output(&world, "out.jsonl"), "{\"text\": \"three\"}\n");
}

#[test]
fn arguments_pass_no_shell_and_parameters_are_filled_in() {
    let run = "[sh, -c, 'printf \"%s|\" \"$@\" > out', name, '${word} $HOME; ls', '*', '$${n}', '${n}']";
    let world = world(&format!("{{kind: command, run: {run}, outputs: [out]}}"));
    world.run_ok(&[]);
    assert_eq!(output(&world, "out"), "hello $HOME; ls|*|${n}|2|");
}

#[test]
fn the_command_line_the_files_and_the_declared_environment_are_the_key() {
    let world = world(
        "{kind: command, run: [sh, tools/run.sh, '${n}'], files: [tools/*.sh], outputs: [out], env: {MODE: fast}, pass_env: [SEEN]}",
    );
    world.write("tools/run.sh", "echo \"$1 $MODE $HIDDEN\" > out\n");
    let run = |hidden: &str, seen: &str| {
        let mut command = world.command(&["run", "--json"]);
        let ran = command.env("PATH", "/usr/bin:/bin").env("HIDDEN", hidden).env("SEEN", seen).output().unwrap();
        let last = String::from_utf8(ran.stdout).unwrap();
        let last = last.lines().last().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&ran.stderr)));
        let last: serde_json::Value = serde_json::from_str(last).unwrap();
        assert_eq!(last["failed"], serde_json::json!([]), "{last}");
        last["ran"].as_array().unwrap().iter().any(|node| node == "it")
    };
    assert!(run("secret", "a"));
    assert_eq!(output(&world, "out"), "2 fast \n", "what is not declared is not seen");
    assert!(!run("other", "b"), "what is only passed on is no part of the key");
    world.write("tools/run.sh", "echo \"$1 $MODE changed\" > out\n");
    assert!(run("", "a"), "a file of the project counts by content");
    world.edit("MODE: fast", "MODE: slow");
    assert!(run("", "a"));
    world.edit("${n}", "${word}");
    assert!(run("", "a"));
    assert_eq!(output(&world, "out"), "hello slow changed\n");
}

#[test]
fn renaming_the_node_that_is_read_changes_nothing() {
    let world = world("{kind: command, run: [cp, '${rows}/files/rows.jsonl', out], outputs: [out]}");
    world.run_ok(&[]);
    world.edit("rows: {kind", "lines: {kind");
    world.edit("${rows}", "${lines}");
    assert_eq!(world.run_ok(&[]).ran, [""; 0]);
}

#[test]
fn what_is_not_declared_and_what_is_missing_are_errors() {
    for (script, outputs, why) in [
        (
            "echo a > out; mkdir sub; echo b > sub/extra",
            "[out]",
            "the program left `sub/extra`, which is no output of the node",
        ),
        ("echo a > other", "[out]", "the program left no `out`"),
        ("echo a > out; exit 3", "[out]", "`sh` failed with exit status: 3"),
        ("kill -SEGV $$", "[out]", "`sh` was ended by signal 11"),
    ] {
        let world = world(&format!("{{kind: command, run: [sh, -c, '{script}'], outputs: {outputs}}}"));
        let ran = world.run(&["run"]);
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
        assert!(world.json(&["show", "it", "--json"])["artifact"].is_null(), "nothing is kept of a failed program");
    }
    let world = world("{kind: command, run: [no-such-program-here], outputs: [out]}");
    let ran = world.run(&["run"]);
    assert!(ran.stderr.contains("`no-such-program-here` cannot be started"), "{}", ran.stderr);
}

#[test]
fn mistakes_in_the_file_are_told_with_their_place() {
    for (node, why) in [
        ("{kind: command, run: [], outputs: [out]}", "there is no program to run"),
        ("{kind: command, run: [ls], outputs: [../out]}", "`../out` is no path inside the program's folder"),
        ("{kind: command, run: [ls], outputs: []}", "the program must leave something"),
        ("{kind: command, run: [ls], outputs: [out, out]}", "`out` is an output already"),
        ("{kind: command, run: [ls], outputs: [o/x, o]}", "`o/x` is an output already"),
        ("{kind: command, run: [ls], outputs: [out], metrics: m.json}", "`m.json` is no output of the program"),
        ("{kind: command, run: [ls], outputs: [m], metrics: m/../x}", "`m/../x` is no output of the program"),
        ("{kind: command, run: [ls], outputs: [m], metrics: m, gives: dataset}", "the outputs are rows"),
        ("{kind: command, run: [cat, '${row}'], outputs: [out]}", "unknown parameter `row`"),
        ("{kind: command, run: [cat, '${rows.test}'], outputs: [out]}", "`rows` has no output `test`"),
        ("{kind: command, run: [ls], outputs: [out], files: [none/*.py]}", "finds no file at"),
    ] {
        let ran = world(node).run(&["run"]);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains(why), "{why}: {}", ran.stderr);
    }
}

#[test]
fn a_secret_reaches_the_program_and_nothing_else() {
    let world = world(
        "{kind: command, run: [sh, -c, 'echo \"token: $TOKEN\"; echo $TOKEN >&2; printf %s ${#TOKEN} > out'], outputs: [out], secrets: [TOKEN]}",
    );
    world.edit("${#TOKEN}", "$${#TOKEN}");
    let ran = world.run(&["run"]);
    assert!(ran.stderr.contains("the secret `TOKEN` is not set"), "{}", ran.stderr);
    let ran = world
        .command(&["run", "--json"])
        .env("PATH", "/usr/bin:/bin")
        .env("TOKEN", "hf_abcdef123456")
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    assert_eq!(output(&world, "out"), "15");
    let mut folders = vec![world.root().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(15).any(|window| window == b"hf_abcdef123456"), "{}", path.display());
        }
    }
    let log = world.run(&["log", "it"]);
    assert!(log.stdout.contains("token: ***"), "{}", log.stdout);
}

#[test]
fn rows_that_a_program_made_can_be_read_by_other_nodes() {
    let world = world(
        "{kind: command, run: [cp, '${rows}/files/rows.jsonl', out.jsonl], outputs: [out.jsonl], gives: dataset}\n  clean: {kind: curate, from: [it], steps: [length: {min_chars: 1}]}",
    );
    world.run_ok(&[]);
    assert_eq!(world.json(&["show", "clean", "--json"])["metrics"]["rows_out"], 2.0);
}

#[test]
fn a_failure_is_tried_again_and_a_timeout_ends_the_program_and_all_it_started() {
    let world = world(
        "{kind: command, run: [sh, -c, 'test -e MARK || { touch MARK; exit 9; }; echo a > out'], outputs: [out]}",
    );
    let mark = world.path("mark");
    let text = world.read("pipeline.yaml").replace("MARK", &mark.to_string_lossy());
    world.write("pipeline.yaml", &text);
    let first = world.run(&["run"]);
    assert_eq!(first.code, 1);
    std::fs::remove_file(&mark).unwrap();
    let again = world.run_ok(&["--retries", "2"]);
    assert_eq!(again.ran, ["it"]);
    let retried = again.events.iter().find(|event| event["event"] == "node_retrying").unwrap();
    assert_eq!((retried["attempt"].as_u64(), retried["attempts"].as_u64()), (Some(1), Some(2)));

    let alive = world.path("alive");
    let node = format!("(sleep 3; touch {}) & sleep 60", alive.display());
    let text = world.read("pipeline.yaml");
    let start = text.find("'test -e").unwrap();
    let end = text[start..].find("'],").unwrap() + start;
    world.write("pipeline.yaml", &format!("{}'{node}{}", &text[..start], &text[end..]));
    let began = std::time::Instant::now();
    let ran = world.run(&["run", "--timeout", "500ms"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("it took longer than its timeout of 0.5 s"), "{}", ran.stderr);
    assert!(began.elapsed().as_secs() < 30);
    std::thread::sleep(std::time::Duration::from_millis(3500));
    assert!(!alive.exists(), "what the program started is ended too");
}

#[test]
fn a_program_gives_metrics() {
    let world = world(
        "{kind: command, run: [sh, -c, 'mkdir m; echo \"$0\" > m/it.json', '{\"loss\": ${n}.5, \"of x.y\": 3}'], outputs: [m], metrics: m/it.json}",
    );
    world.run_ok(&[]);
    let shown = world.json(&["show", "it", "--json"]);
    assert_eq!(shown["metrics"], serde_json::json!({"loss": 2.5, "of x.y": 3.0}));
    assert!(world.read("pipeline.lock").contains("loss: 2.5"));
}

#[test]
fn metrics_that_cannot_be_read_are_told() {
    for (script, why) in [
        ("echo \"{\" > m", "the metrics in `m` are no JSON"),
        ("echo \"[1]\" > m", "the metrics in `m` are no JSON object"),
        ("echo \"{\\\"a\\\": \\\"b\\\"}\" > m", "the metrics in `m` have no number under `a`"),
        ("echo \"{\\\"a\\\": {}}\" > m", "the metrics in `m` have no number under `a`"),
        ("ln -s /etc/hostname m", "the metrics in `m` are no plain file"),
        ("mkdir m; echo > m/x", "the metrics in `m` are no plain file"),
        ("echo", "the program left no `m`"),
    ] {
        let world = world(&format!("{{kind: command, run: [sh, -c, '{script}'], outputs: [m], metrics: m}}"));
        let ran = world.run(&["run"]);
        assert_eq!(ran.code, 1, "{script}: {}", ran.stderr);
        assert!(ran.stderr.contains(why), "{script}: {}", ran.stderr);
    }
}

/// It is a mistake of this node: the cache is well, and other nodes can run.
#[test]
fn what_no_artifact_can_hold_fails_the_node_alone() {
    let world = world("{kind: command, run: [ln, -s, /etc, out], outputs: [out]}");
    let mut text = world.read("pipeline.yaml");
    text.push_str("  other: {kind: command, run: [cp, '${rows}/files/rows.jsonl', out], outputs: [out]}\n");
    world.write("pipeline.yaml", &text);
    let ran = world.run(&["run", "--keep-going", "--json", "--jobs", "1"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let run = crate::world::Finished::read(&ran);
    assert_eq!((run.failed, run.ran), (vec!["it".to_owned()], vec!["rows".to_owned(), "other".to_owned()]));
    assert!(ran.stdout.contains("is a symbolic link"), "{}", ran.stdout);
}

#[test]
fn a_secret_of_several_lines_is_blotted_out_line_by_line() {
    let world = world(
        "{kind: command, run: [sh, -c, 'echo \"$KEY\"; echo \"$KEY\" | tail -n 2; echo it > out'], outputs: [out], secrets: [KEY]}",
    );
    let key = "-----BEGIN-----\nMIIEvQIBADANBg\n{\n  kqhkiG9w0BAQ\n";
    let ran = world.command(&["run"]).env("PATH", "/usr/bin:/bin").env("KEY", key).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let log = world.run(&["log", "it"]).stdout;
    assert!(log.contains("***") && !log.contains("MIIE") && !log.contains("kqhk"), "{log}");
}

#[test]
fn a_log_of_anything_can_be_read() {
    let world = world("{kind: command, run: [sh, -c, 'printf \"one \\\\377 two\"; echo > out'], outputs: [out]}");
    world.run_ok(&[]);
    let ran = world.run(&["log", "it"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("one \u{fffd} two"), "{}", ran.stdout);
}
