//! Names on the command line: `sft`, `merged` (all of its instances), `merged[t=0.6]`.

use super::graph::{InstanceId, Plan};
use crate::spec::{suggest, sweep};

/// Returns the instances that `name` means, or why it means none.
pub fn select(plan: &Plan, name: &str) -> Result<Vec<InstanceId>, String> {
    let ids = || plan.ids().zip(plan.instances());
    let (node, point) = match name.split_once('[') {
        Some((node, rest)) => {
            (node, Some(rest.strip_suffix(']').ok_or_else(|| format!("`{name}` has no closing `]`"))?))
        }
        None => (name, None),
    };
    let of_node: Vec<InstanceId> = ids().filter(|(_, instance)| instance.node == node).map(|(id, _)| id).collect();
    if of_node.is_empty() {
        let mut nodes: Vec<&str> = plan.instances().iter().map(|instance| instance.node.as_str()).collect();
        nodes.dedup();
        let help = suggest::help(node, nodes).map_or_else(String::new, |help| format!("; {help}"));
        return Err(format!("the pipeline has no node `{node}`{help}"));
    }
    let Some(point) = point else { return Ok(of_node) };
    let mut wanted = Vec::new();
    for pair in point.split(',') {
        let (axis, value) = pair.split_once('=').ok_or_else(|| format!("`{pair}` is not `parameter=value`"))?;
        wanted.push((axis.trim(), sweep::scalar(value.trim())));
    }
    let matches = |id: &InstanceId| {
        let axes = &plan.instance(*id).axes;
        wanted.iter().all(|(axis, value)| axes.get(*axis).is_some_and(|own| sweep::same(own, value)))
    };
    let found: Vec<InstanceId> = of_node.iter().copied().filter(matches).collect();
    if found.is_empty() {
        let names: Vec<&str> = of_node.iter().take(8).map(|id| plan.instance(*id).name.as_str()).collect();
        return Err(format!("`{node}` has no instance `{name}`; there are `{}`", names.join("`, `")));
    }
    Ok(found)
}

/// Returns the one instance that `name` means.
pub fn select_one(plan: &Plan, name: &str) -> Result<InstanceId, String> {
    match select(plan, name)?[..] {
        [only] => Ok(only),
        ref many => {
            let names: Vec<&str> = many.iter().take(8).map(|id| plan.instance(*id).name.as_str()).collect();
            Err(format!("`{name}` has {} instances: name one, such as `{}`", many.len(), names.join("`, `")))
        }
    }
}
