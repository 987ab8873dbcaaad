//! `kind: command`: runs any program in a folder of its own and takes what it was to leave there.
//!
//! The program sees what was declared and nothing else that luthflow could keep from it: an empty folder with the
//! declared files, the paths of its inputs in its arguments, and an environment of its own. What it leaves beside its
//! outputs is an error rather than thrown away: it may be what the next program needs, or a sign that it wrote where it
//! should not. Nothing keeps it from reading other files by their absolute path, or from the network; that is between
//! the user and the program.
//!
//! It runs in the process group of this worker, so that whoever ends the group ends it with all it has started.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fs_err as fs;

use super::{OpCx, OpError, Outcome};
use crate::data::{SourceManifest, TextUnit};
use crate::digest::{Digest, file_digest};
use crate::spec::params::{Argument, CommandParams, Gives};

/// The slot with the files of the project.
const FILES: &str = "files";
/// What every program may see of the environment.
const COMMON: [&str; 8] = ["PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "TZ", "SYSTEMROOT"];
/// How often is looked whether the program has ended.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a program may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(1);

/// Runs the node.
pub(super) fn run(params: &CommandParams, cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    fs::create_dir_all(cx.scratch)?;
    let given = bring_files(cx)?;
    let (mut command, program) = prepare(params, cx)?;
    let secrets = secrets(params, cx, &mut command)?;
    cx.progress.phase(&program, None, "");
    let mut child = spawn(&mut command, &program, !secrets.is_empty())?;
    let filters = filter_output(&mut child, &secrets)?;
    let status = wait(&mut child, cx)?;
    for filter in filters {
        // One that panicked has lost some lines of the log, nothing else.
        let _ = filter.join();
    }
    if !status.success() {
        let message = format!("`{program}` {}", ending(status));
        return Err(OpError::new(message).help("`luthflow log` shows what it wrote"));
    }
    take_outputs(params, cx, &given)?;
    let metrics =
        params.metrics.as_deref().map_or_else(|| Ok(BTreeMap::new()), |name| metrics(&cx.out.join(name), name))?;
    Ok(Outcome { metrics, ..Outcome::default() })
}

/// The longest file of metrics that is read, in bytes.
const LONGEST_METRICS: u64 = 1 << 20;

/// Reads the figures that the program gave.
fn metrics(path: &Path, name: &str) -> Result<BTreeMap<String, f64>, OpError> {
    let help = "write a JSON object of numbers: {\"loss\": 0.5}";
    let wrong = |why: String| OpError::new(format!("the metrics in `{name}` {why}")).help(help);
    // A link may lead out of the folder, and a pipe may never end.
    let about = fs::symlink_metadata(path)
        .map_err(|error| OpError::caused(format!("there is no `{name}`"), error).help(help))?;
    if !about.is_file() || about.len() > LONGEST_METRICS {
        return Err(wrong(format!("are no plain file of at most {LONGEST_METRICS} bytes")));
    }
    // The words of a JSON error name no content, which may be a secret.
    let read = serde_json::from_slice(&fs::read(path)?).map_err(|error| wrong(format!("are no JSON: {error}")))?;
    let serde_json::Value::Object(read) = read else { return Err(wrong("are no JSON object".into())) };
    let number = |(key, value): (String, serde_json::Value)| {
        let number = value.as_f64().filter(|number| number.is_finite());
        number.map(|number| (key.clone(), number)).ok_or_else(|| wrong(format!("have no number under `{key}`")))
    };
    read.into_iter().map(number).collect()
}

/// Lays the declared files where the program expects them, and returns their paths.
fn bring_files(cx: &OpCx<'_>) -> Result<BTreeSet<String>, OpError> {
    let mut given = BTreeSet::new();
    for file in cx.inputs.many(FILES) {
        let place = cx.scratch.join(&file.name);
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder)?;
        }
        // Permissions come along: a script may be the program.
        fs::copy(&file.path, &place)?;
        let (digest, _) = file_digest(&place).map_err(|error| OpError::new(error.to_string()))?;
        if file.digest.as_ref().is_some_and(|expected| expected.parse::<Digest>() != Ok(digest)) {
            let message = format!("{} changed while it was brought in", file.path.display());
            return Err(OpError::new(message).help("run again when whoever writes it is done"));
        }
        given.insert(file.name.clone());
    }
    Ok(given)
}

/// Returns the program with its arguments and environment, and its name.
fn prepare(params: &CommandParams, cx: &OpCx<'_>) -> Result<(Command, String), OpError> {
    let mut words = Vec::new();
    for (i, argument) in params.run.iter().enumerate() {
        words.push(filled(argument, &format!("run[{i}]"), cx)?);
    }
    let Some((program, arguments)) = words.split_first() else {
        return Err(OpError::new("there is no program to run"));
    };
    // A path is meant from the program's own folder, where the declared files lie.
    let path = if program.contains('/') { cx.scratch.join(program) } else { program.into() };
    let mut command = Command::new(path);
    command.args(arguments).current_dir(cx.scratch).env_clear();
    let handed_on = COMMON.iter().copied().chain(params.pass_env.iter().map(String::as_str));
    for name in handed_on {
        if let Some(value) = (cx.environment)(name) {
            command.env(name, value);
        }
    }
    command.env("LUTHFLOW_THREADS", cx.threads.to_string());
    for (name, argument) in &params.env {
        command.env(name, filled(argument, &format!("env.{name}"), cx)?);
    }
    Ok((command, program.clone()))
}

/// Returns an argument with the paths of the inputs in place of their names.
fn filled(argument: &Argument, place: &str, cx: &OpCx<'_>) -> Result<String, OpError> {
    argument.filled(|index| {
        let input = cx.inputs.one(&CommandParams::slot(place, index))?;
        let path = input.path.to_str();
        path.map(str::to_owned).ok_or_else(|| OpError::new(format!("{} has no UTF-8 name", input.path.display())))
    })
}

/// Lines of a secret shorter than this are braces and the like, in bytes.
const SHORTEST_LINE: usize = 6;

/// Hands the secrets on, and returns their values, longest first, to be blotted out of the log.
fn secrets(params: &CommandParams, cx: &OpCx<'_>, command: &mut Command) -> Result<Vec<Vec<u8>>, OpError> {
    let mut values = Vec::new();
    for name in &params.secrets {
        let value: Option<OsString> = (cx.environment)(name).filter(|value| !value.is_empty());
        let value = value.ok_or_else(|| {
            OpError::new(format!("the secret `{name}` is not set")).help("set it as a variable of the environment")
        })?;
        command.env(name, &value);
        let value = value.into_encoded_bytes();
        // The log is read by lines, and a key may be several: each that is long enough to give something away.
        let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        values.extend(lines.filter(|line| line.len() >= SHORTEST_LINE && line.len() < value.len()).map(<[u8]>::to_vec));
        values.push(value);
    }
    values.sort_by_key(|value: &Vec<u8>| std::cmp::Reverse(value.len()));
    Ok(values)
}

/// Starts the program. What it prints goes to this process's standard error, which is the log of the node.
fn spawn(command: &mut Command, program: &str, filtered: bool) -> Result<Child, OpError> {
    command.stdin(Stdio::null());
    if filtered {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
    } else {
        command.stdout(Stdio::from(std::io::stderr())).stderr(Stdio::inherit());
    }
    command.spawn().map_err(|error| {
        let help = "a program is looked for in `PATH`; one with a `/` in its name, among the node's `files`";
        OpError::caused(format!("`{program}` cannot be started"), error).help(help)
    })
}

/// Copies what the program prints to the log, without the secrets.
fn filter_output(child: &mut Child, secrets: &[Vec<u8>]) -> Result<Vec<std::thread::JoinHandle<()>>, OpError> {
    let streams: [Option<Box<dyn Read + Send>>; 2] =
        [child.stdout.take().map(|out| Box::new(out) as _), child.stderr.take().map(|error| Box::new(error) as _)];
    let mut filters = Vec::new();
    for stream in streams.into_iter().flatten() {
        let secrets = secrets.to_vec();
        let copy = move || copy_without(stream, &secrets);
        filters.push(std::thread::Builder::new().name("log".into()).spawn(copy)?);
    }
    Ok(filters)
}

/// The longest line that is kept whole for finding secrets in it, in bytes.
const LONGEST_LINE: u64 = 1 << 20;

fn copy_without(stream: Box<dyn Read + Send>, secrets: &[Vec<u8>]) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        for secret in secrets {
            line = without(&line, secret);
        }
        // A log that cannot be written must not stop the program.
        let _ = std::io::stderr().write_all(&line);
        line.clear();
    }
}

fn without(line: &[u8], secret: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::with_capacity(line.len()), 0);
    while at < line.len() {
        if line[at..].starts_with(secret) {
            out.extend_from_slice(b"***");
            at += secret.len();
        } else {
            out.push(line[at]);
            at += 1;
        }
    }
    out
}

fn wait(child: &mut Child, cx: &OpCx<'_>) -> Result<std::process::ExitStatus, OpError> {
    // Most programs take milliseconds or minutes: the first ones must not wait for a pause that suits the others.
    let mut pause = PAUSE / 100;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if let Err(interrupted) = cx.check_cancelled() {
            stop(child)?;
            return Err(interrupted);
        }
        std::thread::sleep(pause);
        pause = (pause * 5 / 4).min(PAUSE);
    }
}

/// Asks the program to end, and ends it when it does not.
fn stop(child: &mut Child) -> Result<(), OpError> {
    #[cfg(unix)]
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    let asked = std::time::Instant::now();
    while child.try_wait()?.is_none() {
        if asked.elapsed() > GRACE {
            child.kill()?;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

fn ending(status: std::process::ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("was ended by signal {signal}");
    }
    format!("failed with {status}")
}

/// Moves the declared outputs into the artifact, and refuses anything else that lies there.
fn take_outputs(params: &CommandParams, cx: &OpCx<'_>, given: &BTreeSet<String>) -> Result<(), OpError> {
    let folder = if params.gives == Gives::Dataset {
        SourceManifest::new(None, TextUnit::Line).write(cx.out)?;
        cx.out.join("files")
    } else {
        cx.out.to_path_buf()
    };
    for output in &params.outputs {
        let made = cx.scratch.join(output);
        if fs::symlink_metadata(&made).is_err() {
            let message = format!("the program left no `{output}`");
            return Err(OpError::new(message).help("it writes relative to the folder that it is started in"));
        }
        let place = folder.join(output);
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::rename(&made, &place)?;
    }
    let mut left = Vec::new();
    remaining(cx.scratch, "", &mut left)?;
    left.retain(|path| !given.contains(path));
    left.sort();
    let Some(first) = left.first() else { return Ok(()) };
    let more = if left.len() > 1 { format!(" and {} more", left.len() - 1) } else { String::new() };
    let message = format!("the program left `{first}`{more}, which is no output of the node");
    Err(OpError::new(message).help("add it to `outputs`, or have the program write it to a folder for temporary files"))
}

fn remaining(folder: &Path, prefix: &str, found: &mut Vec<String>) -> Result<(), OpError> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        if entry.file_type()?.is_dir() {
            remaining(&entry.path(), &path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}
