//! Several runs on one cache at the same moment: every program runs once over all of them, all end well and alike, and
//! nobody waits for ever, whoever looks on, collects or is killed meanwhile.
//!
//! Each program leaves a line in a file outside of its folder, where luthflow cannot see it: these lines are counted.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::oracle::Dice;
use crate::world::World;

/// Far more than any race takes: longer is a deadlock.
const DEADLOCK: Duration = Duration::from_mins(2);

/// What two pipelines have in common, under other names, and what each has for itself. `ROUND` makes it new each time.
const ONE: &str = "\
version: 1
nodes:
  a: {kind: command, run: [sh, -c, 'echo a >> \"$1\"; echo $2 > out', x, 'COUNT', ROUND], outputs: [out]}
  b: {kind: command, run: [sh, -c, 'echo b >> \"$1\"; cat \"$2\" > out', x, 'COUNT', '${a}/out'], outputs: [out]}
  c: {kind: command, run: [sh, -c, 'echo c >> \"$1\"; sleep 0.01; wc -c < \"$2\" > out', x, 'COUNT', '${a}/out'], outputs: [out]}
  d: {kind: command, run: [sh, -c, 'echo d >> \"$1\"; cat \"$2\" \"$3\" > out', x, 'COUNT', '${b}/out', '${c}/out'], outputs: [out]}
";
const TWO: &str = "\
version: 1
nodes:
  e: {kind: command, run: [sh, -c, 'echo e >> \"$1\"; cat \"$2\" \"$3\" > out', x, 'COUNT', '${third}/out', '${second}/out'], outputs: [out]}
  first: {kind: command, run: [sh, -c, 'echo a >> \"$1\"; echo $2 > out', x, 'COUNT', ROUND], outputs: [out]}
  second: {kind: command, run: [sh, -c, 'echo b >> \"$1\"; cat \"$2\" > out', x, 'COUNT', '${first}/out'], outputs: [out]}
  third: {kind: command, run: [sh, -c, 'echo c >> \"$1\"; sleep 0.01; wc -c < \"$2\" > out', x, 'COUNT', '${first}/out'], outputs: [out]}
";

/// Two tests, so that two cores share the work.
#[test]
fn runs_at_once_do_every_node_once() {
    race_often(1, 130, false);
}

#[test]
fn runs_at_once_go_on_when_one_of_them_is_killed() {
    race_often(2, 90, true);
}

fn race_often(seed: u64, races: usize, kill: bool) {
    let world = World::empty();
    let mut dice = Dice::new(seed);
    let mut killed = 0;
    for round in 0..races {
        // A new cache now and then: making one is a race too.
        if round % 8 == 0 {
            let _ = std::fs::remove_dir_all(world.path("cache"));
        }
        let victims = race(&world, &mut dice, round, kill);
        killed += victims;
        settled(&world, round, victims);
    }
    assert_eq!(killed > 0, kill, "{killed} were killed");
}

/// A process of a race.
struct Racer {
    child: Child,
    args: Vec<String>,
    /// When it is killed, after the beginning.
    kill: Option<Duration>,
    killed: bool,
}

/// Lets processes race, and returns how many were killed.
fn race(world: &World, dice: &mut Dice, round: usize, kill: bool) -> usize {
    let count = world.path(&format!("count-{round}"));
    for (name, text) in [("one.yaml", ONE), ("two.yaml", TWO)] {
        let text = text.replace("COUNT", &count.to_string_lossy()).replace("ROUND", &round.to_string());
        world.write(name, &text);
    }
    let runs = if dice.one_in(3) { 4 } else { 2 };
    let overlapping = dice.one_in(2);
    let began = Instant::now();
    let mut racers = Vec::new();
    for number in 0..runs {
        let file = if overlapping && number % 2 == 1 { "two.yaml" } else { "one.yaml" };
        let kill = (kill && number == 0).then(|| began.elapsed() + Duration::from_micros(dice.next() % 90_000));
        racers.push(start(world, &["run", "--json", "--jobs", "2", "-p", file], kill));
        if dice.one_in(2) {
            racers.push(start(world, LOOKS[dice.below(LOOKS.len())], None));
        }
        std::thread::sleep(Duration::from_micros(dice.next() % 25_000));
    }
    let killed = end(racers, began, round);
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    for line in std::fs::read_to_string(&count).unwrap().lines() {
        *lines.entry(line.to_owned()).or_default() += 1;
    }
    let wanted: &[&str] = if overlapping { &["a", "b", "c", "d", "e"] } else { &["a", "b", "c", "d"] };
    // The one that was killed may have been the only one with `d`.
    assert!(killed > 0 || lines.keys().eq(wanted), "round {round}: {lines:?}");
    // What a killed run was doing is done again by another.
    assert!(lines.values().all(|times| *times <= 1 + killed), "round {round}, {killed} killed: {lines:?}");
    killed
}

/// What others do meanwhile.
const LOOKS: [&[&str]; 6] = [
    &["plan", "one.yaml"],
    &["status", "two.yaml"],
    &["cache", "verify"],
    &["cache", "gc"],
    &["cache", "info"],
    &["cache", "ls"],
];

fn start(world: &World, args: &[&str], kill: Option<Duration>) -> Racer {
    let child = world.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    Racer { child, args: args.iter().map(|&arg| arg.to_owned()).collect(), kill, killed: false }
}

/// Waits for all of them, and kills who is to be killed; those that live end well. Returns how many were killed.
fn end(mut racers: Vec<Racer>, began: Instant, round: usize) -> usize {
    let mut left: Vec<usize> = (0..racers.len()).collect();
    while !left.is_empty() {
        left.retain(|index| racers[*index].child.try_wait().unwrap().is_none());
        for index in &left {
            let racer = &mut racers[*index];
            if racer.kill.is_some_and(|after| began.elapsed() >= after) && !racer.killed {
                racer.child.kill().unwrap();
                racer.killed = true;
            }
        }
        if began.elapsed() > DEADLOCK {
            for racer in &mut racers {
                let _ = racer.child.kill();
            }
            panic!(
                "round {round}: a deadlock of {:?}",
                left.iter().map(|index| &racers[*index].args).collect::<Vec<_>>()
            );
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut killed = 0;
    for racer in racers {
        let output = racer.child.wait_with_output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let dead = racer.killed && output.status.code().is_none();
        let early = racer.args[0] == "cache" && said.contains("there is no cache at cache");
        let well = output.status.code() == Some(0) || early;
        assert!(dead || well, "round {round}: {:?}: {:?} {said}", racer.args, output.status);
        assert!(!said.contains("panicked"), "round {round}: {:?}: {said}", racer.args);
        killed += usize::from(dead);
    }
    killed
}

/// After a race the cache is sound, nothing is left to do, and the lockfile is that of a run alone.
fn settled(world: &World, round: usize, killed: usize) {
    if killed > 0 || round.is_multiple_of(4) {
        let verify = world.run(&["cache", "verify"]);
        assert_eq!(verify.code, 0, "round {round}: {}{}", verify.stdout, verify.stderr);
    }
    if killed == 0 {
        let check = world.run(&["lock", "--check", "-p", "one.yaml"]);
        assert_eq!(check.code, 0, "round {round}: {}{}", check.stdout, check.stderr);
    }
    let again = world.run(&["run", "--json", "-p", "one.yaml"]);
    assert_eq!(again.code, 0, "round {round}: {}{}", again.stdout, again.stderr);
    if killed == 0 {
        assert!(again.stdout.lines().last().unwrap().contains("\"ran\":[]"), "round {round}: {}", again.stdout);
    }
    if round % 16 == 7 {
        let raced = world.read("one.lock");
        std::fs::remove_file(world.path("one.lock")).unwrap();
        let alone = world.run(&["run", "-p", "one.yaml", "--cache-dir", &format!("alone-{round}")]);
        assert_eq!(alone.code, 0, "{}", alone.stderr);
        assert_eq!(raced, world.read("one.lock"), "round {round}");
        let left = std::fs::read_dir(world.path("cache/staging")).map_or(0, Iterator::count);
        assert!(killed > 0 || left == 0, "round {round}: something half made is left");
    }
}
