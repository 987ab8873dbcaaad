//! Dying and being refused in the middle: kill -9, a full disk, a folder that cannot be written.
//!
//! The child is this test binary itself: [`child`] does nothing unless the environment says what to do.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use luthflow::cache::{Access, Cache, CacheError, GcOptions};
use luthflow::digest::Digest;
use tempfile::TempDir;

use super::cache::{commit, fill, new_action, reader, verify, writer};

const ROLE: &str = "LUTHFLOW_TEST_ROLE";
const ROOT: &str = "LUTHFLOW_TEST_ROOT";

/// The name and content of the number-th action of a child: names come back, contents do so more often.
fn work(number: usize) -> (String, String) {
    (format!("action {}", number % 500), format!("content {}", number % 70))
}

/// Another process: what it does is in the environment.
#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let root = std::env::var(ROOT).unwrap();
    let root = Path::new(&root);
    match role.as_str() {
        "commit for ever" => {
            let cache = Cache::open(root, Access::Write, &mut |_| ()).unwrap();
            let start = cache.actions().unwrap().len();
            for number in start.. {
                let (name, text) = work(number);
                commit(&cache, &name, &text);
                // Says which actions are committed, for the parent to ask for.
                println!("committed {name}");
            }
        }
        "write too much" => {
            let cache = writer(root);
            let staging = cache.begin("big").unwrap();
            fill(&staging, "x");
            let error = fs_err::write(staging.path().join("train/big"), vec![7; 1 << 20]).unwrap_err();
            println!("written: {:?}", error.kind());
            drop(staging);
            let mut number = 0;
            let error = loop {
                // The index grows until it may not; records and artifacts stay small.
                let parts = "p".repeat(20_000);
                let staging = cache.begin("small").unwrap();
                fill(&staging, &number.to_string());
                let mut new = new_action(&format!("small {number}"));
                new.parts = parts.into();
                match cache.commit(staging, new) {
                    Ok(_) if cache.notices().is_empty() => number += 1,
                    Ok(_) => break cache.notices().join("; "),
                    Err(error) => break error.to_string(),
                }
            };
            println!("committed {number}, then {error}");
        }
        "read only" => {
            let cache = reader(root);
            assert!(cache.notices().is_empty(), "{:?}", cache.notices());
            assert!(cache.last("scope", "sft").unwrap().is_some(), "known only to the index");
            assert!(cache.action(&Digest::of(b"one")).unwrap().is_some());
            assert!(verify(&cache).is_clean());
            let none = std::collections::BTreeSet::new();
            assert_eq!(cache.info(&none).unwrap().objects.count, 1);
            assert!(matches!(cache.gc(&none, &GcOptions::default()), Err(CacheError::ReadAccess(_))));
            let error = Cache::open(root, Access::Write, &mut |_| ()).unwrap_err();
            assert!(matches!(error, CacheError::Io(_)) && error.way_out().unwrap().contains("--cache-dir"), "{error}");
            assert!(error.to_string().contains(root.to_str().unwrap()), "{error}");
            println!("read all");
        }
        other => panic!("unknown role {other}"),
    }
}

fn command(role: &str, root: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "cache_crash::child", "--nocapture"]).env(ROLE, role).env(ROOT, root);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output_of(mut child: Child) -> String {
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    text
}

#[test]
fn killed_at_any_instant_the_cache_has_all_that_was_committed_and_nothing_half() {
    let root = TempDir::new().unwrap();
    // Fixed, but spread over what a child does from its start to the middle of many commits.
    let mut committed = 0;
    for round in 0..24_u64 {
        let mut child = command("commit for ever", root.path()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(10_000 + round * 47_119 % 250_000));
        child.kill().unwrap();
        let said = output_of(child);
        let before = reader(root.path());
        for name in said.lines().filter_map(|line| line.strip_prefix("committed ")) {
            let found = before.action(&Digest::of(name.as_bytes())).unwrap();
            assert!(found.is_some(), "round {round}: {name} was committed and is gone");
            committed += 1;
        }
        drop(before);
        let cache = writer(root.path());
        assert_eq!(cache.notices(), Vec::<String>::new());
        let report = verify(&cache);
        assert!(report.is_clean(), "round {round}: {report:?}");
        assert!(fs_err::read_dir(root.path().join("staging")).unwrap().next().is_none(), "staging was swept");
        for action in cache.actions().unwrap() {
            assert_eq!(cache.action(&action.key).unwrap(), Some(action));
        }
    }
    assert!(committed > 20, "the children must get somewhere: {committed} actions");
}

#[test]
fn a_commit_cut_after_any_of_its_steps_is_used_or_swept_up() {
    let root = TempDir::new().unwrap();
    let action = commit(&writer(root.path()), "one", "text");
    let key = action.key.hex();
    let record = root.path().join("actions").join(&key[..2]).join(format!("{key}.json"));
    let tree = reader(root.path()).artifact_path(&action.artifact);
    let in_staging = root.path().join("staging/dead");
    let no_row = || {
        let index = rusqlite::Connection::open(root.path().join("index.sqlite")).unwrap();
        assert_eq!(index.execute("DELETE FROM actions", []).unwrap(), 1);
        fs_err::create_dir(&in_staging).unwrap();
    };

    // After the record, before the row: it counts, and the next writer makes the row.
    no_row();
    assert_eq!(reader(root.path()).action(&action.key).unwrap().as_ref(), Some(&action));
    assert_eq!(writer(root.path()).actions().unwrap(), std::slice::from_ref(&action));
    assert!(!in_staging.exists());

    // After the rename, before the record: an orphan, used by the next commit.
    no_row();
    fs_err::remove_file(&record).unwrap();
    let cache = writer(root.path());
    assert_eq!(cache.action(&action.key).unwrap(), None);
    assert_eq!(verify(&cache).orphans, [action.artifact]);
    assert_eq!(commit(&cache, "one", "text").artifact, action.artifact);
    drop(cache);

    // After the listing, before the rename: the tree is still in staging.
    no_row();
    fs_err::remove_file(&record).unwrap();
    fs_err::rename(&tree, in_staging.join("artifact")).unwrap();
    let cache = writer(root.path());
    assert_eq!((cache.action(&action.key).unwrap(), cache.manifest(&action.artifact).unwrap()), (None, None));
    assert!(verify(&cache).is_clean() && !in_staging.exists());
    assert_eq!(commit(&cache, "one", "text").artifact, action.artifact);
    assert!(verify(&cache).orphans.is_empty());
}

/// A limit on the size of a file stands in for a full disk: the system calls that fail are the same.
#[cfg(unix)]
#[test]
fn a_disk_that_is_full_for_the_index_or_an_artifact_loses_nothing() {
    let root = TempDir::new().unwrap();
    let first = commit(&writer(root.path()), "first", "text");
    let child = command("write too much", root.path());
    let limited = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 400; exec \"$0\" \"$@\""])
        .arg(child.get_program())
        .args(child.get_args())
        .envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&limited.stdout);
    assert!(limited.status.success(), "{said}\n{}", String::from_utf8_lossy(&limited.stderr));
    assert!(said.contains("written: FileTooLarge"), "{said}");
    let last = said.lines().find_map(|line| line.strip_prefix("committed ")).unwrap();
    assert!(last.contains("index.sqlite cannot be used"), "{said}");
    let number: usize = last.split(',').next().unwrap().parse().unwrap();

    let cache = writer(root.path());
    assert_eq!(cache.notices(), Vec::<String>::new());
    assert_eq!(cache.action(&first.key).unwrap(), Some(first));
    for number in 0..=number {
        // The last one too, whose row could not be written.
        let key = Digest::of(format!("small {number}").as_bytes());
        assert!(cache.action(&key).unwrap().is_some(), "small {number}");
    }
    assert!(verify(&cache).is_clean());
}

#[cfg(unix)]
#[test]
fn a_cache_that_cannot_be_written_can_be_read_and_says_so_when_written() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
    use std::os::unix::process::CommandExt as _;

    let outer = TempDir::new().unwrap();
    let root = outer.path().join("cache");
    let cache = writer(&root);
    let action = commit(&cache, "one", "text");
    cache.remember("scope", &[("sft".to_owned(), action.key)]).unwrap();
    drop(cache);
    let mode = |path: &Path, mode: u32| fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let folders = || {
        let mut folders = vec![root.clone()];
        let mut next = 0;
        while let Some(folder) = folders.get(next).cloned() {
            next += 1;
            let below = fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            folders.extend(below.filter(|path| path.is_dir()));
        }
        folders
    };
    for folder in folders() {
        mode(&folder, 0o555);
    }
    let mut child = command("read only", &root);
    if fs_err::metadata(outer.path()).unwrap().uid() == 0 {
        // To root nothing is read-only: the child becomes nobody, and runs a copy that nobody may execute.
        let program = outer.path().join("it");
        fs_err::copy(child.get_program(), &program).unwrap();
        mode(&program, 0o755);
        mode(outer.path(), 0o755);
        let arguments: Vec<_> = child.get_args().map(ToOwned::to_owned).collect();
        child = Command::new(&program);
        child.args(arguments).env(ROLE, "read only").env(ROOT, &root).uid(65534).gid(65534);
    }
    let output = child.output().unwrap();
    for folder in folders() {
        mode(&folder, 0o755);
    }
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("read all"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
