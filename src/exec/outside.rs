//! Sources that do not lie on this machine: which commit they are at, and what files they have there.
//!
//! A branch or a tag is resolved as cargo resolves a version: what the lockfile says stands, until the address in the
//! pipeline is another one or `--update` asks anew. The lockfile holds the digest of every file besides, so that nobody
//! has to be asked at all. What was resolved once stays so for the life of the process, whatever the hub says meanwhile:
//! the key, the download and the lockfile must mean the same commit.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::ExecError;
use super::locked;
use super::sources::SourceFile;
use crate::hub::{self, Access, Address, Choice, Client, Content, HubError, Place};
use crate::spec::lock::{Lock, LockedOrigin};
use crate::spec::params::SourceParams;

/// Sources outside, for one pipeline.
#[derive(Debug, Default)]
pub struct Outside {
    access: Access,
    lock_path: Option<PathBuf>,
    /// Whether branches and tags are resolved anew.
    update: bool,
    lock: OnceCell<Option<Lock>>,
    commits: RefCell<BTreeMap<String, String>>,
    found: RefCell<HashMap<(String, String), Rc<Remote>>>,
    /// Whether the hub did not answer somebody who asks once.
    silent: Cell<bool>,
}

/// A source outside.
#[derive(Debug)]
pub struct Remote {
    /// Its files.
    pub files: Vec<SourceFile>,
    /// Where on a hub it lies, and at which commit.
    pub origin: Option<LockedOrigin>,
    /// Whether its address means the same for ever.
    pub pinned: bool,
}

impl Outside {
    /// Returns what looks outside as the environment says, where `look` looks a variable up, for the pipeline whose
    /// lockfile lies at `lock`.
    pub fn of_environment(look: &dyn Fn(&str) -> Option<OsString>, lock: Option<PathBuf>) -> Self {
        Self { access: Access::of_environment(look), lock_path: lock, ..Self::default() }
    }

    /// Asks anew which commit a branch or a tag is.
    #[must_use]
    pub fn update(mut self) -> Self {
        self.update = true;
        self
    }

    /// Forbids the network.
    #[must_use]
    pub fn offline(mut self) -> Self {
        self.access.offline = true;
        self
    }

    /// Asks once, and nothing more of a hub that does not answer: for those who can do without.
    #[must_use]
    pub fn hasty(mut self) -> Self {
        self.access.make_haste();
        self
    }

    /// Says whether the network is forbidden.
    pub fn is_offline(&self) -> bool {
        self.access.offline
    }

    /// Finds the files of a source outside; nothing for one on this machine. Listings are kept in the folder `kept`.
    pub(super) fn find(&self, node: &str, params: &SourceParams, kept: &Path) -> Result<Option<Rc<Remote>>, ExecError> {
        let Some(pattern) = address(params) else { return Ok(None) };
        let failed = |error: HubError| ExecError::Outside { node: node.into(), why: error };
        let Some(address) = Address::read(pattern).map_err(failed)? else { return Ok(None) };
        let asked = asked(&address, params);
        let key = (node.to_owned(), asked.clone());
        if let Some(found) = self.found.borrow().get(&key) {
            return Ok(Some(Rc::clone(found)));
        }
        let remote = match address {
            Address::Url(url) => Self::file(&url, params).map_err(failed)?,
            Address::Hub(place) => self.repository(node, &place, asked, params, kept).map_err(|error| {
                self.silent.set(self.silent.get() || self.access.is_hasty() && error.may_pass());
                failed(error)
            })?,
        };
        let remote = Rc::new(remote);
        self.found.borrow_mut().insert(key, Rc::clone(&remote));
        Ok(Some(remote))
    }

    fn file(url: &str, params: &SourceParams) -> Result<Remote, HubError> {
        let digest = params.digest.as_deref().unwrap_or_default();
        let content: Content = digest.parse().map_err(|_| hub::no_digest(url))?;
        let name = hub::name_of_url(url)?;
        let files = vec![source_file(name, &Address::Url(url.to_owned()), content, 0)];
        Ok(Remote { files, origin: None, pinned: true })
    }

    fn repository(
        &self,
        node: &str,
        place: &Place,
        asked: String,
        params: &SourceParams,
        kept: &Path,
    ) -> Result<Remote, HubError> {
        let pinned = place.commit().is_some();
        if let Some(files) = self.locked_files(node, place, &asked) {
            return Ok(files);
        }
        let never = || false;
        let mut access = self.access.clone();
        access.offline |= self.silent.get();
        let client = Client::new(&access, &never);
        let commit = match place.commit() {
            Some(commit) => commit.to_owned(),
            None => self.commit(&client, place)?,
        };
        let at = place.at(&commit);
        let listing = hub::list(&client, Some(kept), &at)?;
        let choice = Choice { config: params.config.clone(), split: params.split.clone() };
        let mut files = Vec::new();
        for (name, listed) in hub::choose(&listing, &at, &choice)? {
            let content: Content = listed.content.parse().map_err(|_| hub::no_digest(&listed.path))?;
            files.push(source_file(name, &Address::Hub(at.file(&listed.path)), content, listed.size));
        }
        Ok(Remote { files, origin: Some(LockedOrigin { from: asked, commit }), pinned })
    }

    /// Returns which commit a branch or a tag is: as another look, the lockfile or the hub has it.
    fn commit(&self, client: &Client<'_>, place: &Place) -> Result<String, HubError> {
        let whole = place.whole().to_string();
        if let Some(commit) = self.commits.borrow().get(&whole) {
            return Ok(commit.clone());
        }
        let commit = match self.locked_commit(&whole) {
            Some(commit) => commit,
            None => hub::commit_of(client, place)?,
        };
        self.commits.borrow_mut().insert(whole, commit.clone());
        Ok(commit)
    }

    fn lock(&self) -> Option<&Lock> {
        let read = || self.lock_path.as_ref().and_then(|path| locked::read(path).ok().flatten());
        self.lock.get_or_init(read).as_ref()
    }

    /// Returns the commit at which any node of the lockfile has this repository and revision.
    fn locked_commit(&self, whole: &str) -> Option<String> {
        let lock = self.lock().filter(|_| !self.update)?;
        let origins = lock.nodes.keys().filter_map(|name| lock.node(name)?.origin);
        let same = |origin: &LockedOrigin| match Address::read(origin.from.split('#').next().unwrap_or_default()) {
            Ok(Some(Address::Hub(place))) => place.whole().to_string() == whole,
            _ => false,
        };
        origins.into_iter().find(same).map(|origin| origin.commit)
    }

    /// Returns what the lockfile has of a node, if it is about the same address.
    fn locked_files(&self, node: &str, place: &Place, asked: &str) -> Option<Remote> {
        let pinned = place.commit().is_some();
        let locked = self.lock().filter(|_| pinned || !self.update)?.node(node)?;
        let origin =
            locked.origin.filter(|origin| origin.from == asked && place.at(&origin.commit).commit().is_some())?;
        let at = place.at(&origin.commit);
        let mut files = Vec::new();
        for (name, content) in &locked.files {
            let content: Content = content.parse().ok()?;
            files.push(source_file(name.clone(), &Address::Hub(at.file(&hub::path_of(&at, name))), content, 0));
        }
        self.commits.borrow_mut().insert(place.whole().to_string(), origin.commit.clone());
        (!files.is_empty()).then_some(Remote { files, origin: Some(origin), pinned })
    }
}

/// Returns what a source names.
fn address(params: &SourceParams) -> Option<&str> {
    params.dataset.as_deref().or(params.model.as_deref()).or(params.adapter.as_deref())
}

/// Says whether a source does not lie on this machine.
pub(super) fn is_outside(params: &SourceParams) -> bool {
    address(params)
        .is_some_and(|pattern| ["hf://", "https://", "http://"].iter().any(|start| pattern.starts_with(start)))
}

/// What is asked of a hub, as the lockfile has it.
fn asked(address: &Address, params: &SourceParams) -> String {
    let choice: Vec<&str> =
        [&params.config, &params.split].into_iter().map(|word| word.as_deref().unwrap_or_default()).collect();
    let choice = choice.join("/");
    if choice == "/" { address.to_string() } else { format!("{address}#{choice}") }
}

fn source_file(name: String, address: &Address, content: Content, size: u64) -> SourceFile {
    SourceFile {
        name,
        path: PathBuf::from(address.to_string()),
        digest: content.digest(),
        size,
        content: Some(content),
    }
}
