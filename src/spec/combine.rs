//! `zip` and `exclude`: which combinations of the axes' values are meant.

use std::collections::BTreeSet;

use super::diagnostic::{Diagnostic, Place};
use super::file::Level;
use super::pipeline::{Axis, Pipeline};
use super::{suggest, sweep};

/// Checks that the zips and exclusions of a file or a profile (`own`) speak of axes and values that there are, with those
/// of what it lies on (`level`).
pub(super) fn check(level: &Level, own: &Level, diagnostics: &mut Vec<Diagnostic>) {
    let readable = |name: &str| !level.unreadable.iter().any(|known| known == name);
    for zip in &own.zips {
        for name in zip.names.iter().filter(|name| readable(name)) {
            diagnostics.extend(axis(&level.axes, "zip", name, zip.place).err());
        }
    }
    for exclude in &own.excludes {
        for (name, value) in exclude.at.iter().filter(|(name, _)| readable(name)) {
            match axis(&level.axes, "exclude", name, exclude.place) {
                Err(diagnostic) => diagnostics.push(diagnostic),
                Ok(axis) => diagnostics.extend(value_of(axis, "exclude", value, exclude.place).err()),
            }
        }
    }
}

/// Returns an axis that `zip` or `exclude` names.
pub(super) fn axis<'a>(axes: &'a [Axis], what: &str, name: &str, place: Place) -> Result<&'a Axis, Diagnostic> {
    axes.iter().find(|axis| axis.name == name).ok_or_else(|| {
        let help = suggest::help(name, axes.iter().map(|axis| axis.name.as_str()));
        Diagnostic::new(place, format!("`{what}`: `{name}` is no swept parameter")).maybe_help(help)
    })
}

/// Checks that an axis has a value that `exclude` names.
pub(super) fn value_of(axis: &Axis, what: &str, value: &serde_json::Value, place: Place) -> Result<(), Diagnostic> {
    if axis.values.iter().any(|known| sweep::same(known, value)) {
        return Ok(());
    }
    let shown: Vec<String> = axis.values.iter().take(12).map(sweep::show).collect();
    let more = if axis.values.len() > shown.len() { ", …" } else { "" };
    let message = format!("`{what}`: `{}` is never `{}`", axis.name, sweep::show(value));
    Err(Diagnostic::new(place, message).help(format!("it is `{}`{more}", shown.join("`, `"))))
}

/// Brings zips and exclusions in line with what the command line and the parameters given to included files made of the
/// axes (`changed`), and checks what is left.
pub(super) fn settle(pipeline: &mut Pipeline, changed: &BTreeSet<String>, diagnostics: &mut Vec<Diagnostic>) {
    let Pipeline { axes, zips, excludes, params, .. } = pipeline;
    // A parameter with one value moves with nothing.
    for zip in zips.iter_mut() {
        zip.names.retain(|name| !params.contains_key(name));
    }
    zips.retain(|zip| zip.names.len() > 1);
    for exclude in excludes.iter_mut() {
        exclude.strict &= !exclude.at.iter().any(|(name, _)| changed.contains(name));
    }
    excludes.retain_mut(|exclude| {
        let held = |(name, value): &(String, _)| params.get(name).is_none_or(|set| sweep::same(set, value));
        let possible = exclude.at.iter().all(held);
        exclude.at.retain(|(name, _)| !params.contains_key(name));
        let there = |(name, value): &(String, _)| {
            axes.iter().any(|axis| axis.name == *name && axis.values.iter().any(|known| sweep::same(known, value)))
        };
        possible && !exclude.at.is_empty() && exclude.at.iter().all(there)
    });
    let mut seen = BTreeSet::new();
    for zip in zips.iter() {
        for name in &zip.names {
            if !seen.insert(name.clone()) {
                diagnostics.push(Diagnostic::new(zip.place, format!("`zip`: `{name}` stands twice")));
            }
        }
        let zipped: Vec<&Axis> = axes.iter().filter(|axis| zip.names.contains(&axis.name)).collect();
        diagnostics.extend(check_zip(&zipped, zip.place).err());
    }
    for axis in axes.iter().filter(|axis| !seen.contains(&axis.name)) {
        if let Some(twice) = sweep::twice(&axis.values) {
            let message = format!("`{}`: the value `{twice}` stands twice", axis.name);
            diagnostics.push(Diagnostic::new(axis.place, message));
        }
    }
}

fn check_zip(axes: &[&Axis], place: Place) -> Result<(), Diagnostic> {
    let lengths: BTreeSet<usize> = axes.iter().map(|axis| axis.values.len()).collect();
    if lengths.len() > 1 {
        let counts: Vec<String> =
            axes.iter().map(|axis| format!("`{}` has {}", axis.name, axis.values.len())).collect();
        let message = format!("`zip`: {} values", counts.join(" and "));
        return Err(Diagnostic::new(place, message).help("parameters that move together have as many values each"));
    }
    let length = lengths.first().copied().unwrap_or(0);
    let row = |i: usize| axes.iter().map(|axis| sweep::show(&axis.values[i])).collect::<Vec<_>>().join(", ");
    let mut rows = BTreeSet::new();
    for i in 0..length {
        if !rows.insert(row(i)) {
            return Err(Diagnostic::new(place, format!("`zip`: the combination `{}` stands twice", row(i))));
        }
    }
    Ok(())
}
