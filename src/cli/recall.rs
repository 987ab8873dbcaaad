//! The way past a pipeline file that says what it said the last time, over a cache that holds all of it.

use super::args::PipelineArgs;
use super::project::Written;
use crate::cache::{Cache, Snapshot};
use crate::exec::snapshot::{self, Question};

/// Returns what a snapshot of the pipeline depends on; nothing if the program cannot be told.
pub(super) fn question<'a>(written: &'a Written, args: &PipelineArgs) -> Option<Question<'a>> {
    let (file, program, lock) = (&written.file, std::env::current_exe().ok()?, written.lock_path());
    Some(Question { file, text: &written.text, settings: args.settings(), program, lock })
}

/// Returns the state of the whole pipeline if all of it is fresh and a snapshot tells so.
pub(super) fn recall(written: &Written, args: &PipelineArgs, cache: &Cache) -> Option<Snapshot> {
    // Names of nodes mean something only to a plan.
    if !written.names.is_empty() {
        return None;
    }
    snapshot::recall(cache, &question(written, args)?, &|name| written.digest_of(name))
}
