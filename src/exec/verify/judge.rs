//! The same, near enough, or not: one artifact against its entry in the lockfile.

use std::collections::{BTreeMap, BTreeSet};

use super::Verdict;
use crate::exec::select::Chosen;
use crate::hub::Content;
use crate::spec::lock::LockedNode;

/// By how much metrics may differ.
#[derive(Debug, Clone, Default)]
pub struct Tolerances(Vec<(glob::Pattern, f64)>);

impl Tolerances {
    /// Reads `METRIC=ABS`, where `*` and `?` in the metric match anything.
    pub fn read(arguments: &[String]) -> Result<Self, String> {
        let one = |argument: &String| {
            let wrong = |why: &str| format!("`--tolerance {argument}`: {why}");
            let (metric, value) = argument.rsplit_once('=').ok_or_else(|| wrong("write `METRIC=ABS`"))?;
            let pattern = glob::Pattern::new(metric).map_err(|error| wrong(error.msg))?;
            let value = value.parse().ok().filter(|value: &f64| *value >= 0.0 && value.is_finite());
            Ok((pattern, value.ok_or_else(|| wrong("the tolerance is a number that is not negative"))?))
        };
        arguments.iter().map(one).collect::<Result<_, _>>().map(Self)
    }

    /// Returns the tolerance of a metric: the last one given that matches it.
    fn of(&self, metric: &str) -> Option<f64> {
        self.0.iter().rev().find(|(pattern, _)| pattern.matches(metric)).map(|(_, value)| *value)
    }
}

/// What there is to compare with an entry of the lockfile.
pub(super) struct Found {
    pub(super) artifact: String,
    pub(super) outputs: BTreeMap<String, String>,
    pub(super) metrics: BTreeMap<String, f64>,
    pub(super) platform: String,
    /// What only a result on record can tell.
    pub(super) record: Option<Recorded>,
}

/// What stands in the record of a result beside its bytes and metrics.
pub(super) struct Recorded {
    pub(super) kind: String,
    pub(super) size: u64,
    /// The files of a source.
    pub(super) files: BTreeMap<String, String>,
    /// What a selection chose.
    pub(super) chosen: Option<Chosen>,
}

/// Compares a result with its entry in the lockfile, which was made on `platform`.
pub(super) fn judge(
    locked: &LockedNode,
    platform: &str,
    found: &Found,
    tolerances: &Tolerances,
) -> (Verdict, Vec<String>) {
    let wrong = contradictions(locked, found);
    if !wrong.is_empty() {
        return (Verdict::Drifted, wrong);
    }
    let same_bytes = locked.artifact == found.artifact && locked.outputs == found.outputs;
    let Metrics { near: mut why, beyond, uncovered, covered } = metrics(locked, found, tolerances);
    if !same_bytes {
        let (old, new) = (short(&locked.artifact), short(&found.artifact));
        why.insert(0, format!("its artifact is {old} in the lockfile, {new} here"));
    }
    let elsewhere = platform != found.platform;
    if !same_bytes && elsewhere {
        why.insert(1, format!("locked on {platform}, made on {}", found.platform));
    }
    let near = match (same_bytes, elsewhere) {
        (true, _) => uncovered.is_empty(),
        // On another platform every figure moves a little: those count for which somebody named a tolerance.
        (false, true) => covered,
        (false, false) => covered && uncovered.is_empty(),
    };
    let verdict = if !beyond.is_empty() {
        Verdict::Drifted
    } else if same_bytes && uncovered.is_empty() && why.is_empty() {
        Verdict::Identical
    } else if near {
        Verdict::WithinTolerance
    } else if !same_bytes && elsewhere {
        Verdict::NotComparable
    } else {
        Verdict::Drifted
    };
    why.extend(beyond.into_iter().chain(uncovered));
    (verdict, why)
}

/// The metrics that are not the same, one sentence each.
#[derive(Default)]
struct Metrics {
    /// Within their tolerance.
    near: Vec<String>,
    /// Beyond their tolerance.
    beyond: Vec<String>,
    /// Without a tolerance.
    uncovered: Vec<String>,
    /// Whether there is a tolerance for any metric at all.
    covered: bool,
}

fn metrics(locked: &LockedNode, found: &Found, tolerances: &Tolerances) -> Metrics {
    let mut out = Metrics::default();
    let names: BTreeSet<&String> = locked.metrics.keys().chain(found.metrics.keys()).collect();
    for name in names {
        let (old, new) = (locked.metrics.get(name), found.metrics.get(name));
        let tolerance = tolerances.of(name);
        out.covered |= tolerance.is_some();
        if old.map(|value| value.to_bits()) == new.map(|value| value.to_bits()) {
            continue;
        }
        let show = |value: Option<&f64>| value.map_or_else(|| "nothing".into(), ToString::to_string);
        let sentence = format!("{name}: {} in the lockfile, {} here", show(old), show(new));
        match (tolerance, old.zip(new)) {
            (Some(tolerance), Some((old, new))) if (old - new).abs() <= tolerance => out.near.push(sentence),
            (Some(_), _) => out.beyond.push(sentence),
            (None, _) => out.uncovered.push(sentence),
        }
    }
    out
}

/// Where one digest stands for two things, one of them is wrong, whatever the tolerance.
fn contradictions(locked: &LockedNode, found: &Found) -> Vec<String> {
    let mut why = Vec::new();
    if let Some(Recorded { kind, size, files, chosen }) = &found.record {
        if locked.kind != *kind {
            why.push(format!("its kind is {} in the lockfile, {kind} on record", locked.kind));
        }
        if locked.artifact == found.artifact && locked.size != *size {
            why.push(format!("its size is {} in the lockfile, {size} on record", locked.size));
        }
        // A key has for a file of a hub what stands for its digest, the lockfile has the digest.
        let in_keys = |content: &String| match content.parse::<Content>() {
            Ok(read) if read.to_string() == *content => read.digest().hex(),
            _ => content.clone(),
        };
        let in_lock: BTreeMap<_, _> =
            locked.files.iter().map(|(name, content)| (name.clone(), in_keys(content))).collect();
        if in_lock != *files {
            why.push("its files are others in the lockfile than on record".into());
        }
        let locked_choice = locked.chosen.clone().and_then(|chosen| serde_json::from_value(chosen).ok());
        if locked.artifact == found.artifact && locked_choice != *chosen {
            why.push("what it chose is another in the lockfile than on record".into());
        }
    }
    if locked.artifact == found.artifact && locked.outputs != found.outputs {
        why.push("its outputs are others in the lockfile than here".into());
    }
    why
}

fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(artifact: &str, loss: f64) -> LockedNode {
        LockedNode {
            kind: "sft".into(),
            platform: None,
            key: "k".into(),
            artifact: artifact.into(),
            outputs: BTreeMap::new(),
            size: 3,
            files: BTreeMap::new(),
            origin: None,
            chosen: None,
            metrics: BTreeMap::from([("loss".to_owned(), loss), ("steps".to_owned(), 4.0)]),
        }
    }

    fn verdict(artifact: &str, loss: f64, platform: &str, tolerance: &[&str]) -> Verdict {
        let entry = entry(artifact, loss);
        let (artifact, outputs, metrics) = (entry.artifact, entry.outputs, entry.metrics);
        let found = Found { artifact, outputs, metrics, platform: platform.into(), record: None };
        let tolerance: Vec<String> = tolerance.iter().map(ToString::to_string).collect();
        judge(&self::entry("a", 1.0), "here", &found, &Tolerances::read(&tolerance).unwrap()).0
    }

    #[test]
    fn bytes_come_first_then_metrics_then_the_platform() {
        assert_eq!(verdict("a", 1.0, "here", &[]), Verdict::Identical);
        assert_eq!(verdict("a", 1.0, "there", &[]), Verdict::Identical);
        assert_eq!(verdict("a", 1.1, "here", &[]), Verdict::Drifted);
        assert_eq!(verdict("a", 1.1, "here", &["loss=0.2"]), Verdict::WithinTolerance);
        assert_eq!(verdict("b", 1.0, "here", &[]), Verdict::Drifted);
        assert_eq!(verdict("b", 1.0, "there", &[]), Verdict::NotComparable);
        assert_eq!(verdict("b", 1.1, "there", &["other=9"]), Verdict::NotComparable);
        assert_eq!(verdict("b", 1.1, "there", &["l*=0.2"]), Verdict::WithinTolerance);
        assert_eq!(verdict("b", 1.1, "there", &["*=1", "loss=0.05"]), Verdict::Drifted);
        assert_eq!(verdict("b", 1.1, "here", &["steps=1"]), Verdict::Drifted);
        assert_eq!(verdict("b", f64::NAN, "there", &["*=9"]), Verdict::Drifted);
    }

    #[test]
    fn a_tolerance_is_a_number() {
        for wrong in ["loss", "loss=-1", "loss=nan", "loss=x", "[=1"] {
            assert!(Tolerances::read(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
