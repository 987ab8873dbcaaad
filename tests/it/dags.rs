//! Random graphs and random edits: what runs is what has to run, no more and no less, and every byte is right.
//!
//! What has to run is said by [`crate::oracle`], which shares nothing with luthflow. A failure prints the seed, the edit
//! and the pipeline.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

use crate::oracle::{Dag, Dice, Expected, Memory, Node, Setting, Work, file};
use crate::world::World;

/// More would take long, and find nothing that these do not.
const MOST_INSTANCES: usize = 16;

/// Two tests, so that two cores share the work.
#[test]
fn after_every_edit_just_what_has_to_run_runs() {
    (0..14).for_each(|seed| story(2 * seed, 11));
}

#[test]
fn after_every_edit_just_what_has_to_run_runs_too() {
    (0..14).for_each(|seed| story(2 * seed + 1, 11));
}

/// The rows that are left stay as they are, so whoever reads them is fresh; the count of those that were read changes,
/// and with it the choice.
#[test]
fn a_choice_is_made_again_when_only_a_metric_changes() {
    let world = World::empty();
    world.write(
        "pipeline.yaml",
        "version: 1\nsweep: {a: [1, 2]}\nnodes:\n  \
         rows: {kind: source, dataset: \"data/${a}.txt\", rows: line}\n  \
         long: {kind: curate, from: [rows], steps: [{length: {min_chars: 5}}]}\n  \
         best: {kind: select, from: long, by: long.rows_in, goal: min}\n  \
         next: {kind: curate, from: [long], steps: [{length: {min_chars: 1}}]}\n",
    );
    world.write("data/1.txt", "x\na long line\n");
    world.write("data/2.txt", "x\nx\nx\nanother long line\n");
    world.run_ok(&[]);
    assert_eq!(world.json(&["show", "best", "--json"])["metrics"]["chosen.a"], 1.0);
    world.write("data/1.txt", "x\nx\nx\nx\nx\na long line\n");
    let ran = world.run_ok(&[]);
    assert_eq!(ran.ran, ["rows[a=1]", "long[a=1]", "best"]);
    assert_eq!(world.json(&["show", "best", "--json"])["metrics"]["chosen.a"], 2.0);
    assert_eq!(world.run(&["lock", "--check"]).code, 0);
}

/// One pipeline, and what happens to it.
struct Story {
    world: World,
    dice: Dice,
    dag: Dag,
    memory: Memory,
    /// Earlier pipelines, to go back to.
    past: Vec<Dag>,
    /// The artifacts of the instances.
    artifacts: BTreeMap<String, String>,
    next: usize,
    seed: u64,
}

/// What an edit asks of the run after it.
#[derive(Default)]
struct Edit {
    what: String,
    force: Option<String>,
    /// Instances whose artifacts rot unseen until something reads them.
    rotten: BTreeSet<String>,
}

fn story(seed: u64, steps: usize) {
    let world = World::empty();
    let (dag, memory) = (Dag { axes: [('a', [1, 2]), ('b', [5, 8])].into(), ..Dag::default() }, Memory::default());
    let mut story = Story {
        world,
        dice: Dice::new(seed),
        dag,
        memory,
        past: Vec::new(),
        artifacts: BTreeMap::new(),
        next: 0,
        seed,
    };
    let size = 2 + story.dice.below(9);
    while story.dag.nodes.len() < size {
        story.try_edit(&mut Story::add);
    }
    story.step(&Edit { what: "begins".into(), ..Edit::default() });
    for _ in 0..steps {
        let edit = story.edit();
        story.step(&edit);
    }
    story.compare_with_a_fresh_cache();
}

impl Story {
    fn lines(&mut self) -> Vec<String> {
        let words = ["long lines are kept", "a longer line than most", "s", "short", "tiny row"];
        let count = 1 + self.dice.below(4);
        let first = format!("the first line {}", self.dice.below(3));
        std::iter::once(first).chain((0..count).map(|_| (*self.dice.pick(&words)).to_owned())).collect()
    }

    fn setting(&mut self) -> Setting {
        match self.dice.below(6) {
            0 => Setting::Axis('a'),
            1 => Setting::Axis('b'),
            _ => Setting::Fixed(1 + self.dice.below(9) as u32),
        }
    }

    fn add(&mut self) -> String {
        let earlier: Vec<usize> = self.dag.nodes.iter().map(|node| node.id).collect();
        let source = earlier.is_empty() || self.dice.one_in(5);
        let work = if source {
            Work::Source(self.lines())
        } else {
            let works =
                [Work::Cat, Work::First, Work::Const, Work::Count, Work::Tag, Work::Curate, Work::Curate, Work::Best];
            self.dice.pick(&works).clone()
        };
        let mut from = Vec::new();
        if !source {
            from = (0..=self.dice.below(2)).map(|_| *self.dice.pick(&earlier)).collect();
        }
        let mut setting = if source { Setting::Fixed(0) } else { self.setting() };
        if work == Work::Best {
            setting = Setting::Fixed(self.dice.below(2) as u32);
            let swept = |node: &&Node| node.work == Work::Curate && !self.dag.axes_of(node).is_empty();
            let curated: Vec<usize> = self.dag.nodes.iter().filter(swept).map(|node| node.id).collect();
            from = vec![if curated.is_empty() { from[0] } else { *self.dice.pick(&curated) }];
        }
        let (id, name) = (self.next, format!("n{}", self.next));
        self.next += 1;
        self.dag.nodes.push(Node { id, name, work, setting, from });
        format!("a new node n{id}")
    }

    /// Edits the pipeline, unless it becomes too big.
    fn try_edit(&mut self, edit: &mut dyn FnMut(&mut Self) -> String) -> String {
        loop {
            let before = self.dag.clone();
            let what = edit(self);
            self.dag.mend();
            if self.dag.instances() <= MOST_INSTANCES {
                return what;
            }
            self.dag = before;
        }
    }

    fn some_node(&mut self, pick: impl Fn(&Node) -> bool) -> Option<usize> {
        let all: Vec<usize> = (0..self.dag.nodes.len()).filter(|index| pick(&self.dag.nodes[*index])).collect();
        (!all.is_empty()).then(|| *self.dice.pick(&all))
    }

    fn edit(&mut self) -> Edit {
        self.past.push(self.dag.clone());
        let what = match self.dice.below(16) {
            0..=7 => self.try_edit(&mut Self::edit_pipeline),
            8 | 9 => {
                let one = self.try_edit(&mut Self::edit_pipeline);
                format!("{one}, and {}", self.try_edit(&mut Self::edit_pipeline))
            }
            10 => {
                self.dag = self.dice.pick(&self.past).clone();
                "back to an earlier pipeline".into()
            }
            11 => {
                for name in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
                    let _ = std::fs::remove_file(self.world.path("cache").join(name));
                }
                "no index".into()
            }
            12 => return self.force(),
            13 => {
                let lost = self.victim(false);
                if let Some((name, expected)) = &lost {
                    std::fs::remove_dir_all(self.folder(name)).unwrap();
                    self.memory.0.remove(&expected.key);
                }
                format!("the artifact of {:?} is gone", lost.map(|(name, _)| name))
            }
            _ => return self.rot(),
        };
        Edit { what, ..Edit::default() }
    }

    fn edit_pipeline(&mut self) -> String {
        match self.dice.below(11) {
            0 | 1 => {
                let index = self.some_node(|node| matches!(node.work, Work::Source(_))).unwrap();
                let Work::Source(mut lines) = self.dag.nodes[index].work.clone() else { unreachable!() };
                match self.dice.below(3) {
                    0 => lines.push("a new last line".into()),
                    1 => lines[0] = format!("the first line {}", self.dice.below(3)),
                    _ => lines = self.lines(),
                }
                self.dag.nodes[index].work = Work::Source(lines);
                format!("other lines of {}", self.dag.nodes[index].name)
            }
            2 | 3 => {
                let Some(index) = self.some_node(|node| !matches!(node.work, Work::Source(_))) else {
                    return self.add();
                };
                self.dag.nodes[index].setting = match self.dag.nodes[index].work {
                    Work::Best => Setting::Fixed(self.dice.below(2) as u32),
                    _ => self.setting(),
                };
                format!("another setting of {}", self.dag.nodes[index].name)
            }
            4 => {
                let (one, two) = (self.dice.below(self.dag.nodes.len()), self.dice.below(self.dag.nodes.len()));
                let name = self.dag.nodes[one].name.clone();
                if self.dice.one_in(2) {
                    self.dag.nodes[one].name = format!("r{}", self.next);
                    self.next += 1;
                } else {
                    self.dag.nodes[one].name = std::mem::replace(&mut self.dag.nodes[two].name, name.clone());
                }
                format!("another name for {name}")
            }
            5 => self.add(),
            6 => self.remove(),
            7 => {
                let Some(index) = self.some_node(|node| !node.from.is_empty() && node.work != Work::Best) else {
                    return self.add();
                };
                let earlier = self.dag.nodes[self.dice.below(index)].id;
                let from = &mut self.dag.nodes[index].from;
                if from.len() > 1 {
                    from.truncate(1);
                } else {
                    from.push(earlier);
                }
                format!("other inputs of {}", self.dag.nodes[index].name)
            }
            8 => {
                self.dag.zip = !self.dag.zip;
                "zip or not".into()
            }
            9 => {
                self.dag.exclude = !self.dag.exclude;
                let value = 3 + self.dice.below(2) as u32;
                self.dag.axes.insert('a', [1, value]);
                "another axis".into()
            }
            _ => {
                self.dag.looks = self.dice.next();
                "another order, another comment, and every source is touched".into()
            }
        }
    }

    /// Takes a node out: who read it reads what it read.
    fn remove(&mut self) -> String {
        let read: BTreeSet<usize> = self.dag.nodes.iter().flat_map(|node| node.from.clone()).collect();
        let sources = self.dag.nodes.iter().filter(|node| node.from.is_empty()).count();
        let index = self.some_node(|node| !node.from.is_empty() || (sources > 1 && !read.contains(&node.id)));
        let Some(index) = index else { return self.add() };
        let gone = self.dag.nodes.remove(index);
        for from in self.dag.nodes.iter_mut().flat_map(|node| &mut node.from).filter(|from| **from == gone.id) {
            *from = gone.from[0];
        }
        format!("without {}", gone.name)
    }

    fn expected(&self) -> BTreeMap<String, Expected> {
        Memory(self.memory.0.clone()).build(&self.dag)
    }

    /// An instance whose key and artifact are its own, and one that reads it, if that is asked for.
    fn victim(&mut self, read: bool) -> Option<(String, Expected)> {
        let all = self.expected();
        let alone = |one: &Expected| {
            all.values().filter(|other| other.key == one.key).count() == 1
                && self.memory.0.values().filter(|made| made.whole == one.made.whole).count() == 1
        };
        let reader = |name: &String| all.values().any(|other| other.reads.contains(name));
        let some: Vec<_> = all.iter().filter(|(name, one)| alone(one) && (!read || reader(name))).collect();
        (!some.is_empty()).then(|| *self.dice.pick(&some)).map(|(name, one)| (name.clone(), one.clone()))
    }

    /// Forces an instance that does the work of no other one.
    fn force(&mut self) -> Edit {
        let all = self.expected();
        let single = |one: &&String| {
            let own = &all[*one];
            self.dag.node(own.node).work != Work::Best && all.values().filter(|other| other.key == own.key).count() == 1
        };
        let names: Vec<&String> = all.keys().filter(single).collect();
        let force = (!names.is_empty()).then(|| (*self.dice.pick(&names)).clone());
        Edit { what: format!("{force:?} is forced"), force, ..Edit::default() }
    }

    /// Flips a bit that nobody sees until the artifact is read, which a forced reader does.
    fn rot(&mut self) -> Edit {
        let Some((name, expected)) = self.victim(true) else { return self.force() };
        let all = self.expected();
        let is_reader = |other: &Expected| {
            other.reads.contains(&name)
                && self.dag.node(other.node).work != Work::Best
                && all.values().filter(|twin| twin.key == other.key).count() == 1
        };
        let Some((reader, _)) = all.iter().find(|(_, other)| is_reader(other)) else { return self.force() };
        let mut path = self.folder(&name).join(file(&self.dag.node(expected.node).work));
        if !path.exists() {
            path = self.folder(&name).join("rows/data.jsonl");
        }
        let mut bytes = std::fs::read(&path).unwrap();
        let bit = self.dice.below(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        crate::cache::replace(&path, &bytes);
        self.memory.0.remove(&expected.key);
        Edit { what: format!("{name} rots"), force: Some(reader.clone()), rotten: [name].into() }
    }

    fn folder(&self, instance: &str) -> std::path::PathBuf {
        let artifact = &self.artifacts[instance];
        self.world.path("cache/objects").join(&artifact[..2]).join(artifact)
    }

    fn fail(&self, edit: &Edit, why: &str) -> ! {
        panic!("seed {}, {}: {why}\n{}", self.seed, edit.what, self.dag.yaml())
    }

    /// Writes the pipeline, runs it, and looks at everything.
    fn step(&mut self, edit: &Edit) {
        for node in &self.dag.nodes {
            if let Work::Source(lines) = &node.work {
                let (name, text) = (format!("data/{}/in.txt", node.id), lines.join("\n") + "\n");
                let same = std::fs::read_to_string(self.world.path(&name)).is_ok_and(|old| old == text);
                // A source that is written anew with the same bytes is the same.
                if !same || self.dice.one_in(3) {
                    self.world.write(&name, &text);
                }
            }
        }
        self.world.write("pipeline.yaml", &self.dag.yaml());
        let expected = self.memory.build(&self.dag);
        let force: Vec<&str> = edit.force.iter().flat_map(|name| ["--force", name]).collect();
        let planned = self.ask(edit, &[&["run", "--dry-run", "--json"], &force[..]].concat());
        let planned: Value = serde_json::from_str(&planned).unwrap();
        let jobs = (1 + self.dice.below(3)).to_string();
        let events = self.ask(edit, &[&["run", "--json", "--jobs", &jobs], &force[..]].concat());
        let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let ran: BTreeSet<String> = names(&events.last().unwrap()["ran"]);
        self.compare_runs(edit, &expected, &ran);
        self.compare_plan(edit, &expected, &ran, &planned);
        self.compare_bytes(edit, &expected, &events);
        self.ask(edit, &["lock", "--check"]);
        let again = self.ask(edit, &["run", "--json"]);
        let last: Value = serde_json::from_str(again.lines().last().unwrap()).unwrap();
        if !names(&last["ran"]).is_empty() || names(&last["fresh"]).len() != expected.len() {
            self.fail(edit, &format!("the second run: {last}"));
        }
    }

    fn ask(&self, edit: &Edit, args: &[&str]) -> String {
        let ran = self.world.run(args);
        if ran.code != 0 {
            self.fail(edit, &format!("{args:?} ended with {}: {}{}", ran.code, ran.stdout, ran.stderr));
        }
        ran.stdout
    }

    /// Of the instances that do the same work, one does it.
    fn compare_runs(&self, edit: &Edit, expected: &BTreeMap<String, Expected>, ran: &BTreeSet<String>) {
        let mut groups: BTreeMap<&str, (bool, Vec<&String>)> = BTreeMap::new();
        for (name, one) in expected {
            let group = groups.entry(&one.key).or_default();
            group.0 |= !one.fresh || edit.force.as_ref() == Some(name);
            group.1.push(name);
        }
        let mut wrong = String::new();
        for (has_to, names) in groups.values() {
            let found: Vec<_> = names.iter().filter(|name| ran.contains(**name)).collect();
            if found.len() != usize::from(*has_to) {
                let _ = writeln!(wrong, "of {names:?} {} had to run, and {found:?} ran", usize::from(*has_to));
            }
        }
        if !wrong.is_empty() {
            self.fail(edit, &wrong);
        }
    }

    fn compare_plan(
        &self,
        edit: &Edit,
        expected: &BTreeMap<String, Expected>,
        ran: &BTreeSet<String>,
        planned: &Value,
    ) {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let nodes = planned["nodes"].as_array().unwrap();
        let states: BTreeMap<String, String> =
            nodes.iter().map(|node| (text(&node["name"]), text(&node["state"]))).collect();
        if !states.keys().eq(expected.keys()) {
            self.fail(edit, &format!("the plan has {:?}", states.keys()));
        }
        for (name, state) in &states {
            let own = &expected[name];
            let twins = || expected.iter().filter(|(_, other)| other.key == own.key).map(|(name, _)| name);
            let agrees = match state.as_str() {
                "fresh" => !ran.contains(name) || edit.rotten.contains(name),
                "stale" => twins().any(|name| ran.contains(name)),
                _ => own.reads.iter().any(|read| states[read] != "fresh"),
            };
            if !agrees {
                self.fail(edit, &format!("{name} was planned as {state}; ran: {ran:?}; planned: {planned}"));
            }
        }
    }

    fn compare_bytes(&mut self, edit: &Edit, expected: &BTreeMap<String, Expected>, events: &[Value]) {
        for event in events.iter().filter(|event| event["artifact"].is_string()) {
            let text = |field: &str| event[field].as_str().unwrap().to_owned();
            self.artifacts.insert(text("node"), text("artifact"));
        }
        let mut wholes: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, one) in expected {
            let folder = self.folder(name);
            let places = ["files/in.txt", "files/rows.txt", "rows/data.jsonl"];
            let found = places.iter().find_map(|place| std::fs::read_to_string(folder.join(place)).ok());
            if found.as_deref().map(|text| text.lines().map(str::to_owned).collect()) != Some(one.made.lines.clone()) {
                self.fail(edit, &format!("{name} is {found:?}, and should be {:?}", one.made.lines));
            }
            let artifact = &self.artifacts[name];
            let first = *wholes.entry(artifact).or_insert(&one.made.whole);
            if first != one.made.whole {
                self.fail(edit, &format!("{name} has an artifact that is not its own: {first}"));
            }
        }
        let different: BTreeSet<&str> = expected.values().map(|one| one.made.whole.as_str()).collect();
        if different.len() != wholes.len() {
            self.fail(edit, "equal contents have different artifacts");
        }
    }

    /// What a long history led to is what one run from nothing gives, down to the bytes of the lockfile.
    fn compare_with_a_fresh_cache(&self) {
        let edit = Edit { what: "a fresh cache".into(), ..Edit::default() };
        let lock = self.world.read("pipeline.lock");
        self.ask(&edit, &["cache", "verify"]);
        std::fs::remove_file(self.world.path("pipeline.lock")).unwrap();
        self.ask(&edit, &["run", "--json", "--cache-dir", "other"]);
        if lock != self.world.read("pipeline.lock") {
            self.fail(&edit, &format!("{lock}\n{}", self.world.read("pipeline.lock")));
        }
    }
}

fn names(list: &Value) -> BTreeSet<String> {
    list.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}
