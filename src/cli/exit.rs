//! The exit codes, so that scripts can depend on them. `luthflow --help` lists them.

use std::process::ExitCode;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// 0: done.
    Success,
    /// 1: a node failed.
    NodeFailed,
    /// 2: a mistake in the pipeline, in what it names, or in the arguments.
    UserError,
    /// 3: the results differ from the lockfile, or the cache is damaged.
    Differs,
    /// 70: luthflow itself cannot go on: the cache, the disk, or a bug.
    Internal,
    /// 130: interrupted.
    Interrupted,
}

impl Exit {
    /// Returns the number the system sees.
    pub(super) fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::NodeFailed => 1,
            Exit::UserError => 2,
            Exit::Differs => 3,
            Exit::Internal => 70,
            Exit::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}
