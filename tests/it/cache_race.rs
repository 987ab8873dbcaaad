//! Several processes on one cache: nothing is lost, nothing is done twice under a lease, nobody waits for ever.
//!
//! The children are this test binary itself: [`child`] does nothing unless the environment says what to do.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use luthflow::cache::{Access, Cache, GcOptions, Lease, LeaseOutcome};
use luthflow::digest::Digest;
use tempfile::TempDir;

use super::cache::{commit, entries, fill, new_action, reader, verify};

const ROLE: &str = "LUTHFLOW_RACE_ROLE";
const ROOT: &str = "LUTHFLOW_RACE_ROOT";

/// Opens the cache as a run does. It may have to wait a moment while another process opens it.
fn open(root: &Path) -> Cache {
    Cache::open(root, Access::Write, &mut |_| ()).unwrap()
}

fn taken(outcome: LeaseOutcome) -> Option<Lease> {
    match outcome {
        LeaseOutcome::Taken(lease) => Some(lease),
        LeaseOutcome::Held(_) => None,
    }
}

/// Another process: what it does is in the environment.
#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let root = std::env::var(ROOT).unwrap();
    let root = Path::new(&root);
    match role.as_str() {
        "share the work" => share(root, &|number| println!("made {number}")),
        "commit the same" => {
            for round in 0..25 {
                let cache = open(root);
                for number in 0..4 {
                    commit(&cache, &format!("same {round} {number}"), &format!("content {number}"));
                }
            }
        }
        "hold a lease for ever" => {
            let cache = open(root);
            let _lease = taken(cache.lease(&Digest::of(b"key")).unwrap()).unwrap();
            println!("held");
            std::thread::sleep(std::time::Duration::from_mins(10));
        }
        "work and collect" => {
            for round in 0..20 {
                let cache = open(root);
                work_while_others_collect(&cache, round);
            }
        }
        other => panic!("unknown role {other}"),
    }
}

/// Makes every one of a hundred results that nobody else makes, and writes down which: twice would show.
fn share(root: &Path, say: &dyn Fn(usize)) {
    let cache = open(root);
    let mut left: Vec<usize> = (0..100).collect();
    while !left.is_empty() {
        left.retain(|number| {
            let name = format!("shared {number}");
            let key = Digest::of(name.as_bytes());
            let Some(lease) = taken(cache.lease(&key).unwrap()) else { return true };
            // Only now: whoever had the lease may have done it.
            let done = cache.action(&key).unwrap().is_some();
            if !done {
                let staging = cache.begin(&name).unwrap();
                fill(&staging, &name);
                say(*number);
                cache.commit(staging, new_action(&name)).unwrap();
            }
            drop(lease);
            false
        });
    }
}

/// Looks results up as a run does, and collects all that nobody claims.
fn work_while_others_collect(cache: &Cache, round: usize) {
    let mut mine = Vec::new();
    for number in 0..6 {
        let name = format!("worked {number}");
        let key = Digest::of(name.as_bytes());
        let gate = cache.gate().unwrap();
        let found = cache.action(&key).unwrap();
        if let Some(found) = &found {
            cache.claim(&[found.artifact]).unwrap();
        }
        drop(gate);
        mine.push(found.unwrap_or_else(|| commit(cache, &name, &name)));
    }
    if round.is_multiple_of(2) {
        cache.gc(&std::collections::BTreeSet::new(), &GcOptions::default()).unwrap();
    }
    for action in mine {
        cache.check(&action.artifact).unwrap();
        assert_eq!(cache.action(&action.key).unwrap().unwrap().artifact, action.artifact);
    }
    assert_eq!(cache.notices(), Vec::<String>::new());
}

fn spawn(role: &str, root: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "cache_race::child", "--nocapture"]).env(ROLE, role).env(ROOT, root);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn finish(children: Vec<Child>) -> Vec<String> {
    let mut lines = Vec::new();
    for child in children {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
        lines.extend(text.lines().map(str::to_owned));
    }
    lines
}

fn sound(root: &Path) {
    let cache = open(root);
    let report = verify(&cache);
    assert!(report.is_clean() && report.orphans.is_empty(), "{report:?}");
    assert_eq!(cache.notices(), Vec::<String>::new());
    for action in reader(root).actions().unwrap() {
        assert_eq!(cache.action(&action.key).unwrap(), Some(action));
    }
    drop(cache);
    for folder in ["staging", "sessions", "leases", "quarantine"] {
        assert!(!root.join(folder).exists() || entries(&root.join(folder)).is_empty(), "{folder} is swept");
    }
}

#[test]
fn processes_with_leases_do_no_work_twice() {
    let root = TempDir::new().unwrap();
    let lines = finish((0..4).map(|_| spawn("share the work", root.path())).collect());
    let mut made: Vec<usize> = lines.iter().filter_map(|line| line.strip_prefix("made ")?.parse().ok()).collect();
    made.sort_unstable();
    assert_eq!(made, (0..100).collect::<Vec<_>>());
    sound(root.path());
}

#[test]
fn processes_that_commit_the_same_end_with_one_of_each() {
    let root = TempDir::new().unwrap();
    finish((0..4).map(|_| spawn("commit the same", root.path())).collect());
    assert_eq!(reader(root.path()).actions().unwrap().len(), 100);
    sound(root.path());
    assert_eq!(verify(&reader(root.path())).checked, 4);
}

#[test]
fn what_processes_use_is_never_collected_under_them() {
    let root = TempDir::new().unwrap();
    finish((0..4).map(|_| spawn("work and collect", root.path())).collect());
    sound(root.path());
}

#[test]
fn a_lease_names_its_holder_and_goes_with_its_process() {
    let root = TempDir::new().unwrap();
    let mut child = spawn("hold a lease for ever", root.path());
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("held")));
    let cache = open(root.path());
    let key = Digest::of(b"key");
    let LeaseOutcome::Held(holder) = cache.lease(&key).unwrap() else { panic!("the child has it") };
    assert!(holder.starts_with(&format!("process {} on ", child.id())), "{holder}");
    assert!(taken(cache.lease(&Digest::of(b"another")).unwrap()).is_some());
    child.kill().unwrap();
    child.wait().unwrap();
    let lease = taken(cache.lease(&key).unwrap()).expect("the kernel freed it");
    assert!(taken(cache.lease(&key).unwrap()).is_none(), "in one process too");
    drop(lease);
    assert!(taken(cache.lease(&key).unwrap()).is_some());
    // What the dead one left is swept by the next writer.
    drop((cache, open(root.path())));
    assert!(entries(&root.path().join("sessions")).is_empty());
}

#[test]
fn of_many_threads_one_at_a_time_has_a_lease() {
    let root = TempDir::new().unwrap();
    let (inside, turns) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let key = Digest::of(b"key");
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let cache = open(root.path());
                for _ in 0..200 {
                    let Some(lease) = taken(cache.lease(&key).unwrap()) else { continue };
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two hold one lease");
                    turns.fetch_add(1, Ordering::SeqCst);
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(lease);
                }
            });
        }
    });
    assert!(turns.into_inner() > 0);
}

#[test]
fn two_writers_of_a_spoilt_index_mend_it_once_and_lose_nothing() {
    let root = TempDir::new().unwrap();
    for round in 0..10 {
        let before = reader(root.path()).actions().unwrap_or_default().len();
        let (one, two) = (open(root.path()), open(root.path()));
        commit(&one, &format!("one {round}"), "x");
        commit(&two, &format!("two {round}"), "y");
        drop((one, two));
        let index = root.path().join("index.sqlite");
        let mut bytes = fs_err::read(&index).unwrap();
        bytes[100..2000].fill(0x5a);
        super::cache::replace(&index, &bytes);
        std::thread::scope(|scope| {
            for name in ["three", "four"] {
                let root = root.path();
                scope.spawn(move || {
                    commit(&open(root), &format!("{name} {round}"), name);
                });
            }
        });
        let aside = entries(&root.path().join("quarantine"));
        let aside = aside.iter().filter(|path| !path.to_string_lossy().ends_with(['l', 'm'])).count();
        assert_eq!(aside, round + 1, "mended once");
        let rows = rusqlite::Connection::open(&index).unwrap();
        let rows: usize = rows.query_row("SELECT count(*) FROM actions", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, before + 4, "round {round}");
    }
}
