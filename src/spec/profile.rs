//! `profiles:`: other values for parameters and sweeps under one name, such as `smoke` for a run of a minute.
//!
//! A profile stands between the file and the command line. It can change what there is and add nothing: a name that only
//! a profile knows is a misspelt one.

use serde_json::{Map, Value};

use super::diagnostic::Diagnostic;
use super::file::{Level, Reader, is_name};
use super::path::FieldPath;
use super::suggest;

impl Reader<'_> {
    pub(super) fn profiles(&mut self, top: &Map<String, Value>) -> Vec<(String, Level)> {
        let at = FieldPath::root().key("profiles");
        let mut profiles = Vec::new();
        for (name, value) in self.section(top, &FieldPath::root(), "profiles") {
            let path = at.key(&name);
            if !is_name(&name) {
                self.at_key(&path, format!("`{name}` is not a name")).help =
                    Some("a profile's name stands in the name of its lockfile: letters, digits, `_` and `-`".into());
            }
            match value {
                Value::Null => profiles.push((name, Level::default())),
                Value::Object(block) => {
                    self.known(&block, &path, &["params", "sweep"]);
                    profiles.push((name, self.level(&block, &path)));
                }
                _ => _ = self.at_value(&path, "a profile is a mapping with `params` and `sweep`"),
            }
        }
        profiles
    }
}

impl Level {
    /// Says whether there is a parameter with this name.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.params.contains_key(name)
            || self.axes.iter().any(|axis| axis.name == name)
            || self.unreadable.iter().any(|known| known == name)
    }

    /// Returns the names of all parameters.
    pub(super) fn names(&self) -> Vec<&str> {
        let axes = self.axes.iter().map(|axis| axis.name.as_str());
        self.params.keys().map(String::as_str).chain(axes).chain(self.unreadable.iter().map(String::as_str)).collect()
    }

    /// Gives a parameter one value. It is swept no longer.
    pub(super) fn set(&mut self, name: &str, value: Value) {
        self.axes.retain(|axis| axis.name != name);
        self.unreadable.retain(|known| known != name);
        self.params.insert(name.to_owned(), value);
    }

    /// Puts the values of `upper` in place of those here.
    pub(super) fn cover(&mut self, upper: &Level) {
        for (name, value) in &upper.params {
            self.set(name, value.clone());
        }
        for axis in &upper.axes {
            self.params.remove(&axis.name);
            self.unreadable.retain(|known| *known != axis.name);
            match self.axes.iter_mut().find(|known| known.name == axis.name) {
                Some(known) => *known = axis.clone(),
                None => self.axes.push(axis.clone()),
            }
        }
        self.unreadable.extend(upper.unreadable.iter().cloned());
        // Other values may leave an exclusion without a point, which is then no mistake.
        let changes = |name: &str| upper.places.iter().any(|(known, _)| known == name);
        for exclude in &mut self.excludes {
            exclude.strict &= !exclude.at.iter().any(|(name, _)| changes(name));
        }
        // A zip of some axes is replaced by another one that names one of them.
        self.zips.retain(|zip| !upper.zips.iter().any(|new| new.names.iter().any(|name| zip.names.contains(name))));
        self.zips.extend(upper.zips.iter().cloned());
        self.excludes.extend(upper.excludes.iter().cloned());
        self.places.extend(upper.places.iter().cloned());
    }

    /// Notes what a profile changes and nobody has.
    pub(super) fn check_profile(&self, profile: &Level, diagnostics: &mut Vec<Diagnostic>) {
        for (name, place) in profile.places.iter().filter(|(name, _)| !self.knows(name)) {
            let message = format!("the profile changes the parameter `{name}`, which is not there");
            let help = suggest::help(name, self.names());
            diagnostics.push(Diagnostic::new(*place, message).maybe_help(help));
        }
    }
}
