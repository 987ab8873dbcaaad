//! Remote stores: a folder, and a real S3-compatible server on loopback with its connections cut, its bytes changed and
//! its doors closed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use luthflow::cache::{Action, Cache, CacheError, NewAction, Staging};
use luthflow::digest::Digest;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::cache::{entries, new_action, replace, verify, writer};
use super::world::World;

const SECRET: &str = "not a secret";

/// A server with one bucket, `bucket`, kept in a folder.
struct Server {
    folder: TempDir,
    address: String,
    /// How many more answers are cut off in the middle.
    cuts: Arc<AtomicUsize>,
}

impl Server {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        fs_err::create_dir(folder.path().join("bucket")).unwrap();
        let mut service = S3ServiceBuilder::new(FileSystem::new(folder.path()).unwrap());
        service.set_auth(SimpleAuth::from_single("me", SECRET));
        let service = service.build();
        let cuts = Arc::new(AtomicUsize::new(0));
        let (tell, told) = std::sync::mpsc::channel();
        let cutting = Arc::clone(&cuts);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let outer = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(outer.local_addr().unwrap().to_string()).unwrap();
                let behind = inner.local_addr().unwrap();
                tokio::task::LocalSet::new()
                    .run_until(async {
                        tokio::task::spawn_local(async move {
                            loop {
                                let (socket, _) = inner.accept().await.unwrap();
                                let service = service.clone();
                                tokio::task::spawn_local(async move {
                                    let builder = Builder::new(TokioExecutor::new());
                                    let _ = builder.serve_connection(TokioIo::new(socket), service).await;
                                });
                            }
                        });
                        loop {
                            let (client, _) = outer.accept().await.unwrap();
                            let server = TcpStream::connect(behind).await.unwrap();
                            tokio::task::spawn_local(relay(client, server, Arc::clone(&cutting)));
                        }
                    })
                    .await;
            });
        });
        Self { folder, address: told.recv().unwrap(), cuts }
    }

    fn settings(&self, secret: &str) -> Vec<(String, String)> {
        let endpoint = format!("http://{}", self.address);
        let pairs = [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_ACCESS_KEY_ID", "me"),
            ("AWS_SECRET_ACCESS_KEY", secret),
            ("AWS_REGION", "us-east-1"),
            ("AWS_PAGER", "less"),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    fn attach(&self, cache: &Cache) {
        cache.set_remote_with("s3://bucket/team/cache", &self.settings(SECRET)).unwrap();
    }

    fn files(&self, below: &str) -> Vec<PathBuf> {
        files(&self.folder.path().join("bucket/team/cache").join(below))
    }
}

/// Passes bytes on, and while there are cuts to make, ends an answer after its first 100,000 bytes.
async fn relay(client: TcpStream, server: TcpStream, cuts: Arc<AtomicUsize>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let there = async {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
    };
    let back = async {
        let (mut buffer, mut passed) = (vec![0; 16 << 10], 0);
        while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
            passed += count;
            let cut = |left: usize| left.checked_sub(1);
            if passed > 100_000 && cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, cut).is_ok() {
                break;
            }
            if to_client.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
    };
    // Whichever ends first closes both.
    tokio::select! { () = there => {}, () = back => {} }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs_err::read_dir(folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    // The server keeps notes of its own beside objects.
    found.retain(|path| {
        path.ancestors().all(|part| part.file_name().is_none_or(|n| !n.to_string_lossy().starts_with(".s3s")))
    });
    found.sort();
    found
}

/// Bytes that do not repeat.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

fn commit_with(cache: &Cache, name: &str, fill: impl Fn(&Staging)) -> Action {
    let staging = cache.begin(name).unwrap();
    fill(&staging);
    let outputs = vec![("all".to_owned(), String::new())];
    cache.commit(staging, NewAction { outputs, ..new_action(name) }).unwrap()
}

/// Small files, one twice, one empty; and one that goes in several parts.
fn several(cache: &Cache) -> Vec<Action> {
    let small = commit_with(cache, "small", |staging| {
        fs_err::create_dir_all(staging.path().join("a/b c")).unwrap();
        fs_err::write(staging.path().join("a/b c/é.txt"), "same").unwrap();
        fs_err::write(staging.path().join("copy"), "same").unwrap();
        fs_err::write(staging.path().join("empty"), "").unwrap();
    });
    let large = commit_with(cache, "large", |staging| {
        fs_err::write(staging.path().join("weights"), noise((20 << 20) + 17, 1)).unwrap();
        fs_err::write(staging.path().join("config"), "same").unwrap();
    });
    let nothing = commit_with(cache, "nothing else", |staging| fs_err::write(staging.path().join("x"), "x").unwrap());
    vec![small, large, nothing]
}

fn keys(actions: &[Action]) -> Vec<Digest> {
    actions.iter().map(|action| action.key).collect()
}

fn ignore(_done: u64, _total: u64) {}

fn there_and_back(attach: impl Fn(&Cache)) {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let cache = writer(here.path());
    attach(&cache);
    let actions = several(&cache);
    let (mut last, mut total) = (0, 0);
    let report = cache.push(&keys(&actions), &mut |done, all| (last, total) = (done, all)).unwrap();
    assert_eq!((report.actions, report.sent, report.there), (3, 4, 0));
    assert!(last == total && total == report.bytes && total > 20 << 20, "{last} of {total}");
    let again = cache.push(&keys(&actions), &mut ignore).unwrap();
    assert_eq!((again.sent, again.there, again.bytes), (0, 4, 0), "nothing goes twice");

    let other = writer(there.path());
    attach(&other);
    assert_eq!(other.fetch(&Digest::of(b"never made"), &mut ignore).unwrap(), None);
    let fetched = other.fetch(&actions[0].key, &mut ignore).unwrap();
    assert_eq!(fetched.as_ref(), Some(&actions[0]), "the record as it was made");
    (last, total) = (0, 0);
    let pulled = other.pull(None, &mut |done, all| (last, total) = (done, all)).unwrap();
    assert_eq!((pulled.actions, pulled.here, pulled.absent), (2, 1, vec![]));
    assert_eq!(last, total);
    for action in &actions {
        assert_eq!(other.action(&action.key).unwrap().as_ref(), Some(action));
        other.check(&action.artifact).unwrap();
    }
    assert_eq!(fs_err::read_to_string(other.artifact_path(&actions[0].artifact).join("a/b c/é.txt")).unwrap(), "same");
    assert!(verify(&other).is_clean() && entries(&there.path().join("incoming")).is_empty());
    let named = other.pull(Some(&[Digest::of(b"never made"), actions[1].key]), &mut ignore).unwrap();
    assert_eq!((named.here, named.absent), (1, vec![Digest::of(b"never made")]));
}

#[test]
fn a_server_gives_back_what_was_sent() {
    let server = Server::start();
    there_and_back(|cache| server.attach(cache));
    assert_eq!((server.files("blobs").len(), server.files("actions").len()), (4, 3));
}

#[test]
fn a_folder_gives_back_what_was_sent() {
    let folder = TempDir::new().unwrap();
    let url = format!("file://{}/a%20store", folder.path().display());
    there_and_back(|cache| cache.set_remote(&url).unwrap());
    assert_eq!(files(&folder.path().join("a store/blobs")).len(), 4);
}

#[test]
fn cut_connections_are_taken_up_again() {
    let server = Server::start();
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let cache = writer(here.path());
    server.attach(&cache);
    let actions = several(&cache);
    cache.push(&keys(&actions), &mut ignore).unwrap();
    let other = writer(there.path());
    server.attach(&other);
    server.cuts.store(3, Ordering::SeqCst);
    let fetched = other.fetch(&actions[1].key, &mut ignore).unwrap().unwrap();
    assert_eq!(server.cuts.load(Ordering::SeqCst), 0, "it was cut");
    other.check(&fetched.artifact).unwrap();
}

#[test]
fn a_pull_that_gives_up_keeps_what_was_sound() {
    let folder = TempDir::new().unwrap();
    let url = format!("file://{}", folder.path().display());
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let cache = writer(here.path());
    cache.set_remote(&url).unwrap();
    let action = commit_with(&cache, "two", |staging| {
        fs_err::write(staging.path().join("a"), "sound").unwrap();
        fs_err::write(staging.path().join("b"), "to be gone").unwrap();
    });
    cache.push(&[action.key], &mut ignore).unwrap();
    let sound = Digest::of(b"sound").hex();
    let gone = Digest::of(b"to be gone").hex();
    let blob = |hex: &str| folder.path().join("blobs").join(&hex[..2]).join(hex);
    let kept = fs_err::read(blob(&gone)).unwrap();
    fs_err::remove_file(blob(&gone)).unwrap();
    let other = writer(there.path());
    other.set_remote(&url).unwrap();
    let error = other.fetch(&action.key, &mut ignore).unwrap_err();
    assert!(matches!(&error, CacheError::RemoteDamaged { problem, .. } if problem.contains("missing")), "{error}");
    // The sound one is here now, and the store need not have it any more. It may not have come before the error.
    let came = there.path().join("incoming").join(&sound).exists();
    fs_err::write(blob(&gone), kept).unwrap();
    if came {
        fs_err::remove_file(blob(&sound)).unwrap();
    }
    assert_eq!(other.fetch(&action.key, &mut ignore).unwrap(), Some(action));
}

#[test]
fn a_store_that_lies_is_found_out_and_serves_nothing() {
    let folder = TempDir::new().unwrap();
    let url = format!("file://{}", folder.path().display());
    let here = TempDir::new().unwrap();
    let cache = writer(here.path());
    cache.set_remote(&url).unwrap();
    let action = commit_with(&cache, "one", |staging| {
        fs_err::write(staging.path().join("a"), noise(5000, 3)).unwrap();
    });
    cache.push(&[action.key], &mut ignore).unwrap();
    let (record, listing, blob) = (
        files(&folder.path().join("actions")),
        files(&folder.path().join("objects")),
        files(&folder.path().join("blobs")),
    );
    let flipped = |path: &Path| {
        let mut bytes = fs_err::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes
    };
    let cut = |path: &Path| fs_err::read(path).unwrap()[..10].to_vec();
    let longer = |path: &Path| [fs_err::read(path).unwrap(), vec![7; 9000]].concat();
    let escape = || {
        let digest = Digest::of(b"x").hex();
        format!(r#"{{"files":[{{"path":"../../escaped","size":1,"digest":"{digest}"}}]}}"#).into_bytes()
    };
    let lies = [
        (&record[0], flipped(&record[0])),
        (&record[0], cut(&record[0])),
        (&record[0], vec![b' '; (64 << 20) + 1]),
        (&listing[0], flipped(&listing[0])),
        (&listing[0], cut(&listing[0])),
        (&listing[0], escape()),
        (&listing[0], br#"{"files":[]}"#.to_vec()),
        (&blob[0], flipped(&blob[0])),
        (&blob[0], cut(&blob[0])),
        (&blob[0], longer(&blob[0])),
        (&blob[0], Vec::new()),
    ];
    for (number, (path, lie)) in lies.into_iter().enumerate() {
        let truth = fs_err::read(path).unwrap();
        replace(path, &lie);
        let there = TempDir::new().unwrap();
        let other = writer(there.path());
        other.set_remote(&url).unwrap();
        let error = other.fetch(&action.key, &mut ignore).unwrap_err();
        assert!(matches!(error, CacheError::RemoteDamaged { .. }), "lie {number}: {error}");
        assert!(error.to_string().contains(path.file_name().unwrap().to_str().unwrap()), "lie {number}: {error}");
        assert!(other.actions().unwrap().is_empty() && verify(&other).checked == 0, "lie {number}");
        assert!(files(&there.path().join("incoming")).is_empty() && !there.path().join("escaped").exists());
        // The truth is taken after all.
        replace(path, &truth);
        assert_eq!(other.fetch(&action.key, &mut ignore).unwrap().as_ref(), Some(&action), "lie {number}");
    }
}

#[test]
fn a_damaged_artifact_is_not_sent() {
    let folder = TempDir::new().unwrap();
    let here = TempDir::new().unwrap();
    let cache = writer(here.path());
    cache.set_remote(&format!("file://{}", folder.path().display())).unwrap();
    for size in [100, (9 << 20) + 1] {
        let action = commit_with(&cache, &size.to_string(), |staging| {
            fs_err::write(staging.path().join("file"), noise(size, 5)).unwrap();
        });
        replace(&cache.artifact_path(&action.artifact).join("file"), &noise(size, 6));
        let error = cache.push(&[action.key], &mut ignore).unwrap_err();
        assert!(matches!(&error, CacheError::Damaged { file, .. } if file == "file"), "{error}");
    }
    assert!(files(folder.path()).is_empty());
}

#[test]
fn closed_doors_are_told_apart() {
    let server = Server::start();
    let here = TempDir::new().unwrap();
    let cache = writer(here.path());
    let failed = |url: &str, settings: &[(String, String)]| {
        cache.set_remote_with(url, settings).unwrap();
        let error = cache.fetch(&Digest::of(b"key"), &mut ignore).unwrap_err();
        assert!(error.way_out().is_some(), "{error}");
        assert!(!error.to_string().contains("another secret"));
        error.to_string()
    };
    let denied = failed("s3://bucket/x", &server.settings("another secret"));
    assert!(denied.contains("403") && denied.contains("s3://bucket/x"), "{denied}");
    let nowhere = failed("s3://no-such-bucket/x", &server.settings(SECRET));
    assert!(nowhere.contains("NoSuchBucket") || nowhere.contains("404"), "{nowhere}");
    let mut dead = server.settings(SECRET);
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    dead[0].1 = format!("http://{free}");
    let dead = failed("s3://bucket/x", &dead);
    assert!(dead.contains("refused") || dead.contains("connect"), "{dead}");
}

/// Serves the files of a folder to whoever asks with GET or HEAD, and returns the address.
fn web_server(folder: PathBuf) -> String {
    use std::io::{BufRead as _, BufReader, Write as _};

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let lines = BufReader::new(socket.try_clone().unwrap()).lines();
            let lines: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let Some((method, rest)) = lines.first().and_then(|line| line.split_once(" /")) else { continue };
            let path = folder.join(rest.split(' ').next().unwrap());
            let (status, body) = match fs_err::read(path) {
                Ok(body) => ("200 OK", body),
                Err(_) => ("404 Not Found", Vec::new()),
            };
            let date = "Last-Modified: Sat, 21 Nov 2026 10:00:00 GMT";
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{date}\r\nConnection: close\r\n\r\n", body.len());
            let _ = socket.write_all(head.as_bytes());
            let _ = socket.write_all(if method == "HEAD" { &[] } else { &body });
        }
    });
    address
}

#[test]
fn a_web_server_can_be_read() {
    let (folder, here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let cache = writer(here.path());
    cache.set_remote(&format!("file://{}/store", folder.path().display())).unwrap();
    let actions = several(&cache);
    cache.push(&keys(&actions), &mut ignore).unwrap();
    let other = writer(there.path());
    other.set_remote(&format!("http://{}/store", web_server(folder.path().to_owned()))).unwrap();
    assert_eq!(other.fetch(&Digest::of(b"never made"), &mut ignore).unwrap(), None);
    let pulled = other.pull(Some(&keys(&actions)), &mut ignore).unwrap();
    assert_eq!((pulled.actions, pulled.absent), (3, vec![]));
    assert!(verify(&other).is_clean());
}

#[test]
fn threads_fetch_at_once() {
    let server = Server::start();
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let cache = writer(here.path());
    server.attach(&cache);
    let actions = several(&cache);
    cache.push(&keys(&actions), &mut ignore).unwrap();
    let other = writer(there.path());
    server.attach(&other);
    std::thread::scope(|scope| {
        for number in 0..6 {
            let (other, action) = (&other, &actions[number % 3]);
            scope.spawn(move || assert_eq!(other.fetch(&action.key, &mut ignore).unwrap().as_ref(), Some(action)));
        }
    });
    assert!(verify(&other).is_clean() && other.notices().is_empty());
}

#[test]
fn through_the_program_a_second_machine_gets_the_results_of_the_first() {
    let server = Server::start();
    let world = World::new();
    let run = |args: &[&str]| {
        let mut command = world.command(args);
        command.envs(server.settings(SECRET)).env("LUTHFLOW_REMOTE", "s3://bucket/p");
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    world.run_ok(&["english", "french"]);
    let (code, out, told) = run(&["cache", "push", "--json"]);
    assert_eq!(code, 0, "{told}");
    let sent: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&sent["results"], &sent["there"]), (&json!(4), &json!(0)), "{sent}");
    let (_, out, _) = run(&["cache", "push", "english", "--json"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&out).unwrap()["files"], 0);
    let (code, _, told) = run(&["cache", "pull", "--cache-dir", "other"]);
    assert!(code == 0 && told.contains("4 results brought in, 0 were here"), "{told}");
    assert_eq!(world.run_ok(&["english", "french", "--cache-dir", "other"]).ran, [""; 0]);
    assert_eq!(world.run(&["cache", "push"]).code, 2, "no remote store is named");
    assert_eq!(run(&["cache", "pull", "english"]).0, 2, "keys only");
}
