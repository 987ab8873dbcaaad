//! `luthflow schema`: the JSON Schema of pipeline files.

use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::report::CliError;
use crate::spec::schema;

pub(in crate::cli) fn run() -> Result<Exit, CliError> {
    output::json(&schema::pipeline_schema())?;
    Ok(Exit::Success)
}
