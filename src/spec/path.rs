//! The place of a value inside a document, as a path of keys and indices: `nodes.sft.data[1]`.

use std::fmt;

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// Into a mapping.
    Key(String),
    /// Into a sequence.
    Index(usize),
}

/// The place of a value inside a document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct FieldPath(pub Vec<Segment>);

impl FieldPath {
    /// Returns the path of the whole document.
    pub fn root() -> Self {
        Self::default()
    }

    /// Returns the path of a key below this one.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        let mut path = self.clone();
        path.0.push(Segment::Key(key.into()));
        path
    }

    /// Returns the path of an item below this one.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        let mut path = self.clone();
        path.0.push(Segment::Index(index));
        path
    }

    /// Returns this path continued by another one.
    #[must_use]
    pub fn join(&self, tail: &FieldPath) -> Self {
        Self(self.0.iter().chain(&tail.0).cloned().collect())
    }

    /// Returns the path of what holds this value, or nothing for the document itself.
    pub fn parent(&self) -> Option<Self> {
        let (_, head) = self.0.split_last()?;
        Some(Self(head.to_vec()))
    }

    /// Returns the last key, or nothing for an item or the document itself.
    pub fn last_key(&self) -> Option<&str> {
        match self.0.last() {
            Some(Segment::Key(key)) => Some(key),
            _ => None,
        }
    }

    /// Reads `a.b[1].c`; keys hold neither dots nor brackets.
    pub fn parse(text: &str) -> Self {
        let mut path = Self::root();
        for part in text.split('.').filter(|part| !part.is_empty()) {
            let (key, indices) = part.split_at(part.find('[').unwrap_or(part.len()));
            if !key.is_empty() {
                path = path.key(key);
            }
            for index in indices.split(['[', ']']).filter_map(|index| index.parse().ok()) {
                path = path.index(index);
            }
        }
        path
    }

    /// Returns the value at this path.
    pub fn value_in<'a>(&self, value: &'a serde_json::Value) -> Option<&'a serde_json::Value> {
        self.0.iter().try_fold(value, |place, segment| match segment {
            Segment::Key(key) => place.get(key),
            Segment::Index(index) => place.get(index),
        })
    }

    /// Removes the value at this path, and says whether it was there.
    pub fn remove_from(&self, value: &mut serde_json::Value) -> bool {
        let Some((last, head)) = self.0.split_last() else { return false };
        let mut place = value;
        for segment in head {
            let next = match segment {
                Segment::Key(key) => place.get_mut(key),
                Segment::Index(index) => place.get_mut(index),
            };
            let Some(next) = next else { return false };
            place = next;
        }
        match (last, place) {
            (Segment::Key(key), serde_json::Value::Object(map)) => map.shift_remove(key).is_some(),
            (Segment::Index(index), serde_json::Value::Array(items)) if *index < items.len() => {
                items.remove(*index);
                true
            }
            _ => false,
        }
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) if i == 0 => formatter.write_str(key)?,
                Segment::Key(key) => write!(formatter, ".{key}")?,
                Segment::Index(index) => write!(formatter, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_reads_back() {
        let path = FieldPath::root().key("tasks").index(3).key("data");
        assert_eq!(path.to_string(), "tasks[3].data");
        assert_eq!(FieldPath::parse("tasks[3].data"), path);
        assert_eq!(FieldPath::parse(""), FieldPath::root());
    }
}
