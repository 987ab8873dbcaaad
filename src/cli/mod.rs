//! The command line: the only module with a user.
//!
//! A command is one thin file under `commands`: it reads its arguments, calls the library, and prints. Data goes to
//! standard output, all else to standard error.

mod advice;
mod alone;
mod args;
mod cache_args;
mod commands;
mod data_args;
mod eval_args;
mod exit;
mod interrupt;
mod json;
mod machine;
mod output;
mod progress;
mod project;
mod recall;
mod report;
mod rounds;
mod speech;
mod watch;
mod worker;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use args::{Cli, ColorChoice, Command};
use exit::Exit;
use report::CliError;

/// Runs the program with these arguments.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, with code 0.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match cli.color {
        ColorChoice::Auto => {}
        ColorChoice::Always | ColorChoice::Never => {
            console::set_colors_enabled(cli.color == ColorChoice::Always);
            console::set_colors_enabled_stderr(cli.color == ColorChoice::Always);
        }
    }
    report::install(console::colors_enabled_stderr());
    match dispatch(&cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            let exit = error.exit;
            output::error(error);
            exit.into()
        }
    }
}

fn dispatch(cli: &Cli) -> Result<Exit, CliError> {
    match &cli.command {
        Command::Run(args) => commands::run::run(args, cli),
        Command::Plan(args) => commands::plan::run(args, cli),
        Command::Check(args) => commands::check::run(args, cli),
        Command::Status(args) => commands::status::run(args, cli),
        Command::Graph(args) => commands::graph::run(args, cli),
        Command::Show(args) => commands::show::run(args, cli),
        Command::Explain(args) => commands::explain::run(args, cli),
        Command::Log(args) => commands::log::run(args, cli),
        Command::Export(args) => commands::export::run(args, cli),
        Command::Lock(args) => commands::lock::run(args, cli),
        Command::Verify(args) => commands::verify::run(args, cli),
        Command::Diff(args) => commands::diff::run(args, cli),
        Command::Runs(args) => commands::runs::run(args, cli),
        Command::Provenance(args) => commands::provenance::run(args, cli),
        Command::Generate(args) => commands::generate::run(args, cli),
        Command::Chat(args) => commands::chat::run(args, cli),
        Command::Merge(args) => commands::merge::run(args, cli),
        Command::Data(args) => commands::data::run(args, cli),
        Command::Eval(args) => commands::eval::run(args, cli),
        Command::Cache(args) => commands::cache::run(args, cli),
        Command::Schema => commands::schema::run(),
        Command::Completions { shell } => commands::completions::run(*shell),
        Command::NodeWorker => worker::run(),
    }
}
