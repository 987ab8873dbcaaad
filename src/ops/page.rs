//! Pages that need nothing but themselves: no script, no font, no request. One style for all of them.
//!
//! Templates escape everything they are given; charts are the exception, and escape what they draw themselves.

use minijinja::{AutoEscape, Environment};
use serde::Serialize;

use super::OpError;

const STYLE: &str = include_str!("page.css");

/// Renders a page. The template finds the style under the name `style`.
pub(super) fn render(template: &str, page: &impl Serialize) -> Result<String, OpError> {
    let failed = |error| OpError::caused("the page could not be made", error);
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_keep_trailing_newline(true);
    environment.add_template("style", STYLE).map_err(failed)?;
    environment.add_template("page", template).map_err(failed)?;
    environment.get_template("page").and_then(|template| template.render(page)).map_err(failed)
}
