//! How a node is to be run, as opposed to what it makes: `needs`, `retries`, `timeout`. Never part of a key.

use std::time::Duration;

/// How a node is to be run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Execution {
    /// What it takes of the machine while it runs.
    pub needs: Needs,
    /// How often it is tried again after a failure.
    pub retries: u32,
    /// How long one try may take; as long as it likes when nothing is said.
    pub timeout: Option<Duration>,
}

/// What a node takes of the machine while it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// Cores, and so threads. When nothing is said, the scheduler shares them out.
    pub cpu: Option<u32>,
    /// GPUs.
    pub gpu: u32,
    /// Memory in bytes.
    pub memory: u64,
}
