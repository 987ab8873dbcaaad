//! Downloading: many files at once, each going on where it stopped, each compared with its digest before it has its name.
//!
//! What is not whole is called `<digest>.part` in a folder that outlives the process, so that a cut connection and a
//! kill -9 cost nothing but the bytes on the way. What is whole is compared again when it is found there: the machine may
//! have lost power.
//!
//! The threads are not waited for when the work is given up: one of them may sit in a read of a server that says
//! nothing. They notice before their next block, and the process ends with its node.

use std::collections::BTreeSet;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::client::{Answer, Asked, Client, TRIES, failed};
use super::listing::file_url;
use super::{Access, Address, Content, HubError};
use crate::digest::Digest;

/// How many files are downloaded at once.
const AT_ONCE: usize = 8;
/// How often it is looked whether to stop.
const GLANCE: Duration = Duration::from_millis(100);

/// A file to be fetched.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Where it lies; on a hub, at a commit.
    pub address: Address,
    /// What it must hold.
    pub content: Content,
}

impl Wanted {
    fn name(&self) -> String {
        Digest::of(self.content.to_string().as_bytes()).hex()
    }

    fn url(&self, access: &Access) -> String {
        match &self.address {
            Address::Url(url) => url.clone(),
            Address::Hub(place) => file_url(&access.endpoint, place, place.path.as_deref().unwrap_or_default()),
        }
    }

    /// Returns the page where a person asks for access; nothing if it is on no hub.
    fn page(&self, access: &Access) -> String {
        match &self.address {
            Address::Url(_) => String::new(),
            Address::Hub(place) => format!("{}/{}", access.endpoint, place.repo().url()),
        }
    }

    fn what(&self) -> String {
        match &self.address {
            Address::Url(url) => url.split('?').next().unwrap_or(url).to_owned(),
            Address::Hub(place) => format!("`{}` of {}", place.path.as_deref().unwrap_or_default(), place.id),
        }
    }
}

/// What all threads share.
struct Work {
    access: Access,
    folder: PathBuf,
    files: Vec<Wanted>,
    next: AtomicUsize,
    done: AtomicU64,
    stop: AtomicBool,
    sizes: Mutex<Sizes>,
}

/// The sizes that the server has told.
#[derive(Default)]
struct Sizes {
    known: usize,
    bytes: u64,
}

/// Fetches all files into `folder` and returns where each lies, in their order. `tell` hears how many bytes are here, and
/// of how many once all are known; `stop` is asked whether to go on.
pub fn fetch(
    access: &Access,
    files: Vec<Wanted>,
    folder: &Path,
    tell: &dyn Fn(u64, Option<u64>),
    stop: &dyn Fn() -> bool,
) -> Result<Vec<PathBuf>, HubError> {
    let mkdir = fs_err::create_dir_all(folder);
    mkdir.map_err(|error| on_disk(&error))?;
    let places: Vec<PathBuf> = files.iter().map(|file| folder.join(file.name())).collect();
    // Of files with the same content one is enough, and two threads must not write to it.
    let mut seen = BTreeSet::new();
    let files: Vec<Wanted> = files.into_iter().filter(|file| seen.insert(file.name())).collect();
    let count = files.len();
    let work = Arc::new(Work {
        access: access.clone(),
        folder: folder.to_path_buf(),
        files,
        next: AtomicUsize::new(0),
        done: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        sizes: Mutex::default(),
    });
    let (reports, inbox) = channel();
    for _ in 0..count.min(AT_ONCE) {
        let (work, reports) = (Arc::clone(&work), reports.clone());
        let thread = std::thread::Builder::new().name("fetch".into()).spawn(move || work.run(&reports));
        thread.map_err(|error| HubError::new(format!("no thread can be started: {error}")))?;
    }
    drop(reports);
    let result = listen(&work, &inbox, count, tell, stop);
    work.stop.store(true, Ordering::Relaxed);
    result.map(|()| places)
}

fn listen(
    work: &Work,
    inbox: &std::sync::mpsc::Receiver<Result<(), HubError>>,
    count: usize,
    tell: &dyn Fn(u64, Option<u64>),
    stop: &dyn Fn() -> bool,
) -> Result<(), HubError> {
    let mut left = count;
    while left > 0 {
        match inbox.recv_timeout(GLANCE) {
            Ok(result) => {
                result?;
                left -= 1;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(HubError::new("a download ended without a word")),
        }
        let total = {
            let sizes = work.sizes.lock().unwrap_or_else(PoisonError::into_inner);
            (sizes.known == count).then_some(sizes.bytes)
        };
        tell(work.done.load(Ordering::Relaxed), total);
        if stop() {
            return Err(HubError::new("interrupted"));
        }
    }
    Ok(())
}

impl Work {
    fn run(&self, reports: &Sender<Result<(), HubError>>) {
        let stop = || self.stop.load(Ordering::Relaxed);
        let client = Client::new(&self.access, &stop);
        while !stop() {
            let Some(file) = self.files.get(self.next.fetch_add(1, Ordering::Relaxed)) else { return };
            let result = self.bring(&client, file);
            if reports.send(result).is_err() {
                return;
            }
        }
    }

    /// Brings in one file, with tries again: one that got further is a new beginning.
    fn bring(&self, client: &Client<'_>, file: &Wanted) -> Result<(), HubError> {
        let whole = self.folder.join(file.name());
        let part = whole.with_extension("part");
        let matches = |path: &Path| file.content.is_of(path).map_err(|error| on_disk(&error));
        if whole.is_file() {
            if matches(&whole)? {
                let size = fs_err::metadata(&whole).map_err(|error| on_disk(&error))?.len();
                self.knows(size);
                self.done.fetch_add(size, Ordering::Relaxed);
                return Ok(());
            }
            fs_err::remove_file(&whole).map_err(|error| on_disk(&error))?;
        }
        client.access.demand_network(&file.what())?;
        let (mut tries, mut spoiled, mut sized) = (0, 0, false);
        loop {
            let before = length(&part);
            let error = match self.download(client, file, &part, &mut sized) {
                Ok(()) if matches(&part)? => break,
                Ok(()) => {
                    // Perhaps it was the part from before; not twice.
                    self.done.fetch_sub(length(&part), Ordering::Relaxed);
                    let _ = fs_err::remove_file(&part);
                    spoiled += 1;
                    if spoiled > 1 {
                        return Err(wrong(file));
                    }
                    continue;
                }
                Err(error) => error,
            };
            tries = if length(&part) > before { 0 } else { tries + 1 };
            if !error.may_pass() || tries >= TRIES {
                return Err(error);
            }
            client.wait(&error, tries)?;
        }
        fs_err::rename(&part, &whole).map_err(|error| on_disk(&error))
    }

    fn knows(&self, size: u64) {
        let mut sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        sizes.known += 1;
        sizes.bytes += size;
    }

    /// Downloads what is missing of a part.
    fn download(&self, client: &Client<'_>, file: &Wanted, part: &Path, sized: &mut bool) -> Result<(), HubError> {
        let (url, page) = (file.url(client.access), file.page(client.access));
        let asked = Asked { what: file.what(), page: &page };
        let mut from = length(part);
        let mut answer = client.once(&url, from, &asked)?;
        if from > 0 && answer.status() != 206 {
            // The server knows no ranges, or has no byte after these: both are told apart by the digest.
            if answer.status() == 416 {
                self.counted(sized, from);
                return Ok(());
            }
            from = 0;
        }
        if from > 0 && begins_at(&answer) != Some(from) {
            let _ = fs_err::remove_file(part);
            return Err(HubError::passing(format!("{}: the server sends another part than was asked for", asked.what)));
        }
        let body = answer.body().content_length();
        if let (Some(body), false) = (body, *sized) {
            *sized = true;
            self.knows(from + body);
            self.done.fetch_add(from, Ordering::Relaxed);
        }
        let mut to = fs_err::OpenOptions::new().create(true).truncate(false).write(true).open(part);
        let to = to.as_mut().map_err(|error| on_disk(error))?;
        to.set_len(from).and_then(|()| to.seek(SeekFrom::Start(from))).map_err(|error| on_disk(&error))?;
        let got = self.copy(&mut answer, to, &asked.what, &url)?;
        match body {
            Some(body) if got < body => {
                let text = format!("{}: the connection ended after {got} of {body} bytes", asked.what);
                Err(HubError::passing(text).help("run again: it goes on from there"))
            }
            _ => Ok(()),
        }
    }

    /// Counts a part that turned out to be whole.
    fn counted(&self, sized: &mut bool, size: u64) {
        if !std::mem::replace(sized, true) {
            self.knows(size);
            self.done.fetch_add(size, Ordering::Relaxed);
        }
    }

    fn copy(&self, answer: &mut Answer, to: &mut fs_err::File, what: &str, url: &str) -> Result<u64, HubError> {
        let mut from = answer.body_mut().with_config().limit(u64::MAX).reader();
        let mut block = vec![0; 1 << 16];
        let mut got = 0;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(HubError::new("interrupted"));
            }
            let read = from.read(&mut block).map_err(|error| failed(what, url, &ureq::Error::from(error)))?;
            if read == 0 {
                return Ok(got);
            }
            to.write_all(&block[..read]).map_err(|error| on_disk(&error))?;
            got += read as u64;
            self.done.fetch_add(read as u64, Ordering::Relaxed);
        }
    }
}

fn length(path: &Path) -> u64 {
    fs_err::metadata(path).map_or(0, |found| found.len())
}

/// Reads `Content-Range: bytes 10-19/20`.
fn begins_at(answer: &Answer) -> Option<u64> {
    let range = answer.headers().get("content-range")?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

fn wrong(file: &Wanted) -> HubError {
    let text = format!("{}: what the server sends is not what {} stands for", file.what(), file.content);
    HubError::new(text).help(match file.address {
        Address::Url(_) => "the file changed, or something on the way changes it: check it, then set `digest` anew",
        Address::Hub(_) => "something on the way changes it, or the hub is broken: try another network",
    })
}

/// Says what a failure to write means.
fn on_disk(error: &std::io::Error) -> HubError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            HubError::new(format!("the disk is full: {error}"))
                .help("make room (`luthflow cache gc` helps) and run again: what was fetched stays")
        }
        _ => HubError::new(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_said_to_be_full() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert!(on_disk(&full).to_string().starts_with("the disk is full"));
        assert!(on_disk(&full).way_out().unwrap().contains("what was fetched stays"));
    }
}
