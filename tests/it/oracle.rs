//! A build system for tests that anyone can check by reading: it knows what every node of a random graph gives from the
//! bytes it reads, and remembers all it ever made. It shares no code with luthflow: no digests, no keys, no YAML reader.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Random numbers that are the same each time (xorshift, Marsaglia 2003).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..8).for_each(|_| _ = dice.next());
        dice
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub(crate) fn one_in(&mut self, turns: usize) -> bool {
        self.below(turns) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// What a node does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Work {
    /// Brings in these lines.
    Source(Vec<String>),
    /// All lines of its inputs.
    Cat,
    /// The first lines of its inputs: what changes behind them changes nothing below.
    First,
    /// The same whatever it reads.
    Const,
    /// How many lines its inputs have.
    Count,
    /// All lines with something in front.
    Tag,
    /// The lines that are long enough.
    Curate,
    /// The instance of a swept curation with the fewest rows left, or the most rows read.
    Best,
}

/// The one setting of a node: a value, or the values of an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Setting {
    Fixed(u32),
    Axis(char),
}

#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// What stays when it is renamed.
    pub(crate) id: usize,
    pub(crate) name: String,
    pub(crate) work: Work,
    pub(crate) setting: Setting,
    pub(crate) from: Vec<usize>,
}

/// A pipeline. Nodes only read earlier ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dag {
    pub(crate) nodes: Vec<Node>,
    pub(crate) axes: BTreeMap<char, [u32; 2]>,
    pub(crate) zip: bool,
    pub(crate) exclude: bool,
    /// Decides the order in the file and a comment, which mean nothing.
    pub(crate) looks: u64,
}

type Point = BTreeMap<char, u32>;

impl Dag {
    pub(crate) fn node(&self, id: usize) -> &Node {
        self.nodes.iter().find(|node| node.id == id).unwrap()
    }

    /// The axes that a node has instances for.
    pub(crate) fn axes_of(&self, node: &Node) -> BTreeSet<char> {
        if node.work == Work::Best {
            return BTreeSet::new();
        }
        let mut axes: BTreeSet<char> = node.from.iter().flat_map(|id| self.axes_of(self.node(*id))).collect();
        if let Setting::Axis(axis) = node.setting {
            axes.insert(axis);
        }
        axes
    }

    fn points(&self, node: &Node) -> Vec<Point> {
        let axes: Vec<char> = self.axes_of(node).into_iter().collect();
        let mut points = vec![Point::new()];
        for axis in &axes {
            points = points
                .iter()
                .flat_map(|point| {
                    self.axes[axis].iter().map(|value| point.clone().into_iter().chain([(*axis, *value)]).collect())
                })
                .collect();
        }
        if axes.len() == 2 {
            let place = |point: &Point, axis| self.axes[&axis].iter().position(|value| point[&axis] == *value).unwrap();
            points.retain(|point| {
                let at = (place(point, 'a'), place(point, 'b'));
                if self.zip { at.0 == at.1 } else { !(self.exclude && at == (0, 1)) }
            });
        }
        points
    }

    pub(crate) fn instances(&self) -> usize {
        self.nodes.iter().map(|node| self.points(node).len()).sum()
    }

    /// Makes a pipeline of what is left after an edit: a selection needs a swept curation.
    pub(crate) fn mend(&mut self) {
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index];
            let from = node.from.first().map(|id| self.node(*id));
            let swept = from.is_some_and(|from| from.work == Work::Curate && !self.axes_of(from).is_empty());
            if node.work == Work::Best && !swept {
                self.nodes[index].work = Work::Curate;
            }
        }
    }

    /// The pipeline as a file.
    pub(crate) fn yaml(&self) -> String {
        let used: BTreeSet<char> = self.nodes.iter().flat_map(|node| self.axes_of(node)).collect();
        let both = self.nodes.iter().any(|node| self.axes_of(node).len() == 2);
        let mut sweep: Vec<String> = used.iter().map(|axis| format!("{axis}: {:?}", self.axes[axis])).collect();
        if used.len() == 2 && self.zip {
            sweep.push("zip: [[a, b]]".into());
        } else if both && self.exclude {
            sweep.push(format!("exclude: [{{a: {}, b: {}}}]", self.axes[&'a'][0], self.axes[&'b'][1]));
        }
        let mut text = format!("# {}\nversion: 1\nname: random\n", self.looks);
        if !sweep.is_empty() {
            let _ = writeln!(text, "sweep: {{{}}}", sweep.join(", "));
        }
        text.push_str("nodes:\n");
        let mut order: Vec<&Node> = self.nodes.iter().collect();
        order.sort_by_key(|node| (node.id as u64 + 1).wrapping_mul(self.looks | 1) % 1009);
        for node in order {
            let _ = writeln!(text, "  {}: {}", node.name, self.node_yaml(node));
        }
        text
    }

    fn node_yaml(&self, node: &Node) -> String {
        let names: Vec<&str> = node.from.iter().map(|id| self.node(*id).name.as_str()).collect();
        let setting = match node.setting {
            Setting::Fixed(value) => value.to_string(),
            Setting::Axis(axis) => format!("\"${{{axis}}}\""),
        };
        let script = match &node.work {
            Work::Source(_) => return format!("{{kind: source, dataset: data/{}/in.txt, rows: line}}", node.id),
            Work::Curate => {
                return format!(
                    "{{kind: curate, from: [{}], steps: [{{length: {{min_chars: {setting}}}}}]}}",
                    names.join(", ")
                );
            }
            Work::Best => {
                let (metric, goal) = rule(node);
                return format!("{{kind: select, from: {0}, by: {0}.{metric}, goal: {goal}}}", names[0]);
            }
            Work::Cat => "shift; cat \"$@\" > rows.txt",
            Work::First => "k=$1; shift; cat \"$@\" | head -n $k > rows.txt",
            Work::Const => "echo \"the same for $1\" > rows.txt",
            Work::Count => "shift; n=$(cat \"$@\" | wc -l); echo \"the count is $n\" > rows.txt",
            Work::Tag => "k=$1; shift; cat \"$@\" | sed \"s/^/$k /\" > rows.txt",
        };
        let inputs: Vec<String> = node
            .from
            .iter()
            .map(|id| format!("'${{{}}}/{}'", self.node(*id).name, file(&self.node(*id).work)))
            .collect();
        format!(
            "{{kind: command, run: [sh, -c, '{script}', x, {setting}, {}], outputs: [rows.txt], gives: dataset}}",
            inputs.join(", ")
        )
    }
}

/// Where the rows of a node lie below the path that a program gets.
pub(crate) fn file(work: &Work) -> &'static str {
    match work {
        Work::Source(_) => "files/in.txt",
        Work::Curate | Work::Best => "data.jsonl",
        _ => "files/rows.txt",
    }
}

fn rule(node: &Node) -> (&'static str, &'static str) {
    match node.setting {
        Setting::Fixed(value) if value % 2 == 1 => ("rows_in", "max"),
        _ => ("rows_out", "min"),
    }
}

/// What a node gave.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Made {
    /// What others read of it.
    pub(crate) lines: Vec<String>,
    /// What identifies what others read of it.
    read: String,
    /// What identifies all of it.
    pub(crate) whole: String,
    rows_in: usize,
}

/// One instance, as it has to be.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pub(crate) node: usize,
    pub(crate) key: String,
    pub(crate) fresh: bool,
    pub(crate) made: Made,
    /// The instances that it reads.
    pub(crate) reads: Vec<String>,
}

/// All that was ever made and is still there.
#[derive(Default)]
pub(crate) struct Memory(pub(crate) BTreeMap<String, Made>);

impl Memory {
    /// Says of every instance whether it is known and what it gives, and remembers it.
    pub(crate) fn build(&mut self, dag: &Dag) -> BTreeMap<String, Expected> {
        let before: BTreeSet<String> = self.0.keys().cloned().collect();
        let mut out: BTreeMap<String, Expected> = BTreeMap::new();
        for node in &dag.nodes {
            for point in dag.points(node) {
                let mut reads = Vec::new();
                for id in &node.from {
                    let from = dag.node(*id);
                    let axes = dag.axes_of(from);
                    let all = dag.points(from);
                    let own =
                        |other: &&Point| node.work == Work::Best || axes.iter().all(|axis| other[axis] == point[axis]);
                    reads.extend(all.iter().filter(own).map(|point| named(from, point)));
                }
                let setting = match node.setting {
                    Setting::Fixed(value) => value,
                    Setting::Axis(axis) => point[&axis],
                };
                let inputs: Vec<(&String, &Made)> = reads.iter().map(|name| (name, &out[name].made)).collect();
                let key = key(node, setting, &inputs);
                let made = self.0.entry(key.clone()).or_insert_with(|| work(node, setting, &inputs)).clone();
                let fresh = before.contains(&key);
                out.insert(named(node, &point), Expected { node: node.id, key, fresh, made, reads });
            }
        }
        out
    }
}

fn named(node: &Node, point: &Point) -> String {
    let values: Vec<String> = point.iter().map(|(axis, value)| format!("{axis}={value}")).collect();
    if values.is_empty() { node.name.clone() } else { format!("{}[{}]", node.name, values.join(",")) }
}

/// All that may decide what a node gives.
fn key(node: &Node, setting: u32, inputs: &[(&String, &Made)]) -> String {
    match &node.work {
        Work::Source(lines) => format!("source {lines:?}"),
        // What it chose is told by its name.
        Work::Best => {
            let inputs: Vec<_> = inputs.iter().map(|(name, made)| (name, &made.whole)).collect();
            format!("best {:?} {inputs:?}", rule(node))
        }
        other => {
            let inputs: Vec<_> = inputs.iter().map(|(_, made)| &made.read).collect();
            format!("{other:?} {setting} {inputs:?}")
        }
    }
}

fn work(node: &Node, setting: u32, inputs: &[(&String, &Made)]) -> Made {
    let read: Vec<String> = inputs.iter().flat_map(|(_, made)| made.lines.iter().cloned()).collect();
    let count = read.len();
    let lines = match &node.work {
        Work::Source(lines) => {
            let id = format!("source {lines:?}");
            return Made { lines: lines.clone(), read: id.clone(), whole: id, rows_in: 0 };
        }
        Work::Best => {
            // The first one, where several are equally good.
            let made = inputs.iter().map(|(_, made)| *made);
            let best = match rule(node).0 {
                "rows_in" => made.rev().max_by_key(|made| made.rows_in),
                _ => made.min_by_key(|made| made.lines.len()),
            };
            return best.unwrap().clone();
        }
        Work::Curate => return curate(setting as usize, inputs),
        Work::Cat => read,
        Work::First => read.into_iter().take(setting as usize).collect(),
        Work::Const => vec![format!("the same for {setting}")],
        Work::Count => vec![format!("the count is {count}")],
        Work::Tag => read.iter().map(|line| format!("{setting} {line}")).collect(),
    };
    let id = format!("program {lines:?}");
    Made { lines, read: id.clone(), whole: id, rows_in: 0 }
}

/// Rows of a curation are objects in a file, and the texts of these objects for another curation.
fn curate(least: usize, inputs: &[(&String, &Made)]) -> Made {
    let text = |made: &Made, line: &String| -> String {
        if !made.read.starts_with("rows") {
            return line.clone();
        }
        serde_json::from_str::<serde_json::Value>(line).unwrap()["text"].as_str().unwrap().to_owned()
    };
    // Of every row: which input it is from, and its number there.
    let rows: Vec<(usize, usize, String)> = (0..)
        .zip(inputs)
        .flat_map(|(from, (_, made))| {
            (1..).zip(&made.lines).map(move |(number, line)| (from, number, text(made, line)))
        })
        .collect();
    let length = |row: &(usize, usize, String)| row.2.chars().count();
    let (kept, dropped): (Vec<_>, Vec<_>) = rows.iter().partition(|row| length(row) >= least);
    let lines: Vec<String> = kept.iter().map(|(_, _, row)| serde_json::json!({"text": row}).to_string()).collect();
    let of = |all: &[&(usize, usize, String)], from| all.iter().filter(|row| row.0 == from).count();
    let sources: Vec<(usize, usize, usize)> = (0..inputs.len())
        .map(|from| {
            let characters = kept.iter().filter(|row| row.0 == from).map(|row| length(row)).sum();
            (inputs[from].1.lines.len(), of(&kept, from), characters)
        })
        .collect();
    let characters: usize = rows.iter().map(length).sum();
    let shown = &dropped[..dropped.len().min(5)];
    let whole = format!("curated {lines:?} {sources:?} {characters} {shown:?}");
    Made { read: format!("rows {lines:?}"), lines, whole, rows_in: rows.len() }
}
