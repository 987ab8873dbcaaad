//! `luthflow graph`: the graph for Graphviz or Mermaid.

use std::fmt::Write;

use crate::cli::args::{Cli, GraphArgs, GraphFormat};
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::project::Project;
use crate::cli::report::CliError;
use crate::plan::Plan;

pub(in crate::cli) fn run(args: &GraphArgs, cli: &Cli) -> Result<Exit, CliError> {
    let project = Project::load(&args.pipeline, cli)?;
    let text = match args.format {
        GraphFormat::Dot => dot(&project.plan),
        GraphFormat::Mermaid => mermaid(&project.plan),
    };
    output::data(text.trim_end())?;
    Ok(Exit::Success)
}

fn dot(plan: &Plan) -> String {
    let mut out = String::from("digraph pipeline {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n");
    for id in plan.order() {
        let instance = plan.instance(*id);
        let _ = writeln!(out, "  n{} [label=\"{}\\n{}\"];", id.index(), instance.name, instance.kind().name());
    }
    for (from, to) in edges(plan) {
        let _ = writeln!(out, "  n{from} -> n{to};");
    }
    out.push_str("}\n");
    out
}

fn mermaid(plan: &Plan) -> String {
    let mut out = String::from("flowchart LR\n");
    for id in plan.order() {
        let instance = plan.instance(*id);
        let _ = writeln!(out, "  n{}[\"{}<br/>{}\"]", id.index(), instance.name, instance.kind().name());
    }
    for (from, to) in edges(plan) {
        let _ = writeln!(out, "  n{from} --> n{to}");
    }
    out
}

fn edges(plan: &Plan) -> Vec<(usize, usize)> {
    let mut edges: Vec<(usize, usize)> =
        plan.ids().flat_map(|to| plan.upstream(to).map(move |from| (from.index(), to.index()))).collect();
    edges.sort_unstable();
    edges
}
