//! Figures by name in JSON and YAML, which have no word for the infinities and for what is not a number (a loss that diverged):
//! those are written as text. For `#[serde(with = "crate::digest::figures")]`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Figure {
    Finite(f64),
    Text(String),
}

/// Writes figures, in the order of their names.
pub(crate) fn serialize<S: Serializer>(figures: &BTreeMap<String, f64>, serializer: S) -> Result<S::Ok, S::Error> {
    let figure = |&value: &f64| if value.is_finite() { Figure::Finite(value) } else { Figure::Text(value.to_string()) };
    serializer.collect_map(figures.iter().map(|(name, value)| (name, figure(value))))
}

/// Reads figures; text that is no number is an error.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, f64>, D::Error> {
    let figures = BTreeMap::<String, Figure>::deserialize(deserializer)?;
    let value = |figure| match figure {
        Figure::Finite(value) => Ok(value),
        Figure::Text(text) => text.parse().map_err(serde::de::Error::custom),
    };
    figures.into_iter().map(|(name, figure)| Ok((name, value(figure)?))).collect()
}
