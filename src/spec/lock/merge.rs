//! Two people's lockfiles made one: a three-way merge node by node, for git.
//!
//! Lines are the wrong grain: two nodes that stand side by side conflict, and one node can be merged into a mixture of two.
//! Here a node, a parameter or a published table is taken whole from the side that changed it; where both did, and not to
//! the same, it is a conflict, and ours stands until the pipeline is run again.

use serde_json::{Map, Value};

use super::Lock;

/// A merged lockfile and what both sides changed differently.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// The lockfile; ours stands where there is a conflict.
    pub lock: Lock,
    /// The conflicts, as people call them: `node `sft``.
    pub conflicts: Vec<String>,
}

/// Merges what `theirs` changed since `base` into `ours`.
pub fn merge(base: &Lock, ours: &Lock, theirs: &Lock) -> Merged {
    let mut conflicts = Vec::new();
    let mut part = |what: &str, of: fn(&Lock) -> Map<String, Value>| {
        three_way(&of(base), &of(ours), &of(theirs), |name| conflicts.push(format!("{what} `{name}`")))
    };
    let params = part("parameter", |lock| lock.params.clone());
    let sweep = part("axis", |lock| lock.sweep.clone());
    let nodes = part("node", explicit_nodes);
    let published = part("published table", tables);
    let one = |base: &str, ours: &str, theirs: &str| if ours == base { theirs.to_owned() } else { ours.to_owned() };
    let pipeline = one(&base.pipeline, &ours.pipeline, &theirs.pipeline);
    if pipeline != theirs.pipeline && theirs.pipeline != base.pipeline {
        conflicts.push("the name of the pipeline".to_owned());
    }
    let mut lock = Lock {
        version: ours.version,
        pipeline,
        luthflow: one(&base.luthflow, &ours.luthflow, &theirs.luthflow),
        // Every node carries its own at this point, so that nothing hangs on which one is at the top.
        platform: one(&base.platform, &ours.platform, &theirs.platform),
        params,
        sweep,
        nodes,
        published: published.into_iter().map(|(_, table)| table).collect(),
    };
    for (_, node) in &mut lock.nodes {
        if let Value::Object(fields) = node
            && fields.get("platform").and_then(Value::as_str) == Some(&lock.platform)
        {
            fields.shift_remove("platform");
        }
    }
    Merged { lock, conflicts }
}

/// Returns the nodes, each with its platform, so that they mean the same below another top.
fn explicit_nodes(lock: &Lock) -> Map<String, Value> {
    let explicit = |(name, node): (&String, &Value)| match lock.node(name) {
        Some(mut typed) => {
            typed.platform = Some(lock.platform_of(&typed).to_owned());
            (name.clone(), serde_json::to_value(&typed).unwrap_or_else(|_| node.clone()))
        }
        None => (name.clone(), node.clone()),
    };
    lock.nodes.iter().map(explicit).collect()
}

/// Returns the published tables by title; a second one of the same title gets a number.
fn tables(lock: &Lock) -> Map<String, Value> {
    let mut tables = Map::new();
    for table in &lock.published {
        let title = table.get("title").and_then(Value::as_str).unwrap_or_default();
        let mut name = title.to_owned();
        let mut number = 1;
        while tables.contains_key(&name) {
            number += 1;
            name = format!("{title} ({number})");
        }
        tables.insert(name, table.clone());
    }
    tables
}

/// Merges entry by entry: those of ours in their order, and each new one of theirs behind the one it stood behind.
fn three_way(
    base: &Map<String, Value>,
    ours: &Map<String, Value>,
    theirs: &Map<String, Value>,
    mut conflict: impl FnMut(&str),
) -> Map<String, Value> {
    let mut merged: Vec<(String, Value)> = Vec::new();
    for (name, our) in ours {
        let (old, their) = (base.get(name), theirs.get(name));
        match their {
            _ if their == Some(our) || their == old => merged.push((name.clone(), our.clone())),
            Some(their) if old == Some(our) => merged.push((name.clone(), their.clone())),
            // They took it away, and ours is as it was.
            None if old == Some(our) => {}
            _ => {
                conflict(name);
                merged.push((name.clone(), our.clone()));
            }
        }
    }
    let mut before: Option<&str> = None;
    for (name, their) in theirs {
        if !ours.contains_key(name) {
            match base.get(name) {
                None => {
                    let after = before.and_then(|before| merged.iter().position(|(name, _)| name == before));
                    let place = after.map_or(if before.is_none() { 0 } else { merged.len() }, |at| at + 1);
                    merged.insert(place, (name.clone(), their.clone()));
                }
                // We took it away, and they changed it.
                Some(old) if old != their => conflict(name),
                Some(_) => {}
            }
        }
        before = Some(name);
    }
    merged.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::fmt::Write as _;

    use super::*;

    fn lock(nodes: &[(&str, u8)]) -> Lock {
        let mut text = "version: 1\npipeline: p\nluthflow: 0.1.0\nplatform: x\nnodes:\n".to_owned();
        for (name, state) in nodes {
            let _ = writeln!(text, "  {name}: {{kind: sft, key: k{state}, artifact: a{state}, size: 1}}");
        }
        if nodes.is_empty() {
            text = text.replace("nodes:\n", "nodes: {}\n");
        }
        Lock::read(&text).unwrap()
    }

    fn names(lock: &Lock) -> Vec<&str> {
        lock.nodes.keys().map(String::as_str).collect()
    }

    #[test]
    fn each_node_comes_from_the_side_that_changed_it() {
        let base = lock(&[("a", 0), ("b", 0), ("c", 0)]);
        let ours = lock(&[("a", 1), ("b", 0), ("x", 5), ("c", 0)]);
        let theirs = lock(&[("a", 0), ("y", 7), ("b", 2)]);
        let Merged { lock: merged, conflicts } = merge(&base, &ours, &theirs);
        assert!(conflicts.is_empty(), "{conflicts:?}");
        assert_eq!(names(&merged), ["a", "y", "b", "x"]);
        assert_eq!([merged.node("a").unwrap().key, merged.node("b").unwrap().key], ["k1", "k2"]);
    }

    #[test]
    fn what_both_changed_is_a_conflict_and_ours_stands() {
        let base = lock(&[("a", 0), ("b", 0), ("c", 0)]);
        let Merged { lock: merged, conflicts } =
            merge(&base, &lock(&[("a", 1), ("c", 0)]), &lock(&[("a", 2), ("b", 3), ("c", 0)]));
        assert_eq!(conflicts, ["node `a`", "node `b`"]);
        assert_eq!(merged.node("a").unwrap().key, "k1");
    }

    #[test]
    fn a_node_keeps_its_platform_below_another_top() {
        let (base, mut ours, mut theirs) = (lock(&[("a", 0)]), lock(&[("a", 0), ("b", 1)]), lock(&[("c", 1)]));
        ours.platform = "ours".into();
        theirs.platform = "theirs".into();
        theirs.nodes.insert("a".into(), {
            let mut a = base.node("a").unwrap();
            a.platform = Some("x".into());
            serde_json::to_value(a).unwrap()
        });
        let mut our_a = base.node("a").unwrap();
        our_a.platform = Some("x".into());
        ours.set("a", &our_a);
        let Merged { lock: merged, conflicts } = merge(&base, &ours, &theirs);
        assert!(conflicts.is_empty(), "{conflicts:?}");
        let platform = |name: &str| merged.platform_of(&merged.node(name).unwrap()).to_owned();
        assert_eq!([platform("a"), platform("b"), platform("c")], ["x", "ours", "theirs"]);
    }

    proptest! {
        #[test]
        fn merging_obeys_its_laws(
            base in proptest::collection::btree_map("[a-f]", 0..3u8, 0..6),
            ours in proptest::collection::btree_map("[a-f]", 0..3u8, 0..6),
            theirs in proptest::collection::btree_map("[a-f]", 0..3u8, 0..6),
        ) {
            let of = |map: &std::collections::BTreeMap<String, u8>| {
                lock(&map.iter().map(|(name, state)| (name.as_str(), *state)).collect::<Vec<_>>())
            };
            let (b, o, t) = (of(&base), of(&ours), of(&theirs));
            // A side that changed nothing gives the other one; both the same give that.
            prop_assert_eq!(&merge(&b, &b, &t).lock.nodes, &t.nodes);
            prop_assert_eq!(&merge(&b, &o, &b).lock.nodes, &o.nodes);
            prop_assert_eq!(merge(&b, &o, &o), Merged { lock: o.clone(), conflicts: vec![] });
            // Which side is ours decides only what stands in a conflict.
            let (one, other) = (merge(&b, &o, &t), merge(&b, &t, &o));
            prop_assert_eq!(one.conflicts.len(), other.conflicts.len());
            if one.conflicts.is_empty() {
                prop_assert_eq!(one.lock.nodes, other.lock.nodes);
            }
        }
    }
}
