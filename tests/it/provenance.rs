//! Provenance and model cards: complete up to the sources, closed, and the same every time.

use std::collections::BTreeSet;

use luthflow::digest::file_digest;
use serde_json::Value;

use crate::world::World;

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn prov_json_is_closed_and_reaches_the_sources() {
    let world = World::new();
    let early = world.run(&["provenance", "sft"]);
    assert_eq!(early.code, 2);
    assert!(early.stderr.contains("has to run first"), "{}", early.stderr);
    world.run_ok(&[]);
    let prov = world.json(&["provenance", "report"]);
    let (entities, activities) = (keys(&prov["entity"]), keys(&prov["activity"]));
    // Every end of every relation is declared, and every name has a declared prefix.
    for (relation, ends) in [
        ("used", ["prov:activity", "prov:entity"]),
        ("wasGeneratedBy", ["prov:activity", "prov:entity"]),
        ("wasDerivedFrom", ["prov:generatedEntity", "prov:usedEntity"]),
        ("hadMember", ["prov:collection", "prov:entity"]),
    ] {
        for record in prov[relation].as_object().unwrap().values() {
            for end in ends {
                let id = record[end].as_str().unwrap();
                assert!(entities.contains(id) || activities.contains(id), "{relation} {end} {id}");
            }
        }
    }
    let prefixes = keys(&prov["prefix"]);
    for id in entities.iter().chain(&activities) {
        assert!(prefixes.contains(id.split(':').next().unwrap()), "{id}");
    }
    // From the report back along derivations, all four sources are reached.
    let artifact = world.json(&["show", "report", "--json"])["artifact"].as_str().unwrap().to_owned();
    let (mut reached, mut stack) = (BTreeSet::new(), vec![format!("artifact:{artifact}")]);
    let member_of = |id: &str| {
        let members = prov["hadMember"].as_object().unwrap().values();
        members
            .filter(|member| member["prov:entity"] == id)
            .map(|member| member["prov:collection"].as_str().unwrap())
            .collect::<Vec<_>>()
    };
    while let Some(id) = stack.pop() {
        for record in prov["wasDerivedFrom"].as_object().unwrap().values() {
            if record["prov:generatedEntity"] == id.as_str() {
                let used = record["prov:usedEntity"].as_str().unwrap();
                let next = std::iter::once(used).chain(member_of(used));
                stack.extend(next.filter(|next| reached.insert((*next).to_owned())).map(str::to_owned));
            }
        }
    }
    for file in ["en.txt", "fr.txt", "chats.jsonl", "pairs.txt"] {
        let (digest, _) = file_digest(&world.path("data").join(file)).unwrap();
        assert!(reached.contains(&format!("artifact:{digest}")), "{file}");
    }
    let text = world.run(&["provenance", "report"]).stdout;
    assert!(!text.contains(&*world.root().to_string_lossy()), "it holds no path");
    assert_eq!(text, world.run(&["provenance", "report"]).stdout);
}

#[test]
fn the_slsa_statement_names_every_file() {
    let world = World::new();
    world.run_ok(&[]);
    let statement = world.json(&["provenance", "--format", "slsa", "merged[t=0.75]"]);
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    assert_eq!(world.run(&["export", "merged[t=0.75]", "out"]).code, 0);
    for subject in statement["subject"].as_array().unwrap() {
        let (digest, _) = file_digest(&world.path("out").join(subject["name"].as_str().unwrap())).unwrap();
        assert_eq!(subject["digest"]["blake3"], digest.hex(), "{subject}");
    }
    let build = &statement["predicate"]["buildDefinition"];
    assert_eq!(
        keys(build),
        BTreeSet::from(["buildType", "externalParameters", "internalParameters", "resolvedDependencies"])
    );
    let recipe: Vec<&str> = build["externalParameters"]["recipe"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["node"].as_str().unwrap())
        .collect();
    assert_eq!(recipe.last(), Some(&"merged[t=0.75]"));
    assert!(!recipe.contains(&"pairs"), "the scores are no part of it: {recipe:?}");
    let dependencies: Vec<&str> =
        build["resolvedDependencies"].as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap()).collect();
    assert_eq!(dependencies, ["text_en/en.txt", "text_fr/fr.txt", "chats/chats.jsonl"]);
    assert!(statement["predicate"]["runDetails"]["builder"]["id"].is_string());
}

#[test]
fn an_exported_model_has_a_card() {
    let world = World::new();
    world.run_ok(&[]);
    assert_eq!(world.run(&["export", "merged[t=0.75]", "out"]).code, 0);
    let card = world.read("out/README.md");
    let head = card.split("---\n").nth(1).unwrap();
    for line in [
        "library_name: transformers\n",
        "datasets:\n- text_en\n- text_fr\n- chats\n",
        "tags:\n- sft\n- merge\n- luthflow\n",
    ] {
        assert!(head.contains(line), "{head}");
    }
    assert!(!head.contains("license"), "nobody stated one: {head}");
    let scores = world.json(&["show", "scores[t=0.75]", "--json"]);
    let bits = scores["metrics"]["fr.bits_per_byte"].as_f64().unwrap();
    assert!(card.contains(&format!("| `scores[t=0.75]` | fr.bits_per_byte | {bits:.4} |")), "{card}");
    assert!(!card.contains("scores[t=0.25]"), "another model's");
    assert!(card.contains("luthflow run --locked pipeline.yaml 'merged[t=0.75]'"), "{card}");
    assert!(card.contains("`sft` (sft), reads `base` as model") && card.contains("learning_rate: `0.002`"), "{card}");
    assert!(card.contains("at t = 0.75"), "{card}");
    assert!(!card.contains(&*world.root().to_string_lossy()), "it holds no path");
    assert_eq!(world.run(&["export", "merged[t=0.75]", "again"]).code, 0);
    assert_eq!(world.read("again/README.md"), card);
    // What is no model has none of these; a curation writes its own.
    assert_eq!(world.run(&["export", "english", "rows"]).code, 0);
    assert!(world.read("rows/README.md").contains("# A curated data set"));
}

#[test]
fn a_card_that_came_with_a_model_stays_and_its_licence_goes_on() {
    let world = World::new();
    world.run_ok(&[]);
    assert_eq!(world.run(&["export", "base", "models/small"]).code, 0);
    let own = "---\nlicense: apache-2.0\n---\nMy own words.\n";
    world.write("models/small/README.md", own);
    world.edit(
        "  sft: {kind: sft, model: base,",
        "  small: {kind: source, model: models/small}\n  sft: {kind: sft, model: small,",
    );
    world.run_ok(&["pipeline.yaml", "sft"]);
    assert_eq!(world.run(&["export", "small", "copy"]).code, 0);
    assert_eq!(world.read("copy/README.md"), own);
    assert_eq!(world.run(&["export", "sft", "tuned"]).code, 0);
    let card = world.read("tuned/README.md");
    assert!(card.contains("base_model:\n- small\n") && card.contains("license: apache-2.0\n"), "{card}");
}
