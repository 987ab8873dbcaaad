//! Printing, so that it happens in one place: data to standard output, words to standard error.

use std::io::Write;

use super::report::CliError;

/// Prints a line of data. A reader that has gone away (`| head`) ends the command quietly.
pub(super) fn data(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(CliError::nobody_listens()),
        other => Ok(other?),
    }
}

/// Prints a piece of a line of data, at once.
pub(super) fn piece(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(CliError::nobody_listens()),
        other => Ok(other?),
    }
}

/// Prints what stands before something that the user types.
pub(super) fn ask(text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// Prints a value as JSON, indented, without building the whole text first: a plan may have 30,000 nodes.
pub(super) fn json(value: &impl serde::Serialize) -> Result<(), CliError> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let written = serde_json::to_writer_pretty(&mut out, value).map_err(std::io::Error::from);
    match written.and_then(|()| writeln!(out)).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(CliError::nobody_listens()),
        other => Ok(other?),
    }
}

/// Prints a line of words. Nobody listening is no reason to fail.
pub(super) fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints the error that ends the command.
pub(super) fn error(error: CliError) {
    for report in error.into_reports() {
        if !report.to_string().is_empty() {
            self::report(&report);
        }
    }
}

/// Draws a mistake or a warning.
pub(super) fn report(report: &miette::Report) {
    say(format!("{report:?}").trim_end());
}

/// Writes a number of bytes the way people read it.
pub(super) fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}

/// Writes a duration the way people read it: `0.4 s`, `12 s`, `3 min 20 s`.
pub(super) fn duration(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 0.95 => format!("{:.0} ms", seconds * 1000.0),
        seconds if seconds < 9.95 => format!("{seconds:.1} s"),
        seconds if seconds < 59.5 => format!("{seconds:.0} s"),
        seconds if seconds < 3570.0 => {
            let whole = seconds.round() as u64;
            format!("{} min {} s", whole / 60, whole % 60)
        }
        seconds => {
            let minutes = (seconds / 60.0).round() as u64;
            format!("{} h {} min", minutes / 60, minutes % 60)
        }
    }
}
