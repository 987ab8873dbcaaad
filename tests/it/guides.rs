//! The guides, followed to the letter: every command of theirs that needs neither a GPU nor a real hub, in their order, on the smoke models.

use crate::chat_server::Server;
use crate::hub::server::Hub;
use crate::languages::everywhere;
use crate::luth::{run, world};
use crate::op::repository;
use crate::world::World;

/// The commands of a guide that are ours, as their words.
fn commands(guide: &str) -> Vec<Vec<String>> {
    let text = fs_err::read_to_string(repository().join(guide)).unwrap();
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let lines: Vec<&str> = blocks.flat_map(str::lines).collect();
    // What else a reader is told to run is there.
    for line in lines.iter().filter(|line| line.starts_with("tests/")) {
        assert!(repository().join(line.split_whitespace().next().unwrap()).is_file(), "{line}");
    }
    let ours = lines.iter().filter_map(|line| line.split('#').next()?.strip_prefix("luthflow "));
    ours.map(|words| words.split_whitespace().map(str::to_owned).collect()).collect()
}

fn follow(world: &World, hub: &Hub, words: &[String], more: &[&str]) {
    let all: Vec<&str> = words.iter().map(String::as_str).chain(more.iter().copied()).collect();
    let ran = run(world, hub, &all);
    assert_eq!(ran.code, 0, "{}\n{}\n{}", all.join(" "), ran.stdout, ran.stderr);
}

#[test]
fn the_guide_to_luth_can_be_followed() {
    let (world, hub) = world();
    world.write("pipelines/scholar.yaml", &crate::pdf::whole_scholar());
    let papers = world.path("target/scholar/papers");
    fs_err::create_dir_all(&papers).unwrap();
    for (name, fixture) in [
        ("mathematiques-2019-sujet.pdf", "sujet.pdf"),
        ("mathematiques-2019-corrige.pdf", "corrige.pdf"),
        ("ccinp_physique_2012_e.pdf", "colonnes.pdf"),
        ("ccinp_physique_2012_ca.pdf", "corrige.pdf"),
    ] {
        fs_err::copy(repository().join("tests/fixtures/pdf").join(fixture), papers.join(name)).unwrap();
    }
    // What `tests/models/fetch.sh` fetches: here any bytes will do. The data of `small.yaml` is the real one.
    world.write("target/test-models/SmolLM2-135M-Instruct.Q4_1.gguf", "a model");
    for data in ["pipelines/data", "tests/fixtures/eval/data"] {
        fs_err::create_dir_all(world.path(data).parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(repository().join(data), world.path(data)).unwrap();
    }
    let server = Server::start(|came, _| crate::pdf::teacher(came));
    let teacher = format!("endpoint={}", server.url);
    let commands = commands("docs/reproduce-luth.md");
    assert!(commands.len() >= 8, "{commands:?}");
    for words in &commands {
        let is = |word: &str| words.iter().any(|other| other == word);
        if is("check") {
            follow(&world, &hub, words, &[]);
        } else if is("pipelines/scholar.yaml") {
            // The teacher is a small one, and so are the papers.
            follow(&world, &hub, words, &["--set", &teacher, "--set", "shortest=100"]);
        } else if is("pipelines/luth/small.yaml") {
            // Minutes on a real model, which is no test. What goes before the model runs, and comes out as it is locked.
            let before = ["chats", "prose", "english", "clams_fr", "exams_fr", "arc"];
            let more: &[&str] = if words[0] == "run" || words[0] == "verify" { &before } else { &[] };
            follow(&world, &hub, words, more);
        } else {
            follow(&world, &hub, words, &["--profile", "smoke"]);
        }
    }
    assert!(world.path("rows.html").is_file());
}

#[test]
fn the_guide_to_another_language_can_be_followed() {
    let (world, hub) = world();
    everywhere(&hub);
    let commands = commands("docs/your-language.md");
    assert!(commands.len() >= 5, "{commands:?}");
    for words in &commands {
        let more: &[&str] = if words[0] == "check" { &[] } else { &["--profile", "smoke"] };
        follow(&world, &hub, words, more);
    }
}
