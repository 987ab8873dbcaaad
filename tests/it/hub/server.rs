//! A hub of our own, on this machine: the parts of the API that a download needs, and every way to misbehave.
//!
//! Two servers, as the real hub has them: one answers the API and sends small files itself; it sends who wants a large file
//! (in LFS) to the other, which must never see a token. Every request is remembered.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Files that lie in git itself, with what `git hash-object` says of them.
pub(crate) const CONFIG: (&str, &str) = ("{\"hidden_size\": 8}\n", "bc77bf8f7cdcf1bc3b843a77809edf1d1367b78e");
pub(crate) const CARD: (&str, &str) = (
    "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: fr/*.jsonl\n  - split: test\n    \
     path: held_out.jsonl\n---\n# Chats\n",
    "b04e1a38789239fe38101343b388ce7affc6808f",
);

/// What goes wrong with a request.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// This status, with these headers.
    Status(u16, &'static str),
    /// The connection is cut after so many bytes of the body.
    Cut(usize),
    /// Other bytes come, as many as they should be.
    Wrong,
    /// So many bytes come in a tenth of a second.
    Slow(usize),
    /// A page for people comes.
    Page,
}

#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) bytes: Vec<u8>,
    oid: String,
    large: bool,
}

#[derive(Default)]
pub(crate) struct State {
    url: String,
    /// By `datasets/OWNER/NAME` or `models/OWNER/NAME` and commit: the files.
    repos: BTreeMap<(String, String), Vec<(String, File)>>,
    /// By repository and branch: the commit.
    branches: BTreeMap<(String, String), String>,
    /// What goes wrong with requests whose line holds a text, and how often.
    faults: Vec<(String, Fault, usize)>,
    /// The token that repositories ask for.
    tokens: BTreeMap<String, &'static str>,
    /// `hub GET /path range=… token=…`.
    log: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct Hub {
    state: Arc<Mutex<State>>,
    pub(crate) url: String,
}

impl Hub {
    pub(crate) fn start() -> Self {
        let (hub, large) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let url = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let (url, other) = (url(&hub), url(&large));
        let state = Arc::new(Mutex::new(State { url: url.clone(), ..State::default() }));
        for (name, listener) in [("hub", hub), ("large", large)] {
            let (state, other) = (Arc::clone(&state), other.clone());
            std::thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let (state, other) = (Arc::clone(&state), other.clone());
                    std::thread::spawn(move || serve(name, stream, &state, &other));
                }
            });
        }
        Self { state, url }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Adds a commit with these files, and lets a branch lead to it.
    pub(crate) fn commit(&self, repo: &str, branch: &str, commit: &str, files: &[(&str, &[u8])]) {
        let file = |bytes: &[u8]| {
            let small = [CONFIG, CARD].into_iter().find(|(text, _)| text.as_bytes() == bytes);
            let sha: String = Sha256::digest(bytes).iter().fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            });
            File { bytes: bytes.to_vec(), oid: small.map_or(sha, |(_, oid)| oid.to_owned()), large: small.is_none() }
        };
        let files = files.iter().map(|(path, bytes)| ((*path).to_owned(), file(bytes))).collect();
        let mut state = self.state();
        state.repos.insert((repo.to_owned(), commit.to_owned()), files);
        state.branches.insert((repo.to_owned(), branch.to_owned()), commit.to_owned());
    }

    /// Lets requests whose line holds a text go wrong so many times.
    pub(crate) fn fail(&self, on: &str, fault: Fault, times: usize) {
        self.state().faults.push((on.to_owned(), fault, times));
    }

    pub(crate) fn demand_token(&self, repo: &str, token: &'static str) {
        self.state().tokens.insert(repo.to_owned(), token);
    }

    /// Returns the requests since the last look.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state().log)
    }
}

/// Answers one request and closes the connection.
fn serve(name: &str, mut stream: TcpStream, state: &Mutex<State>, other: &str) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(line) = lines.next() else { return };
    let headers: BTreeMap<String, String> = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned())))
        .collect();
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let from = headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let token = headers.get("authorization").cloned().unwrap_or_default();
    let said = format!("{name} {path} from={} {token}", from.unwrap_or(0));
    let mut state = state.lock().unwrap();
    state.log.push(said.clone());
    let fault = state.faults.iter_mut().find(|(on, _, times)| *times > 0 && said.contains(on));
    let fault = fault.map(|(_, fault, times)| {
        *times -= 1;
        fault.clone()
    });
    let (mut head, mut body) = match &fault {
        Some(Fault::Status(status, headers)) => (format!("{status} Fault\r\n{headers}"), b"{}".to_vec()),
        Some(Fault::Page) => ("200 OK\r\n".into(), b"<html>hello</html>".to_vec()),
        _ => answer(&state, &path, &token, other),
    };
    drop(state);
    if let Some(from) = from.filter(|_| head.starts_with("200")) {
        let whole = body.len();
        let body_from = body.split_off(from.min(whole));
        head = if from >= whole {
            body = Vec::new();
            format!("416 Range\r\nContent-Range: bytes */{whole}\r\n")
        } else {
            body = body_from;
            head.replace("200 OK", "206 Part") + &format!("Content-Range: bytes {from}-{}/{whole}\r\n", whole - 1)
        };
    }
    if matches!(fault, Some(Fault::Wrong)) {
        for byte in &mut body {
            *byte ^= 1;
        }
    }
    let _ = write!(stream, "HTTP/1.1 {head}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    match fault {
        Some(Fault::Cut(after)) => drop(stream.write_all(&body[..after.min(body.len())])),
        Some(Fault::Slow(block)) => {
            for block in body.chunks(block) {
                if stream.write_all(block).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        _ => drop(stream.write_all(&body)),
    }
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.read(&mut [0; 1]);
}

fn answer(state: &State, path: &str, token: &str, other: &str) -> (String, Vec<u8>) {
    let ok = |value: Value| ("200 OK\r\nContent-Type: application/json\r\n".to_owned(), value.to_string().into_bytes());
    let no = |status: &str, code: &str| (format!("{status}\r\nX-Error-Code: {code}\r\n"), b"{}".to_vec());
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    if let Some(oid) = path.strip_prefix("/lfs/") {
        let mut files = state.repos.values().flatten();
        let file = files.find(|(_, file)| file.oid == oid).map(|(_, file)| file.bytes.clone());
        return ("200 OK\r\n".into(), file.unwrap());
    }
    let api = path.strip_prefix("/api/");
    let parts: Vec<&str> = api.unwrap_or(path).trim_start_matches('/').split('/').collect();
    // `datasets?author=…`
    if let (Some(_), [kind]) = (api, &*parts) {
        let ids = state.branches.keys().filter_map(|(repo, _)| repo.strip_prefix(&format!("{kind}/")));
        return ok(ids.map(|id| json!({"id": id})).collect());
    }
    let (repo, rest) = match (api, &*parts) {
        (Some(_), [kind, owner, name, rest @ ..]) => (format!("{kind}/{owner}/{name}"), rest),
        (None, ["datasets", owner, name, rest @ ..]) => (format!("datasets/{owner}/{name}"), rest),
        (None, [owner, name, rest @ ..]) => (format!("models/{owner}/{name}"), rest),
        _ => return no("404 Not Found", ""),
    };
    match state.tokens.get(&repo) {
        Some(&"gated") => return no("403 Forbidden", "GatedRepo"),
        Some(wanted) if token.is_empty() || token != format!("Bearer {wanted}") => return no("401 No", "RepoNotFound"),
        _ => {}
    }
    if !state.branches.keys().any(|(known, _)| *known == repo) {
        return no("404 Not Found", "RepoNotFound");
    }
    let commit = |revision: &str| {
        let branch = state.branches.get(&(repo.clone(), revision.replace("%2F", "/"))).cloned();
        branch.or_else(|| state.repos.contains_key(&(repo.clone(), revision.to_owned())).then(|| revision.to_owned()))
    };
    match rest {
        ["refs"] => {
            let names =
                state.branches.keys().filter(|(known, _)| *known == repo).map(|(_, name)| json!({"name": name}));
            ok(json!({"branches": names.collect::<Vec<_>>(), "tags": []}))
        }
        ["revision", revision] => commit(revision)
            .map_or_else(|| no("404 Not Found", "RevisionNotFound"), |sha| ok(json!({"id": repo, "sha": sha}))),
        ["tree", revision] => match commit(revision) {
            Some(sha) => tree(&state.repos[&(repo, sha)], &format!("{}{path}", state.url), query),
            None => no("404 Not Found", "RevisionNotFound"),
        },
        ["resolve", revision, file @ ..] => {
            let Some(sha) = commit(revision) else { return no("404 Not Found", "RevisionNotFound") };
            let files = &state.repos[&(repo, sha.clone())];
            let file = file.join("/").replace("%20", " ").replace("%C3%A9", "é");
            match files.iter().find(|(path, _)| *path == file) {
                None => no("404 Not Found", "EntryNotFound"),
                Some((_, file)) if file.large => {
                    let to = format!("{other}/lfs/{}?signed=yes", file.oid);
                    (format!("302 Found\r\nX-Repo-Commit: {sha}\r\nLocation: {to}\r\n"), Vec::new())
                }
                Some((_, file)) => (format!("200 OK\r\nETag: \"{}\"\r\n", file.oid), file.bytes.clone()),
            }
        }
        _ => no("404 Not Found", ""),
    }
}

/// Two entries a page.
fn tree(files: &[(String, File)], path: &str, query: &str) -> (String, Vec<u8>) {
    let at: usize = query.split('&').find_map(|pair| pair.strip_prefix("cursor=")?.parse().ok()).unwrap_or(0);
    let entry = |(path, file): &(String, File)| {
        if file.large {
            json!({"type": "file", "oid": "0".repeat(40), "size": file.bytes.len(), "path": path,
                "lfs": {"oid": file.oid, "size": file.bytes.len(), "pointerSize": 130}})
        } else {
            json!({"type": "file", "oid": file.oid, "size": file.bytes.len(), "path": path})
        }
    };
    let mut entries: Vec<Value> = files.iter().skip(at).take(2).map(entry).collect();
    entries.push(json!({"type": "directory", "oid": "1".repeat(40), "size": 0, "path": "folder"}));
    let more = at + 2 < files.len();
    let link = format!("Link: <{path}?recursive=true&cursor={}>; rel=\"next\"\r\n", at + 2);
    let head = format!("200 OK\r\n{}", if more { link } else { String::new() });
    (head, Value::Array(entries).to_string().into_bytes())
}
