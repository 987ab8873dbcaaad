//! Whether what a node is asked for fits the model it is asked for.

use super::OpError;
use crate::model::Config;

/// Fails if a forward pass is to be longer than the positions that the model knows. `field` is the setting that says how
/// long, `asked` its value in tokens. Beyond the last position a model was never trained and answers nonsense.
pub(super) fn check_positions(config: &Config, field: &str, asked: usize) -> Result<(), OpError> {
    let most = config.max_position_embeddings;
    if asked <= most {
        return Ok(());
    }
    let message = format!("`{field}` is {asked}, the model is made for {most} positions");
    Err(OpError::new(message).help(format!("set `{field}: {most}` or less")))
}
