//! A run as JSON lines, for programs.

use super::output;
use crate::exec::{Event, Observer};

/// Prints every event as one line of JSON.
pub(super) struct JsonLines;

impl Observer for JsonLines {
    fn event(&mut self, event: &Event) {
        if let Ok(line) = serde_json::to_string(event) {
            // A reader that has gone away does not end the run.
            let _ = output::data(&line);
        }
    }
}
