//! The parent's side of one child process: started, listened to, and ended with all it has started.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::child::{Answer, Message, Request};

/// How the scheduler reaches a child that another thread listens to.
#[derive(Debug, Default)]
pub struct Control {
    stop: AtomicBool,
    /// The child's standard input: it runs as long as this stays open.
    hold: Mutex<Option<ChildStdin>>,
    /// The process group of the child while it runs, or 0.
    group: AtomicI32,
}

impl Control {
    /// Asks the child to end, now or as soon as it starts.
    pub fn ask(&self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(self.hold().take());
    }

    /// Says whether the child was asked to end.
    pub fn is_asked(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Ends the child and all it has started, at once.
    pub fn kill(&self) {
        #[cfg(unix)]
        if let Some(group) = rustix::process::Pid::from_raw(self.group.load(Ordering::SeqCst)) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }

    /// Hands the request over and keeps the line open.
    fn begin(&self, child: &mut Child, request: &[u8]) {
        self.group.store(i32::try_from(child.id()).unwrap_or(0), Ordering::SeqCst);
        let mut line = child.stdin.take();
        // A child that is gone before it has read has no answer, and that is told.
        let _ = line.as_mut().map(|line| line.write_all(request));
        *self.hold() = line;
        if self.is_asked() {
            self.ask();
        }
    }

    fn hold(&self) -> std::sync::MutexGuard<'_, Option<ChildStdin>> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs `program` on a request until it ends, and returns its answer and how long it took. `said` hears its progress, and
/// `log` takes its standard error.
pub fn execute(
    program: &Path,
    request: &Request,
    environment: &[(String, String)],
    log: &Path,
    control: &Control,
    said: &mut dyn FnMut(Message),
) -> std::io::Result<(Answer, Duration)> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    let log = fs_err::File::create(log)?;
    let mut command = Command::new(program);
    command
        .arg("node-worker")
        .env("RAYON_NUM_THREADS", request.threads.to_string())
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::from(log.into_file()));
    // Ctrl-C reaches the whole foreground group: the child must hear of it from its parent alone.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let started = Instant::now();
    let mut child = command.spawn()?;
    control.begin(&mut child, &line);
    let spoken = listen(&mut child, said);
    // Its output has ended, and so has the child or is about to. What it started must not outlive it. As long as it is
    // not waited for, its number is its own.
    control.kill();
    let status = child.wait();
    control.group.store(0, Ordering::SeqCst);
    let answer = spoken.unwrap_or_else(|| no_answer(status));
    Ok((answer, started.elapsed()))
}

/// Hears the child out, and returns its answer.
fn listen(child: &mut Child, said: &mut dyn FnMut(Message)) -> Option<Answer> {
    let mut spoken = None;
    for line in BufReader::new(child.stdout.take()?).lines() {
        let Ok(line) = line else { break };
        match serde_json::from_str(&line) {
            Ok(Message::Answer(answer)) => spoken = Some(answer),
            Ok(message) => said(message),
            // Something else than the protocol: a library that prints. It is not for the scheduler.
            Err(_) => {}
        }
    }
    spoken
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
