//! `luthflow cache pin` and `unpin`: results that stay whatever happens.

use super::write_cache;
use crate::cache::Cache;
use crate::cli::args::Cli;
use crate::cli::cache_args::PinArgs;
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::report::CliError;
use crate::digest::Digest;

pub(super) fn pin(args: &PinArgs, cli: &Cli) -> Result<Exit, CliError> {
    let cache = write_cache(cli)?;
    for name in &args.names {
        let artifact = one(&cache, name)?;
        cache.pin(&artifact, name)?;
        output::say(&format!("pinned {} as {name}", artifact.short()));
    }
    Ok(Exit::Success)
}

pub(super) fn unpin(args: &PinArgs, cli: &Cli) -> Result<Exit, CliError> {
    let cache = write_cache(cli)?;
    for name in &args.names {
        // The name it was pinned under, or its digits: the node may have run again since.
        let pins = cache.pins()?;
        let means =
            |(artifact, under): &(&Digest, &String)| *under == name || artifact.hex().starts_with(name.as_str());
        let meant: Vec<_> = pins.iter().filter(means).map(|(artifact, _)| *artifact).collect();
        let [artifact] = meant.as_slice() else {
            let why = if meant.is_empty() { "nothing is pinned as" } else { "several pins are named" };
            return Err(CliError::user(format!("{why} `{name}`")).help("`luthflow cache info` lists the pins"));
        };
        cache.unpin(artifact)?;
        output::say(&format!("unpinned {}", artifact.short()));
    }
    Ok(Exit::Success)
}

/// Returns the one artifact that a name means.
fn one(cache: &Cache, name: &str) -> Result<Digest, CliError> {
    let mut artifacts: Vec<_> = cache.find(name)?.iter().map(|action| action.artifact).collect();
    artifacts.sort_unstable();
    artifacts.dedup();
    match artifacts.as_slice() {
        [artifact] => Ok(*artifact),
        [] => Err(CliError::user(format!("nothing here is named `{name}`"))
            .help("`luthflow cache ls` lists what is kept; a node is known once it ran")),
        several => Err(CliError::user(format!("`{name}` means several artifacts"))
            .details(several.iter().map(Digest::hex))
            .help("name one by its digits")),
    }
}
