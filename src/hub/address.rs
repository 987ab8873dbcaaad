//! Where something lies outside: `hf://datasets/OWNER/NAME@REVISION/path`, `hf://OWNER/NAME@REVISION`, `https://…`.
//!
//! The words are those of `huggingface_hub`'s file system, so that an address can be pasted from Python. A revision that
//! is a whole commit never changes its meaning; a branch, a tag or none is resolved once and kept in the lockfile.

use std::fmt;

use hf_hub::{Repo, RepoType};

use super::HubError;

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RepoKind {
    /// A data set.
    Dataset,
    /// A model or an adapter.
    Model,
}

impl RepoKind {
    /// Returns the word in messages.
    pub fn word(self) -> &'static str {
        match self {
            RepoKind::Dataset => "data set",
            RepoKind::Model => "model",
        }
    }

    /// Returns the word in addresses of the API.
    pub(super) fn plural(self) -> &'static str {
        match self {
            RepoKind::Dataset => "datasets",
            RepoKind::Model => "models",
        }
    }
}

/// A place on a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What it holds.
    pub kind: RepoKind,
    /// `OWNER/NAME`.
    pub id: String,
    /// A commit, a branch or a tag; the main branch if there is none.
    pub revision: Option<String>,
    /// A file, a folder or a glob inside it.
    pub path: Option<String>,
}

/// Where something lies outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// On a hub.
    Hub(Place),
    /// Anywhere.
    Url(String),
}

impl Address {
    /// Reads an address; nothing for a path of this machine.
    pub fn read(text: &str) -> Result<Option<Self>, HubError> {
        if let Some(rest) = text.strip_prefix("hf://") {
            let place = Place::read(rest).map_err(|why| {
                let help =
                    "write `hf://datasets/OWNER/NAME@REVISION` or `hf://OWNER/NAME@REVISION`, and a path after it";
                HubError::new(format!("`{text}` is no address on a hub: {why}")).help(help)
            })?;
            return Ok(Some(Self::Hub(place)));
        }
        if text.starts_with("https://") || text.starts_with("http://") {
            return Ok(Some(Self::Url(text.to_owned())));
        }
        Ok(None)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Hub(place) => place.fmt(formatter),
            Address::Url(url) => formatter.write_str(url),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind == RepoKind::Dataset { "datasets/" } else { "" };
        write!(formatter, "hf://{kind}{}", self.id)?;
        if let Some(revision) = &self.revision {
            // The two kinds of reference with slashes in them that are read as they are.
            let shown = if special(revision) { revision.clone() } else { revision.replace('/', "%2F") };
            write!(formatter, "@{shown}")?;
        }
        self.path.as_ref().map_or(Ok(()), |path| write!(formatter, "/{path}"))
    }
}

impl Place {
    fn read(rest: &str) -> Result<Self, String> {
        let (kind, rest) = match rest.split_once('/') {
            Some(("datasets", rest)) => (RepoKind::Dataset, rest),
            Some(("models", rest)) => (RepoKind::Model, rest),
            Some(("spaces", _)) => return Err("a space holds neither data nor a model".into()),
            _ => (RepoKind::Model, rest),
        };
        // The first `@` that ends a repository: file names may hold one too.
        let head: String = rest.splitn(3, '/').take(2).collect::<Vec<_>>().join("/");
        let (id, revision, path) = match head.find('@') {
            Some(at) => {
                let (revision, path) = revision_and_path(&rest[at + 1..]);
                (&rest[..at], Some(revision), path)
            }
            None => (&*head, None, rest[head.len()..].strip_prefix('/')),
        };
        check_id(id)?;
        if revision.as_deref().is_some_and(|revision| !is_revision(revision)) {
            return Err("the revision after `@` is no commit, branch or tag".into());
        }
        let path = path.map(|path| path.trim_end_matches('/')).filter(|path| !path.is_empty());
        if path.is_some_and(|path| path.split('/').any(|part| matches!(part, "" | "." | ".."))) {
            return Err("the path holds `.`, `..` or nothing between two slashes".into());
        }
        let revision = revision.map(|revision| if is_commit(&revision) { revision.to_lowercase() } else { revision });
        Ok(Self { kind, id: id.to_owned(), revision, path: path.map(str::to_owned) })
    }

    /// Returns the commit, if the revision is one.
    pub fn commit(&self) -> Option<&str> {
        self.revision.as_deref().filter(|revision| is_commit(revision))
    }

    /// Returns the repository at another revision.
    #[must_use]
    pub fn at(&self, revision: &str) -> Self {
        Self { revision: Some(revision.to_owned()), ..self.clone() }
    }

    /// Returns the place of one file of the repository.
    #[must_use]
    pub fn file(&self, path: &str) -> Self {
        Self { path: Some(path.to_owned()), ..self.clone() }
    }

    /// Returns the repository without a path in it.
    #[must_use]
    pub fn whole(&self) -> Self {
        Self { path: None, ..self.clone() }
    }

    /// Returns the repository in the words of `hf-hub`.
    pub(super) fn repo(&self) -> Repo {
        let kind = if self.kind == RepoKind::Dataset { RepoType::Dataset } else { RepoType::Model };
        Repo::with_revision(self.id.clone(), kind, self.revision.clone().unwrap_or_else(|| "main".into()))
    }
}

/// Returns the error that something outside has no digest that it could be checked by.
pub fn no_digest(what: &str) -> HubError {
    let help = "set `digest` to `blake3:…` (as `b3sum` prints it) or `sha256:…` (as `sha256sum` does)";
    HubError::new(format!("{what} has no digest to check it by")).help(help)
}

/// Splits what follows `@`: `main/a/b`, `refs/convert/parquet/a`, `v1%2F2/a`.
fn revision_and_path(text: &str) -> (String, Option<&str>) {
    let slashes = if special(text) { 3 } else { 1 };
    let end = text.match_indices('/').nth(slashes - 1).map_or(text.len(), |(at, _)| at);
    let revision = text[..end].replace("%2F", "/").replace("%2f", "/");
    (revision, text[end..].strip_prefix('/'))
}

fn special(revision: &str) -> bool {
    revision.starts_with("refs/pr/") || revision.starts_with("refs/convert/")
}

fn check_id(id: &str) -> Result<(), String> {
    let fits = |part: &str| {
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !part.is_empty() && part.len() <= 96 && part.chars().all(known) && !part.contains("..") && part != "."
    };
    if id.split('/').count() <= 2 && id.split('/').all(fits) {
        return Ok(());
    }
    Err(format!("`{id}` is no name of a repository"))
}

fn is_revision(text: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '+');
    !text.is_empty() && text.len() <= 255 && text.chars().all(known) && !text.contains("..")
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_in_python_and_written_back() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        for (text, id, revision, path) in [
            ("hf://datasets/a/b", "a/b", None, None),
            ("hf://datasets/a/b@main", "a/b", Some("main"), None),
            ("hf://datasets/a/b@main/data/x@1.parquet", "a/b", Some("main"), Some("data/x@1.parquet")),
            ("hf://datasets/a/b/data/*.jsonl", "a/b", None, Some("data/*.jsonl")),
            ("hf://datasets/a/b@refs/convert/parquet/fr/x", "a/b", Some("refs/convert/parquet"), Some("fr/x")),
            ("hf://datasets/a/b@x%2Fy/z", "a/b", Some("x/y"), Some("z")),
            ("hf://datasets/squad@main", "squad", Some("main"), None),
            ("hf://Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B", None, None),
            ("hf://a/b/x@y.gguf", "a/b", None, Some("x@y.gguf")),
        ] {
            let Some(Address::Hub(place)) = Address::read(text).unwrap() else { panic!("{text}") };
            assert_eq!((&*place.id, place.revision.as_deref(), place.path.as_deref()), (id, revision, path), "{text}");
            assert_eq!(place.to_string(), text);
        }
        let Some(Address::Hub(pinned)) = Address::read(&format!("hf://a/b@{}", commit.to_uppercase())).unwrap() else {
            panic!("no place")
        };
        assert_eq!(pinned.commit(), Some(commit));
        assert_eq!(Address::read("data/x.jsonl").unwrap(), None);
    }

    #[test]
    fn what_would_climb_out_is_no_address() {
        for text in
            ["hf://", "hf://../x", "hf://a/b@", "hf://a/b@..", "hf://a/b@main/../c", "hf://a/b@m n", "hf://a/b//c"]
        {
            assert!(Address::read(text).is_err(), "{text}");
        }
        assert!(Address::read("hf://spaces/a/b").is_err());
    }
}
