//! The cache through its public face: committing, looking up, checking, locking, reading without rights.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use luthflow::cache::{Access, Action, Cache, CacheError, NewAction, Staging};
use luthflow::digest::{Digest, Manifest};
use serde_json::json;
use tempfile::TempDir;

pub(crate) fn writer(root: &Path) -> Cache {
    Cache::open(root, Access::Write, &mut |holder| panic!("nobody else should hold the lock, but {holder} does"))
        .unwrap()
}

pub(crate) fn reader(root: &Path) -> Cache {
    Cache::open(root, Access::Read, &mut |_| panic!("a reader never waits")).unwrap()
}

pub(crate) fn new_action(name: &str) -> NewAction {
    NewAction {
        key: Digest::of(name.as_bytes()),
        kind: "curate".to_owned(),
        parts: json!({"name": name, "min_length": 3}),
        outputs: vec![("train".to_owned(), "train".to_owned()), ("all".to_owned(), String::new())],
        metrics: BTreeMap::from([("rows".to_owned(), 2.0)]),
        measured: BTreeMap::from([("rows_per_second".to_owned(), 1e6)]),
        duration_ms: 17,
        producer: "luthflow 0.1.0 test".to_owned(),
        chosen: None,
    }
}

pub(crate) fn fill(staging: &Staging, text: &str) {
    fs_err::create_dir(staging.path().join("train")).unwrap();
    fs_err::write(staging.path().join("train/data.jsonl"), text).unwrap();
    fs_err::write(staging.path().join("log.txt"), "done\n").unwrap();
}

/// Commits an artifact whose content is made from `text`, under the key of `name`.
pub(crate) fn commit(cache: &Cache, name: &str, text: &str) -> Action {
    let staging = cache.begin(name).unwrap();
    fill(&staging, text);
    cache.commit(staging, new_action(name)).unwrap()
}

pub(crate) fn verify(cache: &Cache) -> luthflow::cache::VerifyReport {
    let (mut last, mut total) = (0, 0);
    let report = cache
        .verify(&mut |done, all| {
            assert!(done >= last && done <= all);
            (last, total) = (done, all);
        })
        .unwrap();
    assert_eq!(last, total, "verify ends at the total");
    report
}

/// What is half done: all that lies in the staging folders of sessions, but for empty folders that wait to be used again.
pub(crate) fn half_done(root: &Path) -> Vec<PathBuf> {
    let left = entries(&root.join("staging")).into_iter().flat_map(|session| entries(&session));
    left.filter(|path| !path.is_dir() || !entries(path).is_empty()).collect()
}

pub(crate) fn entries(folder: &Path) -> Vec<PathBuf> {
    fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

pub(crate) fn replace(path: &Path, bytes: &[u8]) {
    fs_err::remove_file(path).unwrap();
    fs_err::write(path, bytes).unwrap();
}

#[test]
fn a_committed_action_is_found_again_with_all_that_was_said_about_it() {
    let root = TempDir::new().unwrap();
    let cache = writer(root.path());
    assert_eq!(cache.action(&Digest::of(b"one")).unwrap(), None);
    let action = commit(&cache, "one", "a\nb\n");
    let tree = cache.artifact_path(&action.artifact);
    assert_eq!((action.size, action.files), (9, 2));
    assert_eq!(action.artifact, Manifest::of_dir(&tree).unwrap().digest());
    assert_eq!(action.outputs["all"], action.artifact);
    assert_eq!(action.outputs["train"], Manifest::of_dir(&tree.join("train")).unwrap().digest());
    assert_eq!(fs_err::read_to_string(tree.join("train/data.jsonl")).unwrap(), "a\nb\n");
    assert_eq!(half_done(root.path()), Vec::<PathBuf>::new());
    assert_eq!(cache.action(&action.key).unwrap().as_ref(), Some(&action));
    assert_eq!(reader(root.path()).action(&action.key).unwrap().as_ref(), Some(&action), "a reader beside a writer");
    drop(cache);
    assert_eq!(writer(root.path()).actions().unwrap(), [action]);
    let tag = fs_err::read_to_string(root.path().join("CACHEDIR.TAG")).unwrap();
    assert!(tag.starts_with("Signature: 8a477f597d28d172789f06886806bc55\n"));
}

#[cfg(unix)]
#[test]
fn files_of_an_artifact_are_read_only() {
    use std::os::unix::fs::PermissionsExt as _;

    let root = TempDir::new().unwrap();
    let cache = writer(root.path());
    let tree = cache.artifact_path(&commit(&cache, "one", "a").artifact);
    let mode = fs_err::metadata(tree.join("train/data.jsonl")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o444);
}

#[test]
fn equal_artifacts_are_stored_once_and_the_first_is_kept() {
    let root = TempDir::new().unwrap();
    let cache = writer(root.path());
    let one = commit(&cache, "one", "same");
    let file = cache.artifact_path(&one.artifact).join("log.txt");
    let before = fs_err::metadata(&file).unwrap().modified().unwrap();
    let two = commit(&cache, "two", "same");
    assert_eq!(one.artifact, two.artifact);
    assert_ne!(one.key, two.key);
    assert_eq!(fs_err::metadata(&file).unwrap().modified().unwrap(), before);
    assert_eq!(verify(&cache).checked, 1);
}

#[test]
fn a_dropped_staging_folder_leaves_nothing() {
    let root = TempDir::new().unwrap();
    let cache = writer(root.path());
    let staging = cache.begin("../odd name [t=0.6]").unwrap();
    fill(&staging, "x");
    let path = staging.path().to_owned();
    assert!(path.starts_with(root.path().join("staging")));
    drop(staging);
    assert!(!path.exists());
    assert_eq!(half_done(root.path()), Vec::<PathBuf>::new());
}

#[test]
fn what_cannot_be_an_artifact_is_refused_and_changes_nothing() {
    let root = TempDir::new().unwrap();
    let outside = root.path().join("outside");
    fs_err::write(&outside, "mine").unwrap();
    let cache = writer(&root.path().join("cache"));

    let staging = cache.begin("no-output").unwrap();
    fs_err::write(staging.path().join("log.txt"), "").unwrap();
    let error = cache.commit(staging, new_action("no-output")).unwrap_err();
    assert!(matches!(&error, CacheError::NoOutput { name, .. } if name == "train"), "{error}");

    #[cfg(unix)]
    {
        let staging = cache.begin("link").unwrap();
        fill(&staging, "x");
        std::os::unix::fs::symlink(&outside, staging.path().join("train/link")).unwrap();
        let error = cache.commit(staging, new_action("link")).unwrap_err().to_string();
        assert!(error.contains("train/link is a symbolic link"), "{error}");
    }

    let staging = cache.begin("hard").unwrap();
    fill(&staging, "x");
    fs_err::hard_link(&outside, staging.path().join("train/hard")).unwrap();
    let error = cache.commit(staging, new_action("hard")).unwrap_err();
    assert!(matches!(&error, CacheError::HardLink { path } if path.ends_with("train/hard")), "{error}");

    assert_eq!(fs_err::read_to_string(&outside).unwrap(), "mine");
    assert!(!fs_err::metadata(&outside).unwrap().permissions().readonly());
    assert_eq!(cache.actions().unwrap(), []);
    assert_eq!(half_done(&root.path().join("cache")), Vec::<PathBuf>::new());
}

#[test]
fn a_second_writer_works_beside_the_first() {
    let root = TempDir::new().unwrap();
    let (first, second) = (writer(root.path()), writer(root.path()));
    let one = commit(&first, "one", "by the first");
    assert_eq!(second.action(&one.key).unwrap().as_ref(), Some(&one));
    let two = commit(&second, "two", "by the second");
    drop(second);
    assert_eq!(first.action(&two.key).unwrap(), Some(two));
    assert_eq!(first.actions().unwrap().len(), 2);
}

#[test]
fn who_has_the_cache_alone_is_waited_for_and_named() {
    let root = TempDir::new().unwrap();
    drop(writer(root.path()));
    // As luthflow 0.1 has it, or whoever mends the index.
    for lock in ["lock", "index.lock"] {
        let path = root.path().join(lock);
        fs_err::write(&path, "process 12 on elsewhere\n").unwrap();
        let alone = fs_err::File::open(&path).unwrap();
        alone.file().lock().unwrap();
        std::thread::scope(|scope| {
            let (told, hears) = std::sync::mpsc::channel();
            let root = root.path();
            let second = scope.spawn(move || {
                let told = &mut |holder: &str| told.send(holder.to_owned()).unwrap();
                drop(Cache::open(root, Access::Write, told).unwrap());
            });
            assert_eq!(hears.recv_timeout(Duration::from_secs(20)).unwrap(), "process 12 on elsewhere");
            assert!(!second.is_finished());
            alone.file().unlock().unwrap();
            second.join().unwrap();
            assert!(hears.try_recv().is_err(), "told once");
        });
    }
}

#[test]
fn an_alias_has_the_artifact_of_another_action_and_says_what_was_chosen() {
    let root = TempDir::new().unwrap();
    let cache = writer(root.path());
    let best = commit(&cache, "merged[t=0.5]", "best");
    let new = NewAction { chosen: Some(json!({"t": 0.5})), kind: "select".to_owned(), ..new_action("select") };
    let alias = cache.commit_alias(new.clone(), &best).unwrap();
    assert_eq!((alias.artifact, &alias.outputs, alias.size), (best.artifact, &best.outputs, best.size));
    assert_eq!((alias.key, alias.kind.as_str()), (new.key, "select"));
    assert_eq!(reader(root.path()).action(&new.key).unwrap(), Some(alias.clone()));
    assert_eq!(alias.chosen, Some(json!({"t": 0.5})));
    assert!(verify(&cache).is_clean());
    let gone = Action { artifact: Digest::of(b"never made"), ..best };
    let error = cache.commit_alias(new_action("select other"), &gone).unwrap_err();
    assert!(matches!(error, CacheError::NotStored(_)), "{error}");
}

#[test]
fn the_first_record_of_a_key_stays_and_a_different_second_is_told() {
    let root = TempDir::new().unwrap();
    let cache = writer(root.path());
    let first = commit(&cache, "one", "first");
    assert_eq!(commit(&cache, "one", "first"), first);
    assert!(cache.notices().is_empty());
    assert_eq!(commit(&cache, "one", "second"), first);
    assert!(cache.notices()[0].contains("not deterministic"), "{:?}", cache.notices());
    assert_eq!(reader(root.path()).action(&first.key).unwrap().as_ref(), Some(&first));
    // A first one that is damaged does not win.
    let file = cache.artifact_path(&first.artifact).join("train/data.jsonl");
    replace(&file, b"spoil");
    let second = commit(&cache, "one", "second");
    assert_ne!(second.artifact, first.artifact);
    assert_eq!(reader(root.path()).action(&first.key).unwrap(), Some(second));
    assert!(verify(&cache).is_clean());
}

#[test]
fn threads_commit_equal_and_different_artifacts_at_once() {
    let root = TempDir::new().unwrap();
    let cache = writer(root.path());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let cache = &cache;
            scope.spawn(move || {
                for round in 0..5 {
                    commit(cache, &format!("{thread}-{round}"), &format!("shared {round}"));
                }
            });
        }
    });
    let report = verify(&cache);
    assert!(report.is_clean() && report.orphans.is_empty(), "{report:?}");
    assert_eq!((cache.actions().unwrap().len(), report.checked), (40, 5));
}

#[test]
fn reading_a_cache_that_is_not_there_finds_and_creates_nothing() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("cache");
    let cache = reader(&path);
    let key = Digest::of(b"one");
    assert_eq!(cache.action(&key).unwrap(), None);
    assert_eq!(cache.manifest(&key).unwrap(), None);
    assert_eq!(cache.actions().unwrap(), []);
    assert_eq!(cache.runs(9).unwrap(), []);
    assert_eq!(cache.last("scope", "sft").unwrap(), None);
    assert_eq!(cache.last_log("sft").unwrap(), None);
    assert!(verify(&cache).is_clean());
    for refused in
        [cache.begin("x").err(), cache.repair().err(), cache.remember("s", &[]).err(), cache.start_run("p").err()]
    {
        assert!(matches!(refused, Some(CacheError::ReadAccess(_))));
    }
    let file = root.path().join("file");
    fs_err::write(&file, "text").unwrap();
    assert_eq!(cache.file_digest(&file).unwrap(), (Digest::of(b"text"), 4));
    assert!(!path.exists());
}

#[test]
fn a_folder_that_is_used_for_something_else_is_left_alone() {
    let root = TempDir::new().unwrap();
    let precious = root.path().join("staging/precious");
    fs_err::create_dir_all(&precious).unwrap();
    let error = Cache::open(root.path(), Access::Write, &mut |_| ()).unwrap_err();
    assert!(matches!(error, CacheError::NotACache { entry: "staging", .. }), "{error}");
    assert!(error.way_out().is_some() && precious.exists());
    assert_eq!(entries(root.path()), [root.path().join("staging")]);
}

#[test]
fn the_last_parts_of_an_instance_are_known_by_pipeline() {
    let root = TempDir::new().unwrap();
    let cache = writer(root.path());
    let (one, two) = (commit(&cache, "one", "1"), commit(&cache, "two", "2"));
    cache.remember("a", &[("sft".to_owned(), one.key), ("merged[t=0.6]".to_owned(), two.key)]).unwrap();
    cache.remember("b", &[("sft".to_owned(), two.key)]).unwrap();
    let parts = |scope, instance| reader(root.path()).last(scope, instance).unwrap().map(|last| (last.key, last.parts));
    assert_eq!(parts("a", "sft"), Some((one.key, one.parts)));
    assert_eq!(parts("b", "sft"), Some((two.key, two.parts.clone())));
    assert_eq!(parts("b", "merged[t=0.6]"), None);
    cache.remember("a", &[("sft".to_owned(), two.key)]).unwrap();
    assert_eq!(parts("a", "sft"), Some((two.key, two.parts)));
}

#[test]
fn runs_and_their_logs_are_kept_in_order() {
    let root = TempDir::new().unwrap();
    let cache = writer(root.path());
    let runs: Vec<_> = (0..3).map(|_| cache.start_run("quickstart").unwrap()).collect();
    assert!(runs.is_sorted() && runs[0] != runs[1] && runs[1] != runs[2]);
    for run in &runs[..2] {
        fs_err::write(cache.log_path(run, "merged[t=0.6]/x"), run.as_str()).unwrap();
    }
    cache.finish_run(&runs[1], &json!({"ran": ["sft"]})).unwrap();
    let seen = reader(root.path()).runs(2).unwrap();
    assert_eq!(seen.iter().map(|run| &run.id).collect::<Vec<_>>(), [&runs[2], &runs[1]]);
    assert_eq!((seen[0].finished, seen[0].pipeline.as_str()), (None, "quickstart"));
    assert!(seen[1].finished >= Some(seen[1].started));
    assert_eq!(seen[1].summary, Some(json!({"ran": ["sft"]})));
    let log = cache.last_log("merged[t=0.6]/x").unwrap().unwrap();
    assert_eq!(fs_err::read_to_string(&log).unwrap(), runs[1].as_str(), "the newest run that has a log");
    assert_eq!(cache.last_log("merged[t=0.7]/x").unwrap(), None);
    // A run whose file is damaged is still listed.
    replace(&root.path().join("runs").join(runs[2].as_str()).join("run.json"), b"{");
    assert_eq!(cache.runs(1).unwrap()[0].id, runs[2]);
}

fn age(path: &Path, seconds: u64) -> SystemTime {
    let time = SystemTime::now() - Duration::from_secs(seconds);
    fs_err::OpenOptions::new().write(true).open(path).unwrap().set_modified(time).unwrap();
    time
}

#[test]
fn an_edit_that_keeps_size_and_time_is_noticed() {
    let root = TempDir::new().unwrap();
    let cache = writer(&root.path().join("cache"));
    let file = root.path().join("data.jsonl");
    fs_err::write(&file, "aaaa").unwrap();
    let time = age(&file, 100);
    assert_eq!(cache.file_digest(&file).unwrap(), (Digest::of(b"aaaa"), 4));
    // At once, so within the grain of the inode's own time: the racy case.
    fs_err::write(&file, "bbbb").unwrap();
    fs_err::OpenOptions::new().write(true).open(&file).unwrap().set_modified(time).unwrap();
    assert_eq!(cache.file_digest(&file).unwrap(), (Digest::of(b"bbbb"), 4));
    assert!(cache.file_digest(root.path()).is_err() && cache.file_digest(&root.path().join("none")).is_err());
}

#[test]
fn old_files_are_not_read_again_and_edits_to_them_are_seen() {
    let root = TempDir::new().unwrap();
    let cache_root = root.path().join("cache");
    let files: Vec<_> = (0..600).map(|number| root.path().join(format!("{number}"))).collect();
    for file in &files {
        fs_err::write(file, file.to_str().unwrap()).unwrap();
    }
    // The inode's own time cannot be set: the files must really grow older than the grain.
    std::thread::sleep(Duration::from_millis(2100));
    let digests = |cache: &Cache| -> Vec<_> { files.iter().map(|file| cache.file_digest(file).unwrap().0).collect() };
    let first = digests(&writer(&cache_root));
    // A digest that only the remembered row can know proves that the file was not read.
    let planted = Digest::of(b"planted");
    super::cache_index::plant_digest(&cache_root, &files[7], planted);
    let mut expected = first;
    expected[7] = planted;
    assert_eq!(digests(&reader(&cache_root)), expected);
    fs_err::write(&files[7], files[7].to_str().unwrap().to_uppercase()).unwrap();
    let edited = Digest::of(files[7].to_str().unwrap().to_uppercase().as_bytes());
    assert_eq!(writer(&cache_root).file_digest(&files[7]).unwrap().0, edited);
}
