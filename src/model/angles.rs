//! The angles of a model's rotary embeddings, for as many positions as were asked for so far.

use std::sync::{Arc, Mutex, PoisonError};

use super::config::{Config, Rotary};
use super::kernel::rotary::RotaryTable;

/// One table for each rotary embedding of a model. They grow with the longest text seen.
#[derive(Debug)]
pub(super) struct Angles {
    rotary: Vec<Rotary>,
    width: usize,
    tables: Mutex<Arc<[RotaryTable]>>,
}

impl Angles {
    /// Returns the angles of a model, for no position yet.
    pub(super) fn new(config: &Config) -> Self {
        let (rotary, width) = (config.rotary.clone(), config.head_dim);
        let tables = Mutex::new(tables(&rotary, width, 0));
        Self { rotary, width, tables }
    }

    /// Returns tables for at least so many positions.
    pub(super) fn up_to(&self, positions: usize) -> Arc<[RotaryTable]> {
        let mut known = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if known.iter().any(|table| table.positions() < positions) {
            *known = tables(&self.rotary, self.width, positions.next_power_of_two());
        }
        Arc::clone(&known)
    }
}

fn tables(rotary: &[Rotary], width: usize, positions: usize) -> Arc<[RotaryTable]> {
    rotary.iter().map(|one| RotaryTable::new(positions, &one.frequencies(width), one.factor())).collect()
}
