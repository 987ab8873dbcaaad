//! `luthflow node-worker`: the child process that runs one node.
//!
//! Its standard input is a life line: after the request nothing is written there, and when it ends, the parent is gone
//! or wants the node to stop. The node gets a few seconds to notice.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::exit::Exit;
use super::report::CliError;
use crate::exec::child;

/// How long a node may take to notice that it is no longer wanted.
const GRACE: Duration = Duration::from_secs(2);

pub(super) fn run() -> Result<Exit, CliError> {
    let mut request = String::new();
    std::io::stdin().read_line(&mut request)?;
    let cancelled = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&cancelled);
    std::thread::Builder::new().name("life line".into()).spawn(move || {
        let mut buffer = [0; 64];
        while std::io::stdin().read(&mut buffer).is_ok_and(|count| count > 0) {}
        flag.store(true, Ordering::Relaxed);
        std::thread::sleep(GRACE);
        end();
    })?;
    child::serve(&request, std::io::stdout(), &|name| std::env::var_os(name), &cancelled)?;
    Ok(Exit::Success)
}

#[expect(clippy::exit, reason = "the node did not notice in time, and there is nothing left to tidy up")]
fn end() {
    std::process::exit(i32::from(Exit::Interrupted.code()));
}
