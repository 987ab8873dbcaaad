//! Which files of a repository are meant: by path or glob, or by the hub's conventions for configurations and splits.
//!
//! The conventions are those of `datasets`: what the card says under `configs`, or else a split in the name of a folder or
//! a file (`data/train-00000-of-00002.parquet`, `test.jsonl`, `validation/x.csv`), or else everything is `train`.

use serde::Deserialize;

use super::listing::instead;
use super::{HubError, Listed, Listing, Place, RepoKind};

/// The words that a split goes by, its own first.
const SPLITS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "dev", "val"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];
/// What rows come in, in files that may be compressed besides.
const DATA: [&str; 9] = ["jsonl", "ndjson", "json", "csv", "tsv", "parquet", "arrow", "feather", "txt"];
const COMPRESSED: [&str; 4] = ["gz", "zst", "bz2", "zstd"];
/// Weights in other formats, which are left out where there are safetensors.
const OTHER_WEIGHTS: [&str; 9] = ["bin", "pt", "pth", "h5", "msgpack", "onnx", "ot", "gguf", "ckpt"];

/// What is wanted of a repository besides its path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// A configuration of a data set.
    pub config: Option<String>,
    /// A split of it.
    pub split: Option<String>,
}

/// Returns the wanted files of a commit, each with its name in the artifact, in the order of these.
pub fn choose<'a>(listing: &'a Listing, place: &Place, choice: &Choice) -> Result<Vec<(String, &'a Listed)>, HubError> {
    let found = match &place.path {
        Some(path) if glob::Pattern::escape(path) == *path => below(listing, place, path)?,
        Some(path) => matching(listing, place, path)?,
        None if place.kind == RepoKind::Dataset => data_files(listing, place, choice)?,
        None => model_files(listing, ""),
    };
    let mut names: Vec<(String, &Listed)> = found.into_iter().map(|(name, file)| (name.to_owned(), file)).collect();
    names.sort_by(|a, b| a.0.cmp(&b.0));
    check_clashes(&names)?;
    Ok(names)
}

/// Returns where in the repository a chosen file lies, from its name in the artifact.
pub fn path_of(place: &Place, name: &str) -> String {
    match &place.path {
        Some(path) if glob::Pattern::escape(path) != *path => name.to_owned(),
        Some(path) if path.rsplit('/').next() == Some(name) => path.clone(),
        Some(path) if place.kind == RepoKind::Model => format!("{path}/{name}"),
        _ => name.to_owned(),
    }
}

type Found<'a> = Vec<(&'a str, &'a Listed)>;

/// A file, or the files of a folder.
fn below<'a>(listing: &'a Listing, place: &Place, path: &str) -> Result<Found<'a>, HubError> {
    if let Some(file) = listing.files.iter().find(|file| file.path == path) {
        let name = file.path.rsplit('/').next().unwrap_or(&file.path);
        return Ok(vec![(name, file)]);
    }
    let folder = format!("{path}/");
    let found: Found<'_> = match place.kind {
        RepoKind::Model => model_files(listing, &folder),
        RepoKind::Dataset => {
            let inside = listing.files.iter().filter(|file| file.path.starts_with(&folder) && is_data(&file.path));
            inside.map(|file| (&*file.path, file)).collect()
        }
    };
    if found.is_empty() {
        let names: Vec<&str> = listing.files.iter().map(|file| &*file.path).collect();
        let text = format!("the {} {} has no file `{path}` at {}", place.kind.word(), place.id, revision(place));
        return Err(HubError::new(text).help(instead(path, &names)));
    }
    Ok(found)
}

fn revision(place: &Place) -> &str {
    place.revision.as_deref().unwrap_or("main")
}

fn matching<'a>(listing: &'a Listing, place: &Place, pattern: &str) -> Result<Found<'a>, HubError> {
    let found = globbed(listing, pattern)?;
    if found.is_empty() {
        let names: Vec<&str> = listing.files.iter().map(|file| &*file.path).collect();
        let text = format!("no file of the {} {} matches `{pattern}`", place.kind.word(), place.id);
        return Err(HubError::new(text).help(instead(pattern, &names)));
    }
    Ok(found)
}

fn globbed<'a>(listing: &'a Listing, pattern: &str) -> Result<Found<'a>, HubError> {
    let parsed = glob::Pattern::new(pattern);
    let parsed = parsed.map_err(|error| HubError::new(format!("`{pattern}` is no glob ({})", error.msg)))?;
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
    let fits = |file: &&Listed| parsed.matches_with(&file.path, options);
    Ok(listing.files.iter().filter(fits).map(|file| (&*file.path, file)).collect())
}

/// The files that lie directly in a folder, by their names there.
fn model_files<'a>(listing: &'a Listing, folder: &str) -> Found<'a> {
    let direct = |file: &'a Listed| {
        let name = file.path.strip_prefix(folder)?;
        (!name.contains('/') && !name.starts_with('.')).then_some((name, file))
    };
    let files: Found<'a> = listing.files.iter().filter_map(direct).collect();
    let ends = |name: &str, ends: &[&str]| name.rsplit_once('.').is_some_and(|(_, end)| ends.contains(&end));
    let safe = files.iter().any(|(name, _)| ends(name, &["safetensors"]));
    files.into_iter().filter(|(name, _)| !(safe && ends(name, &OTHER_WEIGHTS))).collect()
}

fn is_data(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    // What lies beside the data and is none.
    if path.split('/').any(|part| part.starts_with(['.', '_'])) || name == "dataset_infos.json" || name == "state.json"
    {
        return false;
    }
    let (stem, end) = name.rsplit_once('.').unwrap_or((name, ""));
    let end = if COMPRESSED.contains(&end) { stem.rsplit_once('.').map_or("", |(_, end)| end) } else { end };
    DATA.contains(&end)
}

fn data_files<'a>(listing: &'a Listing, place: &Place, choice: &Choice) -> Result<Found<'a>, HubError> {
    let configs = configs_of(listing, place)?;
    let splits = if configs.is_empty() {
        if let Some(config) = &choice.config {
            let text = format!("the data set {} has no configuration `{config}`: its card names none", place.id);
            return Err(HubError::new(text).help("leave `config` out, or write a path after the revision"));
        }
        by_name(listing)
    } else {
        let config = one_config(&configs, place, choice)?;
        config.splits(listing)?
    };
    let wanted = |name: &str| choice.split.as_ref().is_none_or(|split| split == name);
    let found: Found<'a> =
        splits.iter().filter(|(name, _)| wanted(name)).flat_map(|(_, files)| files.clone()).collect();
    if found.is_empty() {
        let names: Vec<&str> = splits.iter().map(|(name, _)| &**name).collect();
        let (text, name) = match &choice.split {
            Some(split) => (format!("the data set {} has no split `{split}`", place.id), &**split),
            None => (format!("the data set {} holds no file of rows", place.id), ""),
        };
        return Err(HubError::new(text).help(instead(name, &names)));
    }
    Ok(found)
}

/// The splits that names of folders and files tell, by the first rule that tells any.
fn by_name(listing: &Listing) -> Vec<(String, Found<'_>)> {
    let files: Found<'_> = listing.files.iter().filter(|file| is_data(&file.path)).map(|f| (&*f.path, f)).collect();
    for rule in [shard, in_folder, in_file] {
        let mut splits: Vec<(String, Found<'_>)> = Vec::new();
        for (path, file) in &files {
            let Some(split) = rule(path) else { continue };
            match splits.iter_mut().find(|(name, _)| *name == split) {
                Some((_, found)) => found.push((path, file)),
                None => splits.push((split, vec![(path, file)])),
            }
        }
        if !splits.is_empty() {
            return splits;
        }
    }
    vec![("train".to_owned(), files)]
}

/// `data/SPLIT-00000-of-00002.parquet`: any word can be a split.
fn shard(path: &str) -> Option<String> {
    let name = path.strip_prefix("data/")?;
    let (before, after) = name.split_once("-of-")?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let (split, number) = before.rsplit_once('-')?;
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    let fits = digits(number) && after.get(..5).is_some_and(digits) && !split.is_empty() && split.chars().all(word);
    fits.then(|| split.to_owned())
}

fn in_folder(path: &str) -> Option<String> {
    let folders = path.rsplit_once('/')?.0;
    folders.split('/').find_map(word_in)
}

fn in_file(path: &str) -> Option<String> {
    word_in(path.rsplit('/').next()?)
}

fn word_in(name: &str) -> Option<String> {
    let separates = |c: char| c.is_ascii_digit() || matches!(c, ' ' | '-' | '_' | '.' | '/');
    let words: Vec<&str> = name.split(separates).collect();
    SPLITS.iter().find(|(_, keys)| keys.iter().any(|key| words.contains(key))).map(|(name, _)| (*name).to_owned())
}

/// One entry of `configs` on a card.
#[derive(Debug, Deserialize)]
struct Config {
    #[serde(rename = "config_name")]
    name: String,
    #[serde(default)]
    data_files: Option<Files>,
    #[serde(default)]
    data_dir: Option<String>,
    #[serde(default)]
    default: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Files {
    One(String),
    Entries(Vec<Entry>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Entry {
    Pattern(String),
    Split { split: String, path: Patterns },
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Patterns {
    One(String),
    Many(Vec<String>),
}

fn configs_of(listing: &Listing, place: &Place) -> Result<Vec<Config>, HubError> {
    #[derive(Deserialize)]
    struct Card {
        #[serde(default)]
        configs: Vec<Config>,
    }
    let Some(card) = &listing.card else { return Ok(Vec::new()) };
    let card: Card = serde_yaml::from_str(card).map_err(|error| {
        HubError::new(format!("the card of the data set {} cannot be read: {error}", place.id))
            .help("write a path after the revision: `…@main/data/*.parquet`")
    })?;
    Ok(card.configs)
}

fn one_config<'a>(configs: &'a [Config], place: &Place, choice: &Choice) -> Result<&'a Config, HubError> {
    let names: Vec<&str> = configs.iter().map(|config| &*config.name).collect();
    if let Some(wanted) = &choice.config {
        return configs.iter().find(|config| config.name == *wanted).ok_or_else(|| {
            let text = format!("the data set {} has no configuration `{wanted}`", place.id);
            HubError::new(text).help(instead(wanted, &names))
        });
    }
    let only = if configs.len() == 1 { configs.first() } else { None };
    let default = configs.iter().find(|config| config.default);
    let default = default.or(only).or_else(|| configs.iter().find(|config| config.name == "default"));
    default.ok_or_else(|| {
        HubError::new(format!("the data set {} has several configurations", place.id))
            .help(format!("set `config` to one of `{}`", names.join("`, `")))
    })
}

impl Config {
    fn splits<'a>(&self, listing: &'a Listing) -> Result<Vec<(String, Found<'a>)>, HubError> {
        let folder = self.data_dir.as_deref().map_or_else(String::new, |dir| format!("{}/", dir.trim_matches('/')));
        let find = |pattern: &str| globbed(listing, &format!("{folder}{}", pattern.trim_start_matches("./")));
        let entries = match &self.data_files {
            None => {
                let files = listing.files.iter().filter(|file| file.path.starts_with(&folder)).cloned().collect();
                let names: Vec<(String, Vec<String>)> = by_name(&Listing { files, card: None })
                    .into_iter()
                    .map(|(split, files)| (split, files.into_iter().map(|(path, _)| path.to_owned()).collect()))
                    .collect();
                let back = |path: &String| listing.files.iter().find(|file| file.path == *path);
                let found = |paths: &[String]| paths.iter().filter_map(back).map(|f| (&*f.path, f)).collect();
                return Ok(names.iter().map(|(split, paths)| (split.clone(), found(paths))).collect());
            }
            Some(Files::One(pattern)) => return Ok(vec![("train".into(), find(pattern)?)]),
            Some(Files::Entries(entries)) => entries,
        };
        let mut splits: Vec<(String, Found<'a>)> = Vec::new();
        for entry in entries {
            let (split, patterns) = match entry {
                Entry::Pattern(pattern) => ("train", std::slice::from_ref(pattern)),
                Entry::Split { split, path: Patterns::One(pattern) } => (&**split, std::slice::from_ref(pattern)),
                Entry::Split { split, path: Patterns::Many(patterns) } => (&**split, &**patterns),
            };
            let mut found = Vec::new();
            for pattern in patterns {
                found.extend(find(pattern)?);
            }
            match splits.iter_mut().find(|(name, _)| name == split) {
                Some((_, files)) => files.extend(found),
                None => splits.push((split.to_owned(), found)),
            }
        }
        Ok(splits)
    }
}

/// Refuses names that cannot all stand in one folder on every machine.
fn check_clashes(names: &[(String, &Listed)]) -> Result<(), HubError> {
    let mut folded: Vec<(String, &str)> = names.iter().map(|(name, _)| (name.to_lowercase(), &**name)).collect();
    folded.sort_unstable();
    for pair in folded.windows(2) {
        let [(one, first), (other, second)] = pair else { continue };
        if one == other || other.strip_prefix(&**one).is_some_and(|rest| rest.starts_with('/')) {
            let text = format!("`{first}` and `{second}` cannot both be brought in: some machines take them for one");
            return Err(HubError::new(text).help("choose with a path or a glob after the revision"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Address;

    fn chosen(
        files: &[&str],
        card: Option<&str>,
        address: &str,
        config: &str,
        split: &str,
    ) -> Result<Vec<String>, String> {
        let listed =
            |path: &&str| Listed { path: (*path).to_owned(), size: 1, content: format!("git:{}", "0".repeat(40)) };
        let listing = Listing { files: files.iter().map(listed).collect(), card: card.map(str::to_owned) };
        let Some(Address::Hub(place)) = Address::read(address).unwrap() else { panic!("{address}") };
        let word = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let choice = Choice { config: word(config), split: word(split) };
        let found =
            choose(&listing, &place, &choice).map_err(|e| format!("{e}; {}", e.way_out().unwrap_or_default()))?;
        Ok(found.into_iter().map(|(name, _)| name).collect())
    }

    #[test]
    fn splits_are_found_as_datasets_finds_them() {
        let shards = ["README.md", "data/test-00000-of-00001.parquet", "data/train-00000-of-00002.parquet", "x.jsonl"];
        assert_eq!(chosen(&shards, None, "hf://datasets/a/b", "", "train").unwrap(), [shards[2]]);
        let folders = ["fr/train/a.jsonl.gz", "fr/test/a.jsonl", "other.csv"];
        assert_eq!(chosen(&folders, None, "hf://datasets/a/b", "", "train").unwrap(), [folders[0]]);
        let names = ["my-train_1.json", "dev.json", "contest.json", "dataset_infos.json"];
        assert_eq!(chosen(&names, None, "hf://datasets/a/b", "", "validation").unwrap(), ["dev.json"]);
        assert_eq!(chosen(&names, None, "hf://datasets/a/b", "", "train").unwrap(), ["my-train_1.json"]);
        let plain = ["a.jsonl", "b.parquet", "LICENSE", ".gitattributes"];
        assert_eq!(chosen(&plain, None, "hf://datasets/a/b", "", "train").unwrap(), ["a.jsonl", "b.parquet"]);
        let error = chosen(&shards, None, "hf://datasets/a/b", "", "tain").unwrap_err();
        assert!(error.contains("no split `tain`; there is `train`"), "{error}");
    }

    #[test]
    fn a_card_has_the_last_word() {
        let files = ["fr/a.jsonl", "fr/b.jsonl", "en/a.jsonl", "train.jsonl"];
        let card = "configs:\n- config_name: fr\n  data_files:\n  - {split: train, path: [fr/a.jsonl]}\n  \
            - {split: test, path: fr/b*}\n- config_name: en\n  data_files: en/*.jsonl\nlicense: mit\n";
        let with = |config, split| chosen(&files, Some(card), "hf://datasets/a/b", config, split);
        assert_eq!(with("fr", "").unwrap(), ["fr/a.jsonl", "fr/b.jsonl"]);
        assert_eq!(with("fr", "test").unwrap(), ["fr/b.jsonl"]);
        assert_eq!(with("en", "train").unwrap(), ["en/a.jsonl"]);
        assert!(with("", "").unwrap_err().contains("`fr`, `en`"));
        assert!(with("de", "").unwrap_err().contains("no configuration `de`"));
    }

    #[test]
    fn a_model_comes_without_the_weights_it_does_not_need() {
        let files =
            ["config.json", "model.safetensors", "pytorch_model.bin", "onnx/model.onnx", ".gitattributes", "q/a.gguf"];
        assert_eq!(chosen(&files, None, "hf://a/b", "", "").unwrap(), ["config.json", "model.safetensors"]);
        assert_eq!(chosen(&files, None, "hf://a/b/q/a.gguf", "", "").unwrap(), ["a.gguf"]);
        let error = chosen(&files, None, "hf://a/b/q/b.gguf", "", "").unwrap_err();
        assert!(error.contains("no file `q/b.gguf`") && error.contains("`q/a.gguf`"), "{error}");
    }

    #[test]
    fn names_that_some_machines_take_for_one_are_refused() {
        let error = chosen(&["A.jsonl", "a.jsonl"], None, "hf://datasets/a/b", "", "").unwrap_err();
        assert!(error.contains("`A.jsonl` and `a.jsonl`"), "{error}");
    }
}
