//! Collecting: never what is named, pinned, in use, or needed to explain those; and killed anywhere, a sound cache.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use luthflow::cache::{Access, Action, Cache, GcOptions, GcReport, NewAction};
use luthflow::digest::Digest;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::cache::{commit, entries, fill, half_done, new_action, reader, verify, writer};
use super::world::World;

fn gc(cache: &Cache, roots: &[&Action], options: GcOptions) -> GcReport {
    let roots: BTreeSet<Digest> = roots.iter().map(|action| action.artifact).collect();
    cache.gc(&roots, &options).unwrap()
}

fn digests(report: &GcReport) -> BTreeSet<Digest> {
    report.artifacts.iter().map(|found| found.digest).collect()
}

/// Actions that no session claims any more.
fn made(root: &Path, names: &[&str]) -> Vec<Action> {
    let cache = writer(root);
    names.iter().map(|name| commit(&cache, name, &format!("content of {name}"))).collect()
}

/// Makes an artifact look unused for so many days.
fn age(root: &Path, action: &Action, days: u64) {
    let listing = reader(root).artifact_path(&action.artifact).with_extension("json");
    let time = SystemTime::now() - Duration::from_secs(days * 86_400 + 60);
    fs_err::File::open(listing).unwrap().file().set_modified(time).unwrap();
}

#[test]
fn what_nothing_reaches_goes_and_a_dry_run_says_the_same_and_does_nothing() {
    let root = TempDir::new().unwrap();
    let actions = made(root.path(), &["kept", "a", "b"]);
    let dry = gc(&reader(root.path()), &[&actions[0]], GcOptions { dry_run: true, ..GcOptions::default() });
    assert_eq!(digests(&dry), actions[1..].iter().map(|action| action.artifact).collect());
    assert_eq!(reader(root.path()).actions().unwrap().len(), 3);
    let cache = writer(root.path());
    assert_eq!(gc(&cache, &[&actions[0]], GcOptions::default()), dry);
    assert_eq!((dry.kept, dry.kept_bytes, dry.actions.len()), (1, actions[0].size, 2));
    assert_eq!(dry.bytes, actions[1].size + actions[2].size);
    assert_eq!(cache.actions().unwrap(), actions[..1]);
    assert_eq!(cache.action(&actions[1].key).unwrap(), None);
    assert!(!cache.artifact_path(&actions[1].artifact).exists());
    assert!(!cache.artifact_path(&actions[1].artifact).with_extension("json").exists());
    assert!(verify(&cache).is_clean() && verify(&cache).orphans.is_empty());
    assert_eq!(half_done(root.path()), Vec::<std::path::PathBuf>::new());
    // What went can be made again.
    assert_eq!(commit(&cache, "a", "content of a").artifact, actions[1].artifact);
}

#[test]
fn what_a_living_session_claims_or_made_stays_and_goes_when_it_ends() {
    let root = TempDir::new().unwrap();
    let [old, other] = &made(root.path(), &["old", "other"])[..] else { panic!() };
    let working = writer(root.path());
    let fresh = commit(&working, "fresh", "made just now");
    let gate = working.gate().unwrap();
    assert!(working.action(&old.key).unwrap().is_some());
    working.claim(&[old.artifact]).unwrap();
    working.claim(&[old.artifact]).unwrap();
    drop(gate);
    let run = working.start_run("pipeline").unwrap();
    let collector = writer(root.path());
    let all = GcOptions { keep_runs: 0, ..GcOptions::default() };
    let report = gc(&collector, &[], all);
    assert_eq!((digests(&report), report.runs.len()), (BTreeSet::from([other.artifact]), 0));
    assert!(working.action(&old.key).unwrap().is_some() && working.action(&fresh.key).unwrap().is_some());
    working.finish_run(&run, &Value::Null).unwrap();
    drop(working);
    let report = gc(&collector, &[], all);
    assert_eq!(digests(&report), BTreeSet::from([old.artifact, fresh.artifact]));
    assert_eq!(report.runs, [run.as_str()]);
    assert!(collector.actions().unwrap().is_empty() && collector.runs(9).unwrap().is_empty());
}

#[test]
fn what_a_root_was_made_from_stays_with_it() {
    let root = TempDir::new().unwrap();
    let cache = writer(root.path());
    let grandparent = commit(&cache, "grandparent", "g");
    let from = |name: &str, input: &Digest| {
        let staging = cache.begin(name).unwrap();
        fill(&staging, name);
        let parts = json!({"inputs": {"data": [{"digest": input.hex()}]}});
        cache.commit(staging, NewAction { parts, ..new_action(name) }).unwrap()
    };
    // By an output, and by the whole.
    let parent = from("parent", &grandparent.outputs["train"]);
    let child = from("child", &parent.artifact);
    let cousin = from("cousin", &grandparent.artifact);
    drop(cache);
    let report = gc(&writer(root.path()), &[&child], GcOptions::default());
    assert_eq!(digests(&report), BTreeSet::from([cousin.artifact]));
}

#[test]
fn pins_stay_until_they_are_let_go() {
    let root = TempDir::new().unwrap();
    let actions = made(root.path(), &["pinned", "loose"]);
    let cache = writer(root.path());
    cache.pin(&actions[0].artifact, "the good one").unwrap();
    assert_eq!(
        cache.pins().unwrap().into_iter().collect::<Vec<_>>(),
        [(actions[0].artifact, "the good one".to_owned())]
    );
    assert!(cache.pin(&Digest::of(b"never made"), "x").is_err());
    assert_eq!(digests(&gc(&cache, &[], GcOptions::default())), BTreeSet::from([actions[1].artifact]));
    assert!(cache.unpin(&actions[0].artifact).unwrap() && !cache.unpin(&actions[0].artifact).unwrap());
    assert_eq!(digests(&gc(&cache, &[], GcOptions::default())), BTreeSet::from([actions[0].artifact]));
}

#[test]
fn age_and_size_narrow_what_goes_and_roots_never_go() {
    let root = TempDir::new().unwrap();
    let actions = made(root.path(), &["a", "b", "c", "d"]);
    for (action, days) in actions.iter().zip([40, 30, 20, 10]) {
        age(root.path(), action, days);
    }
    let look = |options| gc(&reader(root.path()), &[&actions[0]], GcOptions { dry_run: true, ..options });
    let artifacts = |numbers: &[usize]| -> Vec<Digest> { numbers.iter().map(|n| actions[*n].artifact).collect() };
    let gone = |report: &GcReport| report.artifacts.iter().map(|found| found.digest).collect::<Vec<_>>();
    let old = GcOptions { older_than: Some(Duration::from_hours(15 * 24)), ..GcOptions::default() };
    assert_eq!(gone(&look(old)), artifacts(&[1, 2]), "the oldest first");
    let size: u64 = actions.iter().map(|action| action.size).sum();
    let sized = |max_size| GcOptions { max_size: Some(max_size), ..GcOptions::default() };
    assert_eq!(gone(&look(sized(size))), []);
    assert_eq!(gone(&look(sized(size - 1))), artifacts(&[1]));
    assert_eq!(gone(&look(sized(0))), artifacts(&[1, 2, 3]), "never the root");
    assert_eq!(look(sized(0)).kept, 1);
    // A claim makes it young again.
    let cache = writer(root.path());
    let gate = cache.gate().unwrap();
    cache.claim(&[actions[1].artifact]).unwrap();
    drop((gate, cache));
    assert_eq!(gone(&look(old)), artifacts(&[2]));
}

#[test]
fn runs_and_quarantine_are_kept_by_number_and_age() {
    let root = TempDir::new().unwrap();
    let cache = writer(root.path());
    let damaged = commit(&cache, "one", "x");
    fs_err::remove_file(cache.artifact_path(&damaged.artifact).join("log.txt")).unwrap();
    cache.check(&damaged.artifact).unwrap_err();
    for _ in 0..5 {
        cache.start_run("p").unwrap();
    }
    drop(cache);
    let cache = writer(root.path());
    let report = gc(&cache, &[], GcOptions { keep_runs: 2, ..GcOptions::default() });
    assert_eq!((report.runs.len(), report.leftovers.len(), cache.runs(9).unwrap().len()), (3, 0, 2));
    let now = GcOptions { older_than: Some(Duration::ZERO), ..GcOptions::default() };
    let report = gc(&cache, &[], now);
    assert!(entries(&root.path().join("quarantine")).is_empty() && !report.leftovers.is_empty());
}

/// A collection is killed by taking its steps apart: whatever is done so far, the cache is sound and nothing is served
/// that is not whole.
#[test]
fn a_collection_cut_after_any_of_its_steps_leaves_a_sound_cache() {
    let root = TempDir::new().unwrap();
    let action = made(root.path(), &["one"]).remove(0);
    let hex = action.key.hex();
    let record = root.path().join("actions").join(&hex[..2]).join(format!("{hex}.json"));
    let tree = reader(root.path()).artifact_path(&action.artifact);
    let dead = root.path().join("staging/dead/collected");
    let drop_row = || {
        let index = rusqlite::Connection::open(root.path().join("index.sqlite")).unwrap();
        assert_eq!(index.execute("DELETE FROM actions", []).unwrap(), 1);
        fs_err::create_dir_all(&dead).unwrap();
    };
    // After the rows: the record still counts, and gets its row again.
    drop_row();
    assert_eq!(reader(root.path()).action(&action.key).unwrap().as_ref(), Some(&action));
    assert_eq!(writer(root.path()).actions().unwrap().len(), 1);
    // After the records: an orphan, which the next collection takes.
    drop_row();
    fs_err::remove_file(&record).unwrap();
    let cache = writer(root.path());
    assert_eq!((cache.actions().unwrap().len(), verify(&cache).orphans.len()), (0, 1));
    assert!(verify(&cache).is_clean());
    commit(&cache, "one", "content of one");
    drop(cache);
    // After the artifact was moved: a listing without one, which the next collection takes too.
    drop_row();
    fs_err::remove_file(&record).unwrap();
    fs_err::rename(&tree, dead.join("artifact-0")).unwrap();
    let cache = writer(root.path());
    assert!(verify(&cache).is_clean() && verify(&cache).orphans.is_empty() && !dead.exists());
    assert_eq!(cache.action(&action.key).unwrap(), None);
    gc(&cache, &[], GcOptions::default());
    assert!(!tree.with_extension("json").exists());
}

/// Another process: commits and collects for ever, and says what it pinned.
#[test]
fn child() {
    let Ok(root) = std::env::var("LUTHFLOW_GC_ROOT") else { return };
    let cache = Cache::open(Path::new(&root), Access::Write, &mut |_| ()).unwrap();
    for number in cache.pins().unwrap().len().. {
        let pinned = commit(&cache, &format!("pinned {number}"), &format!("pinned {number}"));
        cache.pin(&pinned.artifact, "p").unwrap();
        println!("\npinned {number}");
        drop(Cache::open(Path::new(&root), Access::Write, &mut |_| ()).map(|other| {
            for loose in 0..4 {
                commit(&other, &format!("loose {number} {loose}"), &format!("loose {number} {loose}"));
            }
        }));
        gc(&cache, &[], GcOptions::default());
    }
}

#[test]
fn killed_at_any_instant_a_collection_leaves_a_sound_cache_and_all_that_is_pinned() {
    let root = TempDir::new().unwrap();
    let mut pinned = BTreeSet::new();
    for round in 0..24_u64 {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "cache_gc::child", "--nocapture"]).env("LUTHFLOW_GC_ROOT", root.path());
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(20_000 + round * 61_543 % 400_000));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        pinned.extend(said.lines().filter(|line| line.starts_with("pinned ")).map(str::to_owned));
        // Nothing that counts is half gone, before and after the next writer sweeps.
        let whole = |cache: &Cache| {
            for name in &pinned {
                let found = cache.action(&Digest::of(name.as_bytes())).unwrap();
                cache.check(&found.unwrap_or_else(|| panic!("round {round}: {name} is gone")).artifact).unwrap();
            }
            let report = verify(cache);
            assert!(report.is_clean(), "round {round}: {report:?}");
        };
        whole(&reader(root.path()));
        let cache = writer(root.path());
        whole(&cache);
        assert_eq!(cache.notices(), Vec::<String>::new());
        for action in cache.actions().unwrap() {
            assert_eq!(cache.action(&action.key).unwrap(), Some(action), "round {round}");
        }
        assert!(entries(&root.path().join("staging")).is_empty(), "swept");
    }
    assert!(pinned.len() > 5, "the children must get somewhere: {}", pinned.len());
    let cache = writer(root.path());
    gc(&cache, &[], GcOptions::default());
    assert_eq!(cache.actions().unwrap().len(), cache.pins().unwrap().len());
}

#[test]
fn notes_of_lockfiles_are_kept_once_each() {
    let root = TempDir::new().unwrap();
    let cache = writer(root.path());
    let (one, two) = (root.path().join("a b/pipeline.lock"), root.path().join("other.lock"));
    for lock in [&two, &one, &two] {
        cache.remember_lock(lock).unwrap();
    }
    assert_eq!(reader(root.path()).remembered_locks().unwrap(), [one, two]);
    assert!(Cache::open(root.path(), Access::Read, &mut |_| ()).unwrap().remember_lock(root.path()).is_err());
}

#[test]
fn through_the_program_a_lockfile_keeps_its_results_and_old_ones_go() {
    let world = World::new();
    world.run_ok(&["text_en", "text_fr", "english", "french"]);
    let needed = world.json(&["cache", "ls", "--json"]).as_array().unwrap().len();
    assert_eq!(needed, 4);
    world.edit("length: {min_chars: 10}\n      - dedup: exact\n", "length: {min_chars: 35}\n      - dedup: exact\n");
    world.run_ok(&["english"]);
    let info = world.json(&["cache", "info", "--json"]);
    assert_eq!((&info["objects"]["count"], &info["reachable"]["count"]), (&json!(5), &json!(4)), "{info}");
    assert_eq!(info["lockfiles"][0]["there"], true);
    let dry = world.run(&["cache", "gc", "--dry-run"]);
    assert!(dry.stderr.contains("would go: 1 artifacts, 1 records, 0 runs"), "{}", dry.stderr);
    let really = world.run(&["cache", "gc"]);
    assert_eq!((really.code, really.stdout.as_str()), (0, dry.stdout.as_str()), "{}", really.stderr);
    assert!(really.stdout.starts_with("artifact ") && really.stdout.contains("curate"), "{}", really.stdout);
    assert_eq!(world.run_ok(&["text_en", "text_fr", "english", "french"]).ran, [""; 0], "all that is locked is there");

    // A pin holds what no lockfile names any more.
    assert_eq!(world.run(&["cache", "pin", "english", "nothing"]).code, 2);
    std::fs::remove_file(world.path("pipeline.lock")).unwrap();
    let left = world.json(&["cache", "gc", "--json", "--dry-run"]);
    assert_eq!(left["kept"], 2, "english and what it was made from: {left}");
    world.write("pipeline.lock", "no lockfile");
    let refused = world.run(&["cache", "gc"]);
    assert!(refused.code == 2 && refused.stderr.contains("pipeline.lock"), "{}", refused.stderr);
    std::fs::remove_file(world.path("pipeline.lock")).unwrap();
    assert_eq!(world.run(&["cache", "unpin", "english"]).code, 0);
    assert_eq!(world.json(&["cache", "gc", "--json", "--keep-runs", "0"])["kept"], 0);
    assert_eq!(world.json(&["cache", "ls", "--json"]), json!([]));
    for bad in [["--older-than", "soon"], ["--max-size", "much"]] {
        assert_eq!(world.run(&["cache", "gc", bad[0], bad[1]]).code, 2);
    }
}
