//! Damage: that it is found, told by file, moved aside, and never mistaken for something sound.

use std::path::Path;

use luthflow::cache::CacheError;
use tempfile::TempDir;

use super::cache::{commit, reader, replace, verify, writer};

/// A way to spoil an artifact, given its folder.
type Spoil = fn(&Path);

/// Overwrites a file of the store as a failing disk would: same size, same mode.
fn flip_a_bit(path: &Path) {
    let mut bytes = fs_err::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    replace(path, &bytes);
}

#[test]
fn an_artifact_with_a_missing_or_shortened_file_is_no_hit() {
    let root = TempDir::new().unwrap();
    let cache = writer(root.path());
    for (name, spoil) in [
        ("gone", (|path| fs_err::remove_file(path).unwrap()) as Spoil),
        ("short", |path| replace(path, b"")),
        ("folder", |path| fs_err::remove_file(path).and_then(|()| fs_err::create_dir(path)).unwrap()),
        ("tree", |path| fs_err::remove_dir_all(path.ancestors().nth(2).unwrap()).unwrap()),
    ] {
        let action = commit(&cache, name, name);
        assert!(cache.action(&action.key).unwrap().is_some());
        spoil(&cache.artifact_path(&action.artifact).join("train/data.jsonl"));
        assert_eq!(cache.action(&action.key).unwrap(), None, "{name}");
        // Made again, it is whole again.
        assert_eq!(commit(&cache, name, name).artifact, action.artifact);
        assert!(cache.action(&action.key).unwrap().is_some(), "{name}");
        assert!(verify(&cache).is_clean());
    }
}

#[test]
fn a_flipped_bit_is_found_and_quarantined_and_the_action_forgotten() {
    let root = TempDir::new().unwrap();
    let cache = writer(root.path());
    let (bad, good) = (commit(&cache, "bad", "some text"), commit(&cache, "good", "other text"));
    let twin = commit(&cache, "twin", "some text");
    cache.check(&bad.artifact).unwrap();
    flip_a_bit(&cache.artifact_path(&bad.artifact).join("train/data.jsonl"));
    assert!(cache.action(&bad.key).unwrap().is_some(), "size and place are right, so a look-up cannot tell");

    let seen = reader(root.path()).check(&bad.artifact).unwrap_err();
    assert!(matches!(&seen, CacheError::Damaged { file, moved_to: None, .. } if file == "train/data.jsonl"), "{seen}");

    let Err(CacheError::Damaged { digest, file, moved_to: Some(aside), .. }) = cache.check(&bad.artifact) else {
        panic!("the damage must be found")
    };
    assert_eq!((digest, file.as_str()), (bad.artifact, "train/data.jsonl"));
    assert!(aside.starts_with(root.path().join("quarantine")) && aside.join("log.txt").exists());
    assert!(matches!(cache.check(&bad.artifact), Err(CacheError::NotStored(_))));
    assert_eq!(cache.manifest(&bad.artifact).unwrap(), None);
    for key in [&bad.key, &twin.key] {
        assert_eq!(cache.action(key).unwrap(), None);
    }
    assert_eq!(cache.actions().unwrap(), [good]);
    assert!(verify(&cache).is_clean());
    assert_eq!(commit(&cache, "bad", "some text").artifact, bad.artifact);
    assert!(verify(&cache).is_clean());
}

#[test]
fn every_kind_of_damage_is_told_by_its_file() {
    let root = TempDir::new().unwrap();
    let cache = writer(root.path());
    let spoil: [(&str, &str, Spoil); 4] = [
        ("train/data.jsonl", "other bytes", |tree| flip_a_bit(&tree.join("train/data.jsonl"))),
        ("log.txt", "is gone", |tree| fs_err::remove_file(tree.join("log.txt")).unwrap()),
        ("log.txt", "has 0 bytes instead of 5", |tree| replace(&tree.join("log.txt"), b"")),
        ("train/more", "was never part of it", |tree| fs_err::write(tree.join("train/more"), "").unwrap()),
    ];
    for (number, (file, problem, spoil)) in spoil.into_iter().enumerate() {
        let action = commit(&cache, &number.to_string(), &format!("content {number}"));
        spoil(&cache.artifact_path(&action.artifact));
        let report = verify(&cache);
        let [damage] = &report.damaged[..] else { panic!("{report:?}") };
        assert_eq!((damage.digest, damage.file.as_str()), (action.artifact, file));
        assert!(damage.problem.contains(problem), "{damage:?}");
        assert!(!report.is_clean() && report.missing.is_empty() && damage.moved_to.is_some());
    }
    assert!(verify(&cache).is_clean());
}

#[test]
fn a_damaged_artifact_is_not_mistaken_for_the_same_one_made_again() {
    let root = TempDir::new().unwrap();
    let cache = writer(root.path());
    let action = commit(&cache, "one", "some text");
    flip_a_bit(&cache.artifact_path(&action.artifact).join("train/data.jsonl"));
    assert_eq!(commit(&cache, "two", "some text").artifact, action.artifact);
    cache.check(&action.artifact).unwrap();
}

#[test]
fn a_lost_or_damaged_listing_is_made_again_from_sound_files() {
    let root = TempDir::new().unwrap();
    let cache = writer(root.path());
    let action = commit(&cache, "one", "some text");
    let listing = cache.artifact_path(&action.artifact).with_extension("json");
    let whole = fs_err::read(&listing).unwrap();
    for length in 0..whole.len() {
        replace(&listing, &whole[..length]);
        assert_eq!(reader(root.path()).action(&action.key).unwrap().as_ref(), Some(&action), "cut at {length}");
    }
    flip_a_bit(&listing);
    assert_eq!(cache.action(&action.key).unwrap().as_ref(), Some(&action));
    assert_eq!(fs_err::read(&listing).unwrap(), whole);
    fs_err::remove_file(&listing).unwrap();
    flip_a_bit(&cache.artifact_path(&action.artifact).join("log.txt"));
    assert_eq!(cache.action(&action.key).unwrap(), None, "unsound files prove nothing");
}
