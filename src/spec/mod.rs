//! What the user wrote. Pure: text in, values and diagnostics out.

pub mod params;
