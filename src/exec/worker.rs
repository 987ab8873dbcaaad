//! The parent's side of running a node: one child process, watched by one thread.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use super::child::{Answer, Message, Request};
use crate::plan::InstanceId;

/// What a watching thread tells the scheduler.
#[derive(Debug)]
pub enum Report {
    /// The child said something.
    Said(InstanceId, Message),
    /// The child ended.
    Ended(InstanceId, Answer, Duration),
}

/// A running child. Dropping `hold` asks it to stop.
#[derive(Debug)]
pub struct Worker {
    /// The child's standard input: open as long as the node is wanted.
    pub hold: ChildStdin,
}

/// Where a node's request, result and log lie.
#[derive(Debug, Clone)]
pub struct WorkerFiles {
    /// What the child is asked.
    pub request: PathBuf,
    /// What it answers.
    pub result: PathBuf,
    /// Its standard error.
    pub log: PathBuf,
}

/// Starts `program` on a request and a thread that watches it.
pub fn start(
    program: &Path,
    id: InstanceId,
    request: &Request,
    files: &WorkerFiles,
    reports: Sender<Report>,
) -> std::io::Result<Worker> {
    fs_err::write(&files.request, serde_json::to_vec_pretty(request)?)?;
    let _ = fs_err::remove_file(&files.result);
    let log = fs_err::File::create(&files.log)?;
    let mut command = Command::new(program);
    command
        .arg("node-worker")
        .arg(&files.request)
        .env("RAYON_NUM_THREADS", request.threads.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::from(log.into_file()));
    // Ctrl-C reaches the whole foreground group: the child must hear of it from its parent alone.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let started = Instant::now();
    let mut child = command.spawn()?;
    let hold = child.stdin.take().ok_or_else(|| std::io::Error::other("the child has no standard input"))?;
    let result = files.result.clone();
    std::thread::Builder::new().name("watch".into()).spawn(move || {
        let answer = watch(&mut child, id, &result, &reports);
        // The scheduler may have given up; then nobody waits for the answer.
        let _ = reports.send(Report::Ended(id, answer, started.elapsed()));
    })?;
    Ok(Worker { hold })
}

fn watch(child: &mut Child, id: InstanceId, result: &Path, reports: &Sender<Report>) -> Answer {
    let mut spoken = None;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            let Ok(line) = line else { break };
            match serde_json::from_str(&line) {
                Ok(Message::Answer(answer)) => spoken = Some(answer),
                Ok(message) => drop(reports.send(Report::Said(id, message))),
                // Something else than the protocol: a library that prints. It is not for the scheduler.
                Err(_) => {}
            }
        }
    }
    let status = child.wait();
    let written = fs_err::read(result).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    written.or(spoken).unwrap_or_else(|| no_answer(status))
}

fn no_answer(status: std::io::Result<ExitStatus>) -> Answer {
    let killed = status.as_ref().is_ok_and(|status| ending(*status).contains("SIGKILL"));
    let help = if killed { "a SIGKILL mostly means that memory ran out" } else { "`luthflow log` shows what it wrote" };
    let error = match status {
        Ok(status) => format!("its process {} without an answer", ending(status)),
        Err(error) => format!("its process cannot be watched: {error}"),
    };
    Answer::Failed { error: vec![error], help: Some(help.into()) }
}

fn ending(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        let name = match signal {
            4 => " (SIGILL)",
            6 => " (SIGABRT)",
            7 => " (SIGBUS)",
            9 => " (SIGKILL)",
            11 => " (SIGSEGV)",
            15 => " (SIGTERM)",
            _ => "",
        };
        return format!("was ended by signal {signal}{name}");
    }
    format!("ended with {status}")
}
