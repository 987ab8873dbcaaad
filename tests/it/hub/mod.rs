//! Sources on a hub and at an address: what is asked of whom, what is fetched, and everything that can go wrong on the way.

pub(crate) mod server;

use std::process::{Child, Stdio};

use crate::world::{Ran, World};
use server::{CARD, CONFIG, Fault, Hub};

const ONE: &str = "1111111111111111111111111111111111111111";
const TWO: &str = "2222222222222222222222222222222222222222";
const ROW: &[u8] = b"{\"text\": \"bonjour\"}\n";
const OTHER: &[u8] = b"{\"text\": \"bonsoir\"}\n";
const THIRD: &[u8] = b"{\"text\": \"bonne nuit\"}\n";
const TOKEN: &str = "hf_sehr_geheim";

/// A world with one source, at an address on a hub that has the data set `acme/chats`.
fn world(source: &str) -> (World, Hub) {
    let (world, hub) = (World::empty(), Hub::start());
    world.write("pipeline.yaml", &format!("version: 1\nnodes:\n  data: {{kind: source, {source}}}\n"));
    hub.commit(
        "datasets/acme/chats",
        "main",
        ONE,
        &[("fr/a.jsonl", ROW), ("fr/bé c.jsonl", OTHER), ("held_out.jsonl", THIRD)],
    );
    (world, hub)
}

fn run(world: &World, hub: &Hub, args: &[&str]) -> Ran {
    let mut command = world.command(args);
    let output = command.env("HF_ENDPOINT", &hub.url).env("HF_TOKEN", TOKEN).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn run_ok(world: &World, hub: &Hub, args: &[&str]) -> String {
    let ran = run(world, hub, args);
    assert_eq!(ran.code, 0, "{args:?}: {}\n{}", ran.stdout, ran.stderr);
    ran.stdout + &ran.stderr
}

/// What was said, without the ends of the lines.
fn words(ran: &Ran) -> String {
    ran.stderr.replace('│', "").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The files of the only artifact, by name.
fn brought(world: &World) -> Vec<(String, Vec<u8>)> {
    fn list(folder: &std::path::Path, root: &std::path::Path, found: &mut Vec<(String, Vec<u8>)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                list(&path, root, found);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.push((name, std::fs::read(&path).unwrap()));
            }
        }
    }
    let path = world.json(&["show", "data", "--json"])["path"].as_str().map(std::path::PathBuf::from).unwrap();
    let mut found = Vec::new();
    list(&path, &path, &mut found);
    found.retain(|(name, _)| name != "source.json");
    found.sort();
    found
}

fn count(requests: &[String], of: &str) -> usize {
    requests.iter().filter(|request| request.contains(of)).count()
}

#[test]
fn a_branch_is_resolved_once_and_the_lockfile_holds_what_it_was() {
    let (world, hub) = world("dataset: hf://datasets/acme/chats@main");
    run_ok(&world, &hub, &["run"]);
    let requests = hub.requests();
    assert_eq!(count(&requests, "/revision/main"), 1, "{requests:?}");
    assert_eq!(count(&requests, "/tree/"), 2, "a page holds two: {requests:?}");
    assert_eq!(count(&requests, &format!("/resolve/{ONE}/")), 3, "{requests:?}");
    let lock = world.read("pipeline.lock");
    assert!(
        lock.contains("from: hf://datasets/acme/chats@main") && lock.contains(&format!("commit: '{ONE}'")),
        "{lock}"
    );
    assert!(lock.contains("fr/a.jsonl: sha256:"), "{lock}");
    let files = brought(&world);
    assert_eq!(files[0], ("files/fr/a.jsonl".to_owned(), ROW.to_vec()));
    assert_eq!(files[1], ("files/fr/bé c.jsonl".to_owned(), OTHER.to_vec()));
    // Nobody is asked again, and the branch may move.
    hub.commit("datasets/acme/chats", "main", TWO, &[("fr/a.jsonl", OTHER)]);
    for args in [&["run"][..], &["plan"], &["status"], &["run", "--locked"], &["run", "--frozen"], &["show", "data"]] {
        run_ok(&world, &hub, args);
    }
    world.write("pipeline.yaml", &(world.read("pipeline.yaml") + "# The snapshot does not know this text.\n"));
    run_ok(&world, &hub, &["run"]);
    assert_eq!(hub.requests(), Vec::<String>::new());
    // Another machine gets what the lockfile says, and asks for nothing but the files.
    std::fs::remove_dir_all(world.path("cache")).unwrap();
    run_ok(&world, &hub, &["run", "--locked"]);
    let requests = hub.requests();
    assert_eq!(count(&requests, "hub /api/"), 0, "{requests:?}");
    assert_eq!(count(&requests, &format!("/resolve/{ONE}/")), 3, "{requests:?}");
    // Until it is asked for.
    run_ok(&world, &hub, &["run", "--update"]);
    assert_eq!(brought(&world), [("files/fr/a.jsonl".to_owned(), OTHER.to_vec())]);
    assert!(world.read("pipeline.lock").contains(TWO));
}

#[test]
fn a_commit_is_listed_once_and_a_plan_downloads_nothing() {
    let (world, hub) = world(&format!("dataset: hf://datasets/acme/chats@{ONE}/fr/*.jsonl"));
    std::fs::create_dir_all(world.path("cache")).unwrap();
    run_ok(&world, &hub, &["plan"]);
    let requests = hub.requests();
    assert_eq!((count(&requests, "/tree/"), requests.len()), (2, 2), "{requests:?}");
    run_ok(&world, &hub, &["status"]);
    assert_eq!(hub.requests(), Vec::<String>::new());
    run_ok(&world, &hub, &["run"]);
    assert_eq!(count(&hub.requests(), "hub /api/"), 0);
    assert_eq!(brought(&world).len(), 2);
    // With what it holds, and not with where it lies: the same files under another commit are no news.
    hub.commit("datasets/acme/chats", "main", TWO, &[("fr/a.jsonl", ROW), ("fr/bé c.jsonl", OTHER)]);
    world.edit(ONE, TWO);
    let ran = run_ok(&world, &hub, &["run"]);
    assert!(ran.contains("1 nodes are fresh"), "{ran}");
    assert_eq!(count(&hub.requests(), "/resolve/"), 0);
}

#[test]
fn the_card_says_which_files_make_up_a_split() {
    let (world, hub) = world("dataset: hf://datasets/acme/chats, split: train");
    let files = [("README.md", CARD.0.as_bytes()), ("fr/a.jsonl", ROW), ("held_out.jsonl", OTHER), ("z.jsonl", ROW)];
    hub.commit("datasets/acme/chats", "main", ONE, &files);
    run_ok(&world, &hub, &["run"]);
    assert_eq!(brought(&world).len(), 1);
    world.edit("split: train", "split: test");
    run_ok(&world, &hub, &["run"]);
    assert_eq!(brought(&world), [("files/held_out.jsonl".to_owned(), OTHER.to_vec())]);
    world.edit("split: test", "split: validation");
    let ran = run(&world, &hub, &["run"]);
    assert!(words(&ran).contains("no split `validation`") && words(&ran).contains("`train`"), "{}", ran.stderr);
}

#[test]
fn a_model_and_an_adapter_come_from_the_hub() {
    let (world, hub) = world("model: hf://acme/lm@main");
    let weights: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let files = [("config.json", CONFIG.0.as_bytes()), ("model.safetensors", &weights), ("pytorch_model.bin", ROW)];
    hub.commit("models/acme/lm", "main", ONE, &files);
    run_ok(&world, &hub, &["run"]);
    let files = brought(&world);
    assert_eq!(files.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["config.json", "model.safetensors"]);
    assert_eq!(files[1].1, weights);
    assert!(world.read("pipeline.lock").contains(&format!("config.json: git:{}", CONFIG.1)));
    let adapter: [(&str, &[u8]); 2] = [("v2/adapter_config.json", ROW), ("v2/adapter_model.safetensors", OTHER)];
    hub.commit("models/acme/lora", "main", TWO, &adapter);
    world.edit("model: hf://acme/lm@main", "adapter: hf://acme/lora/v2");
    run_ok(&world, &hub, &["run"]);
    assert_eq!(brought(&world)[0], ("adapter_config.json".to_owned(), ROW.to_vec()));
    std::fs::remove_dir_all(world.path("cache")).unwrap();
    run_ok(&world, &hub, &["run", "--locked"]);
}

#[test]
fn a_model_of_fast_text_comes_from_the_hub() {
    let (world, hub) = world("model: hf://acme/lid@main");
    let model = std::fs::read(crate::op::repository().join("tests/fixtures/glotlid/model.bin")).unwrap();
    hub.commit("models/acme/lid", "main", ONE, &[("README.md", ROW), ("model.bin", &model)]);
    let texts =
        ["Elle demanda : « Peux-tu venir dîner demain ? »", "The first fortnight of her visit soon passed away."];
    world.write("rows.jsonl", &texts.map(|text| format!("{{\"text\":\"{text}\"}}\n")).concat());
    let steps = "[language: {keep: [fr], detector: fasttext, model: data}]";
    let curated =
        format!("  raw: {{kind: source, dataset: rows.jsonl}}\n  set: {{kind: curate, from: [raw], steps: {steps}}}\n");
    world.edit("nodes:\n", &format!("nodes:\n{curated}"));
    run_ok(&world, &hub, &["run"]);
    let path = world.json(&["show", "set", "--json"])["path"].as_str().unwrap().to_owned();
    let rows = std::fs::read_to_string(format!("{path}/rows/data.jsonl")).unwrap();
    assert_eq!(rows, format!("{{\"text\":\"{}\"}}\n", texts[0]));
}

#[test]
fn the_token_goes_to_the_hub_alone_and_is_nowhere_to_be_read() {
    let (world, hub) = world("dataset: hf://datasets/acme/chats");
    hub.demand_token("datasets/acme/chats", TOKEN);
    hub.fail("held_out", Fault::Status(500, ""), 2);
    let said = run_ok(&world, &hub, &["run", "--json"]);
    let requests = hub.requests();
    assert!(count(&requests, "large /lfs/") == 3 && count(&requests, TOKEN) > 3, "{requests:?}");
    assert!(requests.iter().filter(|request| request.starts_with("large")).all(|request| !request.contains(TOKEN)));
    assert!(!said.contains(TOKEN));
    let grep = std::process::Command::new("grep").args(["-r", TOKEN]).arg(world.root()).output().unwrap();
    assert!(grep.stdout.is_empty(), "{}", String::from_utf8_lossy(&grep.stdout));
}

#[test]
fn a_token_lies_where_other_programs_have_it() {
    let (world, hub) = world("dataset: hf://datasets/acme/chats");
    hub.demand_token("datasets/acme/chats", TOKEN);
    world.write(".cache/huggingface/token", &format!("{TOKEN}\n"));
    let output = world.command(&["run"]).env("HF_ENDPOINT", &hub.url).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What cannot be had is told with the way out, before anything runs.
#[test]
fn what_the_hub_refuses_is_told_with_a_way_out() {
    let told = |source: &str, prepare: &dyn Fn(&Hub)| {
        let (world, hub) = world(source);
        prepare(&hub);
        let ran = run(&world, &hub, &["run"]);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(!words(&ran).contains(TOKEN));
        ran.stderr.replace(&hub.url, "[HUB]")
    };
    let chats = "dataset: hf://datasets/acme/chats";
    let nothing = |_: &Hub| {};
    for (source, prepare, parts) in [
        (
            chats,
            &(|hub: &Hub| hub.demand_token("datasets/acme/chats", "another")) as &dyn Fn(&Hub),
            &["does not accept the token", "make a new token"][..],
        ),
        (
            chats,
            &|hub: &Hub| hub.demand_token("datasets/acme/chats", "gated"),
            &["gated", "ask for access on the page [HUB]/datasets/acme/chats", "HF_TOKEN"],
        ),
        ("dataset: hf://datasets/acme/chat", &nothing, &["no data set acme/chat on the hub", "`acme/chats`"]),
        ("dataset: hf://datasets/acme/chats@mian", &nothing, &["no revision `mian`", "there is `main`"]),
        ("dataset: hf://datasets/acme/chats@main/fr/b.jsonl", &nothing, &["no file `fr/b.jsonl`", "`fr/a.jsonl`"]),
        ("dataset: hf://datasets/acme/chats@main/de/*", &nothing, &["no file of the data set", "matches `de/*`"]),
        (chats, &|hub: &Hub| hub.fail("/api/", Fault::Page, 99), &["no hub", "HF_ENDPOINT"]),
        (
            chats,
            &|hub: &Hub| hub.fail("/api/", Fault::Status(429, "Retry-After: 4000\r\n"), 99),
            &["too many requests (429)", "4000 seconds"],
        ),
        ("dataset: hf://datasets/acme/../chats", &nothing, &["is no address on a hub"]),
        ("dataset: hf://acme/chats", &nothing, &["that of a model", "hf://datasets/OWNER/NAME"]),
        ("dataset: 'hf://datasets/acme/chats', digest: 'blake3:00'", &nothing, &["pinned by its commit"]),
        ("dataset: 'hf://datasets/acme/chats', split: 'train[:10]'", &nothing, &["no name of a split"]),
        ("dataset: 'https://127.0.0.1/x.jsonl'", &nothing, &["needs a `digest`"]),
    ] {
        let text = told(source, prepare);
        let line = text.replace('│', "").split_whitespace().collect::<Vec<_>>().join(" ");
        for part in parts {
            assert!(line.contains(part), "{source}: {part:?} is not in:\n{text}");
        }
    }
}

#[test]
fn nobody_there_is_told_as_such() {
    let (world, mut hub) = world("dataset: hf://datasets/acme/chats");
    hub.url = "http://no-such-host.invalid".into();
    let ran = run(&world, &hub, &["run"]);
    assert!(ran.code == 2 && words(&ran).contains("no-such-host.invalid"), "{}", ran.stderr);
    assert!(words(&ran).contains("check the network"), "{}", ran.stderr);
    // A server that speaks no TLS.
    let open = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    hub.url = format!("https://{}", open.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in open.incoming().map_while(Result::ok) {
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n");
            let _ = std::io::Read::read(&mut stream, &mut [0; 1]);
        }
    });
    let ran = run(&world, &hub, &["run"]);
    assert!(ran.code == 2 && words(&ran).contains("cannot prove who it is"), "{}", ran.stderr);
}

#[test]
fn without_the_network_only_what_is_here_is_used() {
    let (world, hub) = world("dataset: hf://datasets/acme/chats");
    let offline = world.command(&["run"]).env("HF_ENDPOINT", &hub.url).env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert!(String::from_utf8_lossy(&offline.stderr).contains("HF_HUB_OFFLINE"));
    assert_eq!(hub.requests(), Vec::<String>::new());
    run_ok(&world, &hub, &["run"]);
    std::fs::remove_dir_all(world.path("cache")).unwrap();
    hub.requests();
    let ran = run(&world, &hub, &["run", "--frozen"]);
    assert!(ran.code == 1 && words(&ran).contains("the network may not be used"), "{}", ran.stderr);
    assert_eq!(hub.requests(), Vec::<String>::new());
}

#[test]
fn a_passing_failure_passes() {
    let (world, hub) = world("dataset: hf://datasets/acme/chats@main/fr/a.jsonl");
    hub.fail("/api/", Fault::Status(503, "Retry-After: 1\r\n"), 2);
    hub.fail("/resolve/", Fault::Status(429, "Retry-After: 0\r\n"), 2);
    hub.fail("large", Fault::Status(504, ""), 2);
    run_ok(&world, &hub, &["run"]);
    assert_eq!(brought(&world), [("files/a.jsonl".to_owned(), ROW.to_vec())]);
}

/// A large file of rows.
fn large() -> Vec<u8> {
    (0..40_000).flat_map(|n| format!("{{\"text\": \"ligne {n}\"}}\n").into_bytes()).collect()
}

#[test]
fn a_cut_connection_goes_on_where_it_was_cut() {
    let (world, hub) = world("dataset: hf://datasets/acme/chats@main/x.jsonl");
    hub.commit("datasets/acme/chats", "main", ONE, &[("x.jsonl", &large())]);
    hub.fail("large", Fault::Cut(300_000), 1);
    hub.fail("large", Fault::Cut(0), 2);
    hub.fail("large", Fault::Cut(200_000), 1);
    run_ok(&world, &hub, &["run"]);
    let requests = hub.requests();
    let from = |at: &str| count(&requests, &format!("yes from={at} "));
    assert!(from("0") == 1 && from("300000") == 3 && from("500000") == 1, "{requests:?}");
    assert_eq!(brought(&world)[0].1, large());
}

#[test]
fn other_bytes_are_never_taken() {
    let (world, hub) = world("dataset: hf://datasets/acme/chats");
    hub.fail("/lfs/", Fault::Wrong, 99);
    let ran = run(&world, &hub, &["run"]);
    assert!(ran.code == 1 && words(&ran).contains("is not what sha256:"), "{}", ran.stderr);
    assert!(!world.path("pipeline.lock").exists() || !world.read("pipeline.lock").contains("artifact"));
    // Once is not always: a part that went wrong on the way is fetched anew.
    let (world, hub) = self::world("dataset: hf://datasets/acme/chats");
    hub.fail("/lfs/", Fault::Wrong, 1);
    run_ok(&world, &hub, &["run"]);
}

fn began(world: &World, hub: &Hub) -> Child {
    let mut command = world.command(&["run"]);
    command.env("HF_ENDPOINT", &hub.url).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until a part lies there, and returns its size.
fn part(world: &World) -> u64 {
    let pattern = world.path("cache/checkpoints").join("**/*.part");
    for _ in 0..600 {
        let parts = glob::glob(pattern.to_str().unwrap()).unwrap().filter_map(Result::ok);
        let size = parts.map(|path| std::fs::metadata(path).map_or(0, |found| found.len())).sum();
        if size > 100_000 {
            return size;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("nothing is fetched");
}

#[test]
fn killed_in_the_middle_it_goes_on_from_there() {
    let (world, hub) = world("dataset: hf://datasets/acme/chats@main/x.jsonl");
    hub.commit("datasets/acme/chats", "main", ONE, &[("x.jsonl", &large())]);
    hub.fail("large", Fault::Slow(50_000), 1);
    let mut child = began(&world, &hub);
    let size = part(&world);
    child.kill().unwrap();
    child.wait().unwrap();
    hub.requests();
    run_ok(&world, &hub, &["run"]);
    let requests = hub.requests();
    let again = requests.iter().find(|request| request.starts_with("large")).unwrap();
    let from: u64 = again.split("from=").nth(1).unwrap().trim().parse().unwrap();
    assert!(from >= size, "{again} after {size} bytes");
    assert_eq!(brought(&world)[0].1, large());
}

/// The server says nothing for longer than anybody waits, and still the program ends when it is told to.
#[test]
fn it_can_be_stopped_while_a_server_is_silent() {
    let (world, hub) = world("dataset: hf://datasets/acme/chats@main/x.jsonl");
    hub.commit("datasets/acme/chats", "main", ONE, &[("x.jsonl", &large())]);
    hub.fail("large", Fault::Slow(120_000), 1);
    let mut child = began(&world, &hub);
    part(&world);
    let signal = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(signal.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn names_that_would_lie_elsewhere_are_refused() {
    for (name, other, why) in [
        ("../evil.jsonl", "b.jsonl", "no name inside a folder"),
        ("/etc/evil.jsonl", "b.jsonl", "no name inside a folder"),
        ("a/../../evil.jsonl", "b.jsonl", "no name inside a folder"),
        ("a\\..\\evil.jsonl", "b.jsonl", "no name inside a folder"),
        ("a\u{7}.jsonl", "b.jsonl", "no name inside a folder"),
        ("Data.jsonl", "data.jsonl", "take them for one"),
        ("x.jsonl", "x.jsonl/y.jsonl", "take them for one"),
    ] {
        let (world, hub) = world("dataset: hf://datasets/acme/chats");
        hub.commit("datasets/acme/chats", "main", ONE, &[(name, ROW), (other, ROW)]);
        let ran = run(&world, &hub, &["run"]);
        let line = words(&ran);
        assert!(ran.code == 2 && line.contains(why), "{name}: {}", ran.stderr);
    }
}

#[test]
fn a_file_at_an_address_is_what_its_digest_says() {
    let (world, hub) = world("dataset: x");
    let file = format!("{}/datasets/acme/chats/resolve/main/held_out.jsonl?download=true", hub.url);
    let blake = "blake3:".to_owned() + &luthflow::digest::Digest::of(THIRD).hex();
    let lock = |text: &str| text.lines().find(|line| line.contains("artifact")).map(str::to_owned).unwrap();
    world.edit("dataset: x", &format!("dataset: '{file}', digest: '{blake}'"));
    run_ok(&world, &hub, &["run"]);
    assert_eq!(brought(&world), [("files/held_out.jsonl".to_owned(), THIRD.to_vec())]);
    assert_eq!(count(&hub.requests(), TOKEN), 1, "this one is on the hub, and goes on to where it isn't");
    let artifact = lock(&world.read("pipeline.lock"));
    run_ok(&world, &hub, &["run", "--locked"]);
    assert_eq!(hub.requests(), Vec::<String>::new());
    // A file of this machine with that content is the same.
    world.write("held_out.jsonl", std::str::from_utf8(THIRD).unwrap());
    world.edit(&format!("'{file}'"), "held_out.jsonl");
    assert!(run_ok(&world, &hub, &["run"]).contains("1 nodes are fresh"));
    assert_eq!(lock(&world.read("pipeline.lock")), artifact);
    // And another content is refused.
    world.edit("dataset: held_out.jsonl", &format!("dataset: '{file}'"));
    world.edit(&blake, &format!("sha256:{}", "0".repeat(64)));
    let ran = run(&world, &hub, &["run"]);
    assert!(ran.code == 1 && words(&ran).contains("set `digest` anew"), "{}", ran.stderr);
}
