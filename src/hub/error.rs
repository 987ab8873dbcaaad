//! Why something could not be had from outside: what failed, the way out, and whether trying again may help.

use std::time::Duration;

/// What is wrong with a request, an answer or an address.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct HubError {
    message: String,
    help: Option<String>,
    passing: bool,
    absent: bool,
    wait: Option<Duration>,
}

impl HubError {
    /// Returns an error that another try would meet again.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, passing: false, absent: false, wait: None }
    }

    /// Returns an error that may be gone in a moment.
    pub(super) fn passing(message: impl Into<String>) -> Self {
        Self { passing: true, ..Self::new(message) }
    }

    /// Returns the error that something is not there.
    pub(super) fn absent(message: impl Into<String>) -> Self {
        Self { absent: true, ..Self::new(message) }
    }

    /// Says whether it is that something is not there.
    pub(super) fn is_absence(&self) -> bool {
        self.absent
    }

    /// Adds the way out.
    #[must_use]
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds how long the server wants to be left alone.
    #[must_use]
    pub(super) fn after(mut self, wait: Option<Duration>) -> Self {
        self.wait = wait;
        self
    }

    /// Says whether another try may succeed.
    pub fn may_pass(&self) -> bool {
        self.passing
    }

    /// Returns how long the server wants to be left alone.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.wait
    }

    /// Returns the way out, if there is one to name.
    pub fn way_out(&self) -> Option<&str> {
        self.help.as_deref()
    }
}
