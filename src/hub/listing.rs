//! What a commit of a repository holds: every file with its size and digest, without a byte of the files themselves.
//!
//! The answer for a commit never changes, so it is asked once and kept. Names come from outside and become file names
//! here, so those that would lie elsewhere than in the artifact are refused before anything else is done with them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::client::Asked;
use super::content::hex;
use super::{Client, Content, HubError, Place, RepoKind};
use crate::digest::Digest;

/// The most files that a repository may have.
const MOST_FILES: usize = 1_000_000;
/// The largest listing that is read back.
const LARGEST: u64 = 512 << 20;
/// The largest README that is looked at.
const LARGEST_CARD: u64 = 4 << 20;
/// The file that says which files make up which split.
const CARD: &str = "README.md";

/// A file of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its path in the repository.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// The digest of its content, as [`Content`] reads it.
    pub content: String,
}

/// What a commit holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Its files, by path.
    pub files: Vec<Listed>,
    /// What the card of a data set says about its files: the YAML at the top of its README.
    #[serde(default)]
    pub card: Option<String>,
}

/// An entry as the hub gives it.
#[derive(Deserialize)]
struct Entry {
    r#type: String,
    path: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    oid: String,
    lfs: Option<Large>,
}

#[derive(Deserialize)]
struct Large {
    oid: String,
    size: u64,
}

/// Asks which commit a branch or a tag is now.
pub fn commit_of(client: &Client<'_>, place: &Place) -> Result<String, HubError> {
    let url = format!("{}/api/{}", client.access.endpoint, place.repo().api_url());
    let page = page_of(client, place);
    let revision = place.revision.as_deref().unwrap_or("main");
    let what = format!("the {} {} at `{revision}`", place.kind.word(), place.id);
    let answer = client.text(&url, &Asked { what: what.clone(), page: &page });
    let (text, _) = answer.map_err(|error| missing(client, place, revision, error))?;
    let value: Value = serde_json::from_str(&text).map_err(|_| no_hub(&what))?;
    let commit = value["sha"].as_str().filter(|sha| place.at(sha).commit().is_some());
    Ok(commit.ok_or_else(|| no_hub(&what))?.to_owned())
}

/// Returns what a commit holds: as it is kept in the folder `kept`, or else as the hub says. `place` names a commit.
pub fn list(client: &Client<'_>, kept: Option<&Path>, place: &Place) -> Result<Listing, HubError> {
    let place = place.whole();
    if let Some(listing) = kept.and_then(|kept| known_listing(&client.access.endpoint, kept, &place)) {
        return Ok(listing);
    }
    let mut listing = Listing { files: files_of(client, &place)?, card: None };
    let card = listing.files.iter().find(|file| file.path == CARD && file.size <= LARGEST_CARD);
    if card.is_some() && place.kind == RepoKind::Dataset {
        listing.card = card_of(client, &place)?;
    }
    if let Some(kept) = kept {
        // Only a shortcut: what cannot be kept is asked again.
        let _ = keep(&client.access.endpoint, kept, &place, &listing);
    }
    Ok(listing)
}

/// Returns what a commit holds if that was asked before.
pub fn known_listing(endpoint: &str, kept: &Path, place: &Place) -> Option<Listing> {
    let mut bytes = Vec::new();
    let file = fs_err::File::open(kept.join(name_of(endpoint, place))).ok()?;
    file.take(LARGEST).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn keep(endpoint: &str, kept: &Path, place: &Place, listing: &Listing) -> std::io::Result<()> {
    // Looking at a pipeline makes no cache where there is none.
    if !kept.parent().is_some_and(Path::is_dir) {
        return Ok(());
    }
    fs_err::create_dir_all(kept)?;
    let mut draft = tempfile::NamedTempFile::new_in(kept)?;
    draft.write_all(&serde_json::to_vec(listing)?)?;
    draft.persist(kept.join(name_of(endpoint, place)))?;
    Ok(())
}

fn name_of(endpoint: &str, place: &Place) -> String {
    Digest::of(format!("hub listing 1\n{endpoint}\n{}", place.whole()).as_bytes()).hex()
}

fn files_of(client: &Client<'_>, place: &Place) -> Result<Vec<Listed>, HubError> {
    let revision = place.repo().url_revision();
    let mut next = Some(format!(
        "{}/api/{}/{}/tree/{revision}?recursive=true&expand=false",
        client.access.endpoint,
        place.kind.plural(),
        place.id
    ));
    let what = format!("the list of files of the {} {}", place.kind.word(), place.id);
    let page = page_of(client, place);
    let mut files: BTreeMap<String, Listed> = BTreeMap::new();
    let mut pages = 0;
    while let Some(url) = next.take() {
        let answer = client.text(&url, &Asked { what: what.clone(), page: &page });
        let (text, following) =
            answer.map_err(|error| missing(client, place, place.revision.as_deref().unwrap_or("main"), error))?;
        let entries: Vec<Entry> = serde_json::from_str(&text).map_err(|_| no_hub(&what))?;
        for entry in entries.into_iter().filter(|entry| entry.r#type == "file") {
            let (content, size) = match entry.lfs {
                Some(large) => (format!("sha256:{}", large.oid.trim_start_matches("sha256:")), large.size),
                None => (format!("git:{}", entry.oid), entry.size),
            };
            check_name(&entry.path).map_err(|why| HubError::new(format!("{what}: {why}")))?;
            content.parse::<Content>().map_err(|_| no_hub(&what))?;
            files.insert(entry.path.clone(), Listed { path: entry.path, size, content });
        }
        pages += 1;
        if files.len() > MOST_FILES || pages > MOST_FILES / 100 {
            return Err(HubError::new(format!("{what} has no end")));
        }
        next = following;
    }
    Ok(files.into_values().collect())
}

/// Refuses names that would not lie where they belong.
fn check_name(path: &str) -> Result<(), String> {
    let fits = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.len() <= 255
            && !part.chars().any(|c| c.is_control() || matches!(c, '\\' | ':'))
    };
    if path.len() <= 1024 && path.split('/').all(fits) {
        return Ok(());
    }
    Err(format!("it names a file {path:?}, which is no name inside a folder"))
}

/// Returns what a file at an address is to be called.
pub fn name_of_url(url: &str) -> Result<String, HubError> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let name = path.splitn(4, '/').nth(3).and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    check_name(name)
        .map_err(|_| HubError::new(format!("`{url}` names no file")).help("its path must end in a file name"))?;
    Ok(name.to_owned())
}

/// The YAML at the top of the README of a data set.
fn card_of(client: &Client<'_>, place: &Place) -> Result<Option<String>, HubError> {
    let what = format!("the card of the data set {}", place.id);
    let (text, _) =
        client.text(&file_url(&client.access.endpoint, place, CARD), &Asked { what, page: &page_of(client, place) })?;
    let text = text.replace("\r\n", "\n");
    let card = text.strip_prefix("---\n").and_then(|rest| Some(rest.split_once("\n---")?.0.to_owned()));
    Ok(card)
}

/// Returns where the bytes of a file are asked for.
pub(super) fn file_url(endpoint: &str, place: &Place, path: &str) -> String {
    let mut escaped = String::new();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.extend(["%", &hex(&[byte]).to_uppercase()]),
        }
    }
    let repo = place.repo();
    format!("{endpoint}/{}/resolve/{}/{escaped}", repo.url(), repo.url_revision())
}

/// Returns the page of a repository, for people.
pub(super) fn page_of(client: &Client<'_>, place: &Place) -> String {
    format!("{}/{}", client.access.endpoint, place.repo().url())
}

fn no_hub(what: &str) -> HubError {
    HubError::new(format!("{what}: the server answers something that no hub says")).help("is it a hub? See HF_ENDPOINT")
}

/// Adds what there is instead to an error about something that isn't there.
fn missing(client: &Client<'_>, place: &Place, revision: &str, error: HubError) -> HubError {
    if !error.is_absence() {
        return error;
    }
    let ask = |rest: String| {
        let url = format!("{}/api/{rest}", client.access.endpoint);
        let (text, _) = client.text(&url, &Asked { what: "the hub's names".into(), page: "x" }).ok()?;
        serde_json::from_str::<Value>(&text).ok()
    };
    let kind = place.kind.plural();
    if let Some(refs) = ask(format!("{kind}/{}/refs", place.id)) {
        let lists = ["branches", "tags"].map(|list| refs[list].as_array().cloned().unwrap_or_default()).concat();
        let names: Vec<&str> = lists.iter().filter_map(|entry| entry["name"].as_str()).collect();
        let text = format!("the {} {} has no revision `{revision}`", place.kind.word(), place.id);
        return HubError::new(text).help(instead(revision, &names));
    }
    let text = format!("there is no {} {} on the hub, or it is private", place.kind.word(), place.id);
    let owner = place.id.split('/').next().unwrap_or_default();
    let others = ask(format!("{kind}?author={owner}&limit=100")).unwrap_or_default();
    let names: Vec<&str> = others.as_array().into_iter().flatten().filter_map(|entry| entry["id"].as_str()).collect();
    HubError::new(text).help(format!("{}; a private one needs HF_TOKEN", instead(&place.id, &names)))
}

/// Names what may have been meant.
pub(super) fn instead(name: &str, known: &[&str]) -> String {
    let mut near: Vec<(usize, &str)> =
        known.iter().map(|known| (strsim::damerau_levenshtein(name, known), *known)).collect();
    near.sort_unstable();
    let shown = |c: char| !c.is_control();
    let names: Vec<String> = near
        .iter()
        .take(3)
        .map(|(_, name)| format!("`{}`", name.chars().filter(|c| shown(*c)).collect::<String>()))
        .collect();
    if names.is_empty() { "check the name".into() } else { format!("there is {}", names.join(", ")) }
}
