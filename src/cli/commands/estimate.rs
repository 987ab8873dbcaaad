//! `luthflow plan --estimate`: what a run would cost, on a device.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;

use console::style;
use serde::Serialize;
use serde_json::{Value, json};

use super::plan::{JSON_VERSION, reasons, word};
use crate::cli::args::{Cli, PlanArgs};
use crate::cli::exit::Exit;
use crate::cli::project::{Project, Written, read_cache};
use crate::cli::report::CliError;
use crate::cli::{machine, output};
use crate::estimate::device::{self, THIS};
use crate::estimate::{Cost, Device, Earlier, Estimate, Figure, Ground, reckon};
use crate::exec::estimate::{Gathered, earlier, gather, measure};
use crate::exec::locked;
use crate::tensor::DeviceChoice;

/// Prints the plan with what it costs.
pub(super) fn show(args: &PlanArgs, cli: &Cli) -> Result<Exit, CliError> {
    let bandwidth = args.bandwidth.as_deref().map(bandwidth).transpose()?;
    let device = device_of(args.device.as_deref().unwrap_or(THIS))?;
    let mut written = Written::read(&args.look.pipeline, cli)?;
    written.outside = Rc::new(written.looking().hasty());
    let project = Project::understand(written, cli)?;
    let cache = read_cache(cli)?;
    let decider = project.decider(&cache);
    let wanted = project.plan.with_ancestors(&project.targets()?);
    let lock = locked::read(&project.lock_path())?;
    let gathered = gather(&decider, &wanted, lock.as_ref())?;
    let earlier = if device.measured { earlier(&decider)? } else { Earlier::default() };
    let ground = Ground { plan: &project.plan, facts: &gathered.facts, device: &device, earlier: &earlier, bandwidth };
    let estimate = reckon(&ground, &wanted);
    if args.look.json {
        output::json(&listing(&project, &gathered, &device, &estimate))?;
    } else {
        output::data(text(&project, &gathered, &device, &estimate).trim_end())?;
    }
    Ok(Exit::Success)
}

/// Returns the device of this name; that of this machine is measured.
fn device_of(name: &str) -> Result<Device, CliError> {
    if name == THIS {
        // Which device a run would take is for the environment to say, as it is for `run`.
        let choice = match std::env::var("LUTHFLOW_DEVICE") {
            Ok(word) => word.parse().map_err(|error| CliError::user(format!("LUTHFLOW_DEVICE: {error}")))?,
            Err(_) => DeviceChoice::Auto,
        };
        let memory = machine::resources(None, 1)?.memory;
        let measured = measure(choice, memory).map_err(|error| CliError::user(error.to_string()))?;
        return Ok(device::this(measured));
    }
    device::named(&name.to_lowercase()).ok_or_else(|| {
        let names: Vec<&str> = device::names().collect();
        CliError::user(format!("there is no device `{name}` in the table"))
            .help(format!("it has {}; `this` measures what is here", names.join(", ")))
    })
}

/// Reads bytes a second: `1Gbit`, `300Mbit`, `50MB`.
fn bandwidth(text: &str) -> Result<f64, CliError> {
    let wrong =
        || CliError::user(format!("`--bandwidth {text}` is no speed")).help("write `1Gbit`, `300Mbit` or `50MB`");
    let units = [("Gbit", 1e9 / 8.0), ("Mbit", 1e6 / 8.0), ("GB", 1e9), ("MB", 1e6)];
    let plain = text.trim().trim_end_matches("/s");
    let (number, unit) =
        units.iter().find_map(|(unit, bytes)| Some((plain.strip_suffix(unit)?, *bytes))).ok_or_else(wrong)?;
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    if number > 0.0 && number.is_finite() { Ok(number * unit) } else { Err(wrong()) }
}

/// The JSON of a plan with an estimate: that of the plan, and more.
fn listing(project: &Project, gathered: &Gathered, device: &Device, estimate: &Estimate) -> Value {
    let nodes = estimate.nodes.iter().filter_map(|node| {
        let (instance, state) = (project.plan.instance(node.id), gathered.states[node.id.index()].as_ref()?);
        Some(json!({
            "name": instance.name, "kind": instance.kind().name(), "state": word(state), "reasons": reasons(state),
            "estimate": node.cost,
        }))
    });
    let nodes: Vec<Value> = nodes.collect();
    json!({
        "version": JSON_VERSION, "pipeline": project.plan.name, "nodes": nodes,
        "estimate": {"device": Shown::of(device), "total": estimate.total},
    })
}

/// A device, with what it sustains.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    device: &'a Device,
    sustained_flops: f64,
}

impl<'a> Shown<'a> {
    fn of(device: &'a Device) -> Self {
        Self { device, sustained_flops: device.sustained() }
    }
}

const HEAD: [&str; 8] = ["", "node", "tokens", "FLOPs", "disk", "host", "device", "time"];

fn text(project: &Project, gathered: &Gathered, device: &Device, estimate: &Estimate) -> String {
    let mut rows: Vec<[String; 8]> = vec![HEAD.map(str::to_owned)];
    let mut what = vec![String::new()];
    let mut fresh = 0;
    for node in &estimate.nodes {
        let Some(state) = &gathered.states[node.id.index()] else { continue };
        if gathered.facts[node.id.index()].fresh {
            fresh += 1;
            continue;
        }
        let instance = project.plan.instance(node.id);
        let [tokens, flops, disk, host, on_device, time] = columns(&node.cost);
        rows.push([word(state).into(), instance.name.clone(), tokens, flops, disk, host, on_device, time]);
        what.push(format!("{}: {}", instance.kind().name(), node.cost.what));
    }
    let total = &estimate.total;
    let all = [total.tokens, total.flops, total.disk, total.host_memory, total.device_memory];
    let [tokens, flops, disk, host, on_device] = all;
    rows.push([
        String::new(),
        format!("{} to run", rows.len() - 1),
        said(tokens, &count),
        said(flops, &operations),
        said(disk, &bytes),
        said(host, &bytes),
        said(on_device, &bytes),
        said(total.seconds, &time),
    ]);
    what.push(match total.without_time {
        0 => "one after the other".to_owned(),
        nodes => format!("one after the other, without {nodes} whose time is unknown"),
    });
    let mut out = heading(device);
    if rows.len() == 2 {
        return format!("{out}nothing to run: {fresh} fresh");
    }
    table(&rows, &what, &mut out);
    if fresh > 0 {
        let _ = writeln!(out, "\n{fresh} fresh, which cost nothing");
    }
    warnings(project, estimate, &mut out);
    notes(project, estimate, device, &mut out);
    out
}

fn columns(cost: &Cost) -> [String; 6] {
    [
        said(cost.tokens, &count),
        said(cost.flops + cost.recomputed_flops, &operations),
        said(cost.disk, &bytes),
        said(cost.host_memory, &bytes),
        said(cost.device_memory, &bytes),
        said(cost.seconds, &time),
    ]
}

fn heading(device: &Device) -> String {
    let Device { name, about, .. } = device;
    let (sustained, peak) = (operations(device.sustained()), operations(device.peak_flops));
    let mut out = format!("on {name}: {about}, {sustained}/s sustained of {peak}/s, {}/s", bytes(device.bandwidth));
    if let Some(memory) = device.memory {
        let _ = write!(out, ", {}", bytes(memory));
    }
    out.push_str(if device.measured { " (measured now)\n\n" } else { "\n\n" });
    out
}

fn table(rows: &[[String; 8]], what: &[String], out: &mut String) {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..8).map(width).collect();
    for (row, what) in rows.iter().zip(what) {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = if column < 2 { write!(line, "{cell:<width$}  ") } else { write!(line, "{cell:>width$}  ") };
        }
        let _ = writeln!(out, "{}", format!("{line}{}", style(what).dim()).trim_end());
    }
}

fn warnings(project: &Project, estimate: &Estimate, out: &mut String) {
    let mut misfits: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for node in &estimate.nodes {
        if let Some(why) = &node.cost.fits {
            misfits.entry(why).or_default().push(&project.plan.instance(node.id).name);
        }
    }
    for (why, names) in misfits {
        let _ = writeln!(out, "\n{} {} {why}", style("does not fit:").yellow(), few(&names));
    }
}

/// Says what is assumed, each once, with whom it concerns.
fn notes(project: &Project, estimate: &Estimate, device: &Device, out: &mut String) {
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    for node in &estimate.nodes {
        for note in &node.cost.notes {
            let name = project.plan.instance(node.id).name.as_str();
            match found.iter_mut().find(|(known, _)| known == note) {
                Some((_, names)) => names.push(name),
                None => found.push((note, vec![name])),
            }
        }
    }
    let _ = writeln!(out, "\n`~` rests on an assumption, `?` is unknown:");
    if device.measured {
        let share = device.sustained_share * 100.0;
        let _ = writeln!(out, "- trainings and prompts reach {share:.0} % of a plain matrix product");
    } else {
        let share = device.sustained_share * 100.0;
        let _ = writeln!(
            out,
            "- trainings and prompts reach {share:.0} % of the device's peak; `--device this` measures one that is here"
        );
    }
    for (note, names) in found {
        let _ = writeln!(out, "- {note} ({})", few(&names));
    }
}

/// Names a few.
fn few(names: &[&str]) -> String {
    match names {
        [first, second, third, rest @ ..] if rest.len() > 1 => {
            format!("{first}, {second}, {third} and {} more", rest.len())
        }
        names => names.join(", "),
    }
}

/// Writes a figure: `~` before what is assumed, `?` for what is unknown, `-` for nothing.
fn said(figure: Figure, write: &dyn Fn(f64) -> String) -> String {
    match figure {
        Figure::Unknown => "?".to_owned(),
        Figure::Known(0.0) | Figure::Assumed(0.0) => "-".to_owned(),
        Figure::Known(value) => write(value),
        Figure::Assumed(value) => format!("~{}", write(value)),
    }
}

fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    let found = units.iter().find(|(least, _)| value >= *least).or(units.last());
    let Some((least, unit)) = found else { return value.to_string() };
    let value = value / least;
    if value < 9.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

fn count(value: f64) -> String {
    if value < 1000.0 {
        return format!("{value:.0}");
    }
    scaled(value, &[(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")])
}

fn operations(value: f64) -> String {
    scaled(value, &[(1e18, "EFLOP"), (1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP")])
}

fn bytes(value: f64) -> String {
    scaled(value, &[(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")])
}

fn time(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 1.0 => "<1 s".to_owned(),
        seconds if seconds < 90.0 => format!("{seconds:.0} s"),
        seconds if seconds < 5400.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3600.0),
    }
}
