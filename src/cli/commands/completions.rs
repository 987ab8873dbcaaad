//! `luthflow completions`: shell completions.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::args::Cli;
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::report::CliError;

pub(in crate::cli) fn run(shell: Shell) -> Result<Exit, CliError> {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "luthflow", &mut out);
    output::data(String::from_utf8_lossy(&out).trim_end())?;
    Ok(Exit::Success)
}
