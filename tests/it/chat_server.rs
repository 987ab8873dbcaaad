//! A small server with OpenAI's chat interface that can misbehave, and counts.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What the server does about a request.
pub(crate) enum Does {
    /// It says this.
    Says(String),
    /// It says this and ends with a reason.
    Ends(String, &'static str),
    /// It refuses, with more header lines and a body.
    Refuses(u16, &'static str, String),
    /// It breaks off in the middle of the answer.
    Cuts,
    /// It takes so long.
    Dozes(Duration),
    /// It says something that is no answer.
    Babbles(&'static str),
    /// It says nothing until it is let go.
    Hangs,
}

/// A request as it came.
#[derive(Clone)]
pub(crate) struct Came {
    pub(crate) body: Value,
    pub(crate) path: String,
    pub(crate) authorization: String,
    pub(crate) at: Instant,
    /// Whether an answer went out.
    pub(crate) answered: bool,
}

impl Came {
    /// What the user said last.
    pub(crate) fn said(&self) -> &str {
        self.body["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap()
    }
}

type Plan = dyn Fn(&Came, usize) -> Does + Send + Sync;

pub(crate) struct Server {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Came>>>,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl Server {
    /// Starts a server that does as `plan` says of a request and of how often the same came before.
    pub(crate) fn start(plan: impl Fn(&Came, usize) -> Does + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Came>>> = Arc::default();
        let gate: Arc<(Mutex<bool>, Condvar)> = Arc::default();
        let (shared, closed, plan) = (Arc::clone(&seen), Arc::clone(&gate), Arc::new(plan));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, gate, plan) = (Arc::clone(&shared), Arc::clone(&closed), Arc::clone(&plan));
                // Whoever goes away in the middle is no concern of the others.
                std::thread::spawn(move || serve(stream.unwrap(), &seen, &gate, &*plan));
            }
        });
        Self { url, seen, gate }
    }

    /// Starts a server that repeats what the user said, in capitals.
    pub(crate) fn echo() -> Self {
        Self::start(|came, _| Does::Says(came.said().to_uppercase()))
    }

    pub(crate) fn seen(&self) -> Vec<Came> {
        self.seen.lock().unwrap().clone()
    }

    /// Lets go of what hangs, now and later.
    pub(crate) fn let_go(&self) {
        *self.gate.0.lock().unwrap() = true;
        self.gate.1.notify_all();
    }

    /// How often each request was answered.
    pub(crate) fn answered(&self) -> BTreeMap<String, usize> {
        let mut count = BTreeMap::new();
        for came in self.seen().iter().filter(|came| came.answered) {
            *count.entry(came.body.to_string()).or_default() += 1;
        }
        count
    }
}

fn serve(stream: TcpStream, seen: &Mutex<Vec<Came>>, gate: &(Mutex<bool>, Condvar), plan: &Plan) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let came = read(&mut reader)?;
        let (place, before) = {
            let mut seen = seen.lock().unwrap();
            let before = seen.iter().filter(|other| other.body == came.body).count();
            seen.push(came.clone());
            (seen.len() - 1, before)
        };
        let (text, reason) = match plan(&came, before) {
            Does::Says(text) => (text, "stop"),
            Does::Ends(text, reason) => (text, reason),
            Does::Refuses(status, headers, body) => {
                let length = body.len();
                write!(stream, "HTTP/1.1 {status} No\r\n{headers}content-length: {length}\r\n\r\n{body}").ok()?;
                continue;
            }
            Does::Cuts => {
                write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{{\"choices\": [").ok()?;
                return None;
            }
            Does::Dozes(time) => {
                std::thread::sleep(time);
                ("too late".into(), "stop")
            }
            Does::Babbles(text) => {
                write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()).ok()?;
                continue;
            }
            Does::Hangs => {
                let open = gate.1.wait_while(gate.0.lock().unwrap(), |open| !*open).unwrap();
                drop(open);
                (came.said().to_uppercase(), "stop")
            }
        };
        let usage = json!({"prompt_tokens": came.said().len(), "completion_tokens": text.len()});
        let message = json!({"role": "assistant", "content": text});
        let body = json!({"choices": [{"index": 0, "message": message, "finish_reason": reason}], "usage": usage});
        let body = body.to_string();
        // Noted first: who has the answer may ask at once.
        seen.lock().unwrap()[place].answered = true;
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).ok()?;
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Came> {
    let (mut first, mut length, mut authorization) = (String::new(), 0, String::new());
    reader.read_line(&mut first).ok().filter(|count| *count > 0)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "authorization" => value.trim().clone_into(&mut authorization),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let body = serde_json::from_slice(&body).unwrap();
    Some(Came { body, path, authorization, at: Instant::now(), answered: false })
}
