//! Exits and branches of a model: where one is asked at an exit, and where a node makes a file of its layers alone.
//!
//! Exits stand beside a model that is whole without them, so they may be left behind, and the user hears of it. A model with
//! branches is another one without them: to go on as if they were not there would be wrong in silence.

use std::path::Path;

use super::{OpCx, OpError};
use crate::model::{Config, EarlyExit};
use crate::spec::params::{Exit, Op};

/// Returns after how many layers a model is to stop, or nothing if that is all of it: an exit that is the last layer is the
/// whole model, and its answers are the same.
pub(super) fn stop(dir: &Path, exit: Option<Exit>) -> Result<Option<usize>, OpError> {
    let unusable = |error| OpError::caused("cannot use the model", error);
    let Some(exit) = exit.and_then(Exit::layers) else { return Ok(None) };
    let config = Config::load(dir).and_then(|config| config.at_exit(Some(exit))).map_err(unusable)?;
    Ok(config.whole.is_some().then_some(exit))
}

/// Returns what answers are kept by beside the model: those of different exits apart.
pub(super) fn said(stop: Option<usize>) -> String {
    stop.map_or_else(String::new, |exit| format!(" at exit {exit}"))
}

/// Fails for models with branches, and warns of exits that are left behind, where a node sees the layers of its models alone.
pub(super) fn look(op: &Op, cx: &OpCx<'_>) -> Result<(), OpError> {
    let what = match op {
        Op::Merge(_) | Op::Moe(_) => "a merge",
        Op::ApplyLora(_) | Op::ExtractLora(_) => "an adapter",
        Op::Sft(params) if params.lora.is_some() => "an adapter",
        Op::Export(_) => "a GGUF file",
        _ => return Ok(()),
    };
    for input in cx.inputs.0.values().flatten() {
        // Whether they fit is looked at where they are used.
        let unreadable = |error| OpError::caused(format!("cannot use `{}`", input.name), error);
        let Some(found) = EarlyExit::beside(&input.path).map_err(unreadable)? else { continue };
        if found.has_branches() {
            let help = "train without `early_exit.branches` what is to go on so";
            let why = format!("`{}` has branches beside its layers, and {what} has no place for them", input.name);
            return Err(OpError::new(why).help(help));
        }
        cx.progress.warn(&format!("{what} has no place for the exits of `{}`: they are left out", input.name));
    }
    Ok(())
}
