//! Names on the command line.
//!
//! `sft` is a node with all its instances, `merged[t=0.6]` one of them, `merged[*]` all of them again; `*` and `?` match
//! any letters and any one letter of a node's name or of a value (`qwen/*`, `*/scores`, `merged[t=0.*]`); `kind:eval` is
//! every node of a kind. A `+` in front adds all that an instance is made from, a `+` behind all that is made from it.

use std::collections::BTreeSet;

use super::graph::{InstanceId, Plan};
use crate::spec::params::Kind;
use crate::spec::{suggest, sweep};

/// Returns the instances that `name` means, in graph order, or why it means none.
pub fn select(plan: &Plan, name: &str) -> Result<Vec<InstanceId>, String> {
    let (up, rest) = name.strip_prefix('+').map_or((false, name), |rest| (true, rest));
    let (down, rest) = rest.strip_suffix('+').map_or((false, rest), |rest| (true, rest));
    let found = plain(plan, rest)?;
    let mut wanted: BTreeSet<InstanceId> = found.iter().copied().collect();
    if up {
        wanted.extend(reach(&found, |id| plan.upstream(id).collect()));
    }
    if down {
        wanted.extend(reach(&found, |id| plan.downstream(id).collect()));
    }
    Ok(plan.order().iter().copied().filter(|id| wanted.contains(id)).collect())
}

/// Returns the one instance that `name` means.
pub fn select_one(plan: &Plan, name: &str) -> Result<InstanceId, String> {
    match select(plan, name)?[..] {
        [only] => Ok(only),
        ref many => Err(format!("`{name}` has {} instances: name one, such as {}", many.len(), some(plan, many))),
    }
}

fn plain(plan: &Plan, name: &str) -> Result<Vec<InstanceId>, String> {
    if let Some(kind) = name.strip_prefix("kind:") {
        let kinds = Kind::ALL.map(Kind::name);
        let help = || suggest::help(kind, kinds).map_or_else(String::new, |help| format!("; {help}"));
        let kind = Kind::from_name(kind).ok_or_else(|| format!("there is no kind `{kind}`{}", help()))?;
        let found: Vec<InstanceId> = plan.ids().filter(|id| plan.instance(*id).kind() == kind).collect();
        return if found.is_empty() { Err(format!("the pipeline has no {} node", kind.name())) } else { Ok(found) };
    }
    let (node, point) = match name.split_once('[') {
        Some((node, rest)) => {
            (node, Some(rest.strip_suffix(']').ok_or_else(|| format!("`{name}` has no closing `]`"))?))
        }
        None => (name, None),
    };
    let pattern = glob::Pattern::new(node).map_err(|error| format!("`{node}` is no pattern: {}", error.msg))?;
    let of_node: Vec<InstanceId> = plan.ids().filter(|id| pattern.matches(&plan.instance(*id).node)).collect();
    if of_node.is_empty() {
        let mut nodes: Vec<&str> = plan.instances().iter().map(|instance| instance.node.as_str()).collect();
        nodes.dedup();
        let help = suggest::help(node, nodes).map_or_else(String::new, |help| format!("; {help}"));
        return Err(format!("the pipeline has no node `{node}`{help}"));
    }
    match point {
        None | Some("*") => Ok(of_node),
        Some(point) => at_point(plan, name, &of_node, point),
    }
}

/// Keeps the instances at a point such as `t=0.6,method=slerp`; axes that are not named may have any value.
fn at_point(plan: &Plan, name: &str, of_node: &[InstanceId], point: &str) -> Result<Vec<InstanceId>, String> {
    let mut wanted = Vec::new();
    for pair in point.split(',') {
        let (axis, value) = pair.split_once('=').ok_or_else(|| format!("`{pair}` is not `parameter=value`"))?;
        let value = value.trim();
        let pattern = glob::Pattern::new(value).map_err(|error| format!("`{value}` is no pattern: {}", error.msg))?;
        wanted.push((axis.trim(), sweep::scalar(value), pattern));
    }
    let matches = |id: &InstanceId| {
        let axes = &plan.instance(*id).axes;
        wanted.iter().all(|(axis, value, pattern)| {
            axes.get(*axis).is_some_and(|own| sweep::same(own, value) || pattern.matches(&sweep::show(own)))
        })
    };
    let found: Vec<InstanceId> = of_node.iter().copied().filter(matches).collect();
    if found.is_empty() {
        return Err(format!("nothing is called `{name}`; there are {}", some(plan, of_node)));
    }
    Ok(found)
}

fn reach(from: &[InstanceId], next: impl Fn(InstanceId) -> Vec<InstanceId>) -> BTreeSet<InstanceId> {
    let mut seen = BTreeSet::new();
    let mut stack = from.to_vec();
    while let Some(id) = stack.pop() {
        stack.extend(next(id).into_iter().filter(|id| seen.insert(*id)));
    }
    seen
}

fn some(plan: &Plan, ids: &[InstanceId]) -> String {
    let names: Vec<&str> = ids.iter().take(8).map(|id| plan.instance(*id).name.as_str()).collect();
    let more = if ids.len() > names.len() { ", …" } else { "" };
    format!("`{}`{more}", names.join("`, `"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::resolve;
    use crate::spec::{Overrides, parse};

    const PIPELINE: &str = "
version: 1
sweep: {t: [0, 0.5], method: [linear, slerp]}
nodes:
  text: {kind: source, dataset: a.jsonl}
  base: {kind: source, model: base}
  other: {kind: source, model: other}
  merged: {kind: merge, method: \"${method}\", base: base, models: [other], parameters: {t: \"${t}\"}}
  scores: {kind: eval, model: merged, tasks: [{bits_per_byte: {name: x, data: text}}]}
";

    fn names(name: &str) -> Result<Vec<String>, String> {
        let pipeline = parse(PIPELINE, "test", &Overrides::default()).pipeline.unwrap();
        let plan = resolve(&pipeline).unwrap();
        let found = select(&plan, name)?;
        Ok(found.into_iter().map(|id| plan.instance(id).name.clone()).collect())
    }

    #[test]
    fn names_points_patterns_and_kinds() {
        assert_eq!(names("base").unwrap(), ["base"]);
        assert_eq!(names("merged[t=0.50,method=slerp]").unwrap(), ["merged[t=0.5,method=slerp]"]);
        assert_eq!(names("merged[t=0]").unwrap(), ["merged[t=0,method=linear]", "merged[t=0,method=slerp]"]);
        assert_eq!(names("merged[*]").unwrap().len(), 4);
        assert_eq!(names("*e*[t=0.5]").unwrap().len(), 4);
        assert_eq!(names("merged[t=*]").unwrap().len(), 4);
        assert_eq!(names("merged[t=0.*,method=s*]").unwrap(), ["merged[t=0.5,method=slerp]"]);
        assert_eq!(names("kind:source").unwrap(), ["text", "base", "other"]);
        assert!(names("mergd").unwrap_err().contains("did you mean `merged`?"));
        assert!(names("merged[t=0.7]").unwrap_err().contains("`merged[t=0,method=linear]`"));
        assert!(names("kind:sft").unwrap_err().contains("no sft node"));
    }

    #[test]
    fn a_plus_reaches_up_or_down() {
        assert_eq!(names("base+").unwrap().len(), 9);
        assert_eq!(names("+merged[t=0,method=slerp]").unwrap(), ["base", "other", "merged[t=0,method=slerp]"]);
        assert_eq!(names("text+").unwrap().len(), 5);
    }
}
