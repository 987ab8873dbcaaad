//! The steps of curation that mend and judge text, through the node.

use std::path::Path;

use fs_err as fs;
use luthflow::ops::OpError;
use luthflow::spec::params::Kind;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::op::{Ran, inputs, run_with};
use crate::world::World;

/// Runs steps over rows.
fn curate(steps: &Value, rows: &[Value]) -> Result<Ran, OpError> {
    curate_with(2, steps, rows, &[])
}

fn curate_with(threads: usize, steps: &Value, rows: &[Value], more: &[(&str, &str, &Path)]) -> Result<Ran, OpError> {
    let dir = TempDir::new().unwrap();
    let lines: String = rows.iter().map(|row| row.to_string() + "\n").collect();
    fs::write(dir.path().join("data.jsonl"), lines).unwrap();
    let mut all = vec![("from[0]", "", dir.path())];
    all.extend_from_slice(more);
    let params = json!({"from": ["from"], "steps": steps, "columns": ["flags"]});
    run_with(threads, Kind::Curate, params, &inputs(&all))
}

fn rows(ran: &Ran) -> Vec<Value> {
    let text = ran.read("rows/data.jsonl");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn rules(ran: &Ran, step: usize) -> Value {
    let stats: Value = serde_json::from_str(&ran.read("stats.json")).unwrap();
    stats["steps"][step]["rules"].clone()
}

fn text(text: &str) -> Value {
    json!({ "text": text })
}

fn chat(turns: &[(&str, &str)]) -> Value {
    let messages: Vec<_> = turns.iter().map(|(role, content)| json!({"role": role, "content": content})).collect();
    json!({ "messages": messages })
}

#[test]
fn text_is_mended_where_it_is_broken() {
    let broken = [
        text("L&#039;Ã©tÃ©, câ€™est\u{7} bien."),
        text("```\n&lt;b&gt; Ã©tÃ©\n```"),
        text("Intact."),
        text("e\u{301}"),
    ];
    let said = |steps: Value| {
        let ran = curate(&steps, &broken).unwrap();
        rows(&ran).iter().map(|row| row["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(said(json!([{"fix_text": {}}])), ["L'été, c’est bien.", "```\n&lt;b&gt; été\n```", "Intact.", "é"]);
    assert_eq!(said(json!([{"fix_text": {"profile": "ftfy"}}]))[0], "L'été, c'est bien.");
    assert_eq!(said(json!([{"fix_text": {"profile": "none", "form": "none"}}]))[3], "e\u{301}");
    assert_eq!(said(json!([{"fix_text": {"unescape_html": "always"}}]))[1], "```\n<b> été\n```");
}

#[test]
fn latex_and_spaces_are_mended_on_request() {
    let row = chat(&[("user", "  $\\\\frac{1}{2}$  \r\n\r\n\r\nquoi\u{202f}?"), ("assistant", " \\\\alpha ")]);
    let steps = json!([{"fix_text": {"latex": true, "spaces": ["line_breaks", "line_ends", "blank_lines", "trim"], "roles": ["user"]}}]);
    let kept = rows(&curate(&steps, &[row]).unwrap());
    assert_eq!(kept[0]["messages"][0]["content"], "$\\frac{1}{2}$\n\nquoi\u{202f}?");
    assert_eq!(kept[0]["messages"][1]["content"], " \\\\alpha ");
}

#[test]
fn personal_data_is_masked_dropped_or_flagged() {
    let all = [text("Écrire à jean@exemple.fr, ou à jean@exemple.fr."), text("Rien ici.")];
    let masked = curate(&json!([{"pii": {}}]), &all).unwrap();
    let first = rows(&masked)[0]["text"].as_str().unwrap().to_owned();
    assert!(!first.contains("exemple.fr") && first.matches("@example").count() == 2, "{first}");
    let stats: Value = serde_json::from_str(&masked.read("stats.json")).unwrap();
    assert_eq!(stats["steps"][0]["figures"]["found"]["email"], 2);
    assert_eq!(rows(&curate(&json!([{"pii": {"action": "drop"}}]), &all).unwrap()).len(), 1);
    assert_eq!(rows(&curate(&json!([{"pii": {"action": "flag"}}]), &all).unwrap())[0]["flags"], json!(["pii_email"]));
    let allowed = json!([{"pii": {"allow": ["exemple.fr"], "action": "drop"}}]);
    assert_eq!(rows(&curate(&allowed, &all).unwrap()).len(), 2);
}

#[test]
fn quality_names_the_rule_and_takes_thresholds() {
    let loops = "Je ne sais pas quoi vous dire de plus à ce sujet. ".repeat(20);
    let all = [
        chat(&[("user", &loops), ("assistant", "La réponse est 42.")]),
        chat(&[("user", "Encore ?"), ("assistant", &loops)]),
        text("Un."),
    ];
    let ran = curate(&json!([{"quality": {}}]), &all).unwrap();
    assert_eq!(rules(&ran, 0), json!({"gopher_short_doc": 1, "top_3_gram": 1}));
    assert_eq!(rows(&ran).len(), 1);
    let flagged = curate(&json!([{"quality": {"mode": "flag"}}]), &all).unwrap();
    assert_eq!(rows(&flagged)[1]["flags"], json!(["top_3_gram"]));
    let off = [("top_2_gram", 0), ("top_3_gram", 0), ("top_4_gram", 0), ("dup_n_grams", 0), ("min_words", 1)];
    let off: Vec<_> = off.iter().map(|(rule, value)| json!({"rule": rule, "value": value})).collect();
    assert_eq!(rows(&curate(&json!([{"quality": {"thresholds": off}}]), &all).unwrap()).len(), 3);
    let web =
        curate(&json!([{"quality": {"profile": "fineweb2_fr", "roles": ["user"], "mode": "flag"}}]), &all).unwrap();
    assert_eq!(rows(&web)[0]["flags"], json!(["top_3_gram"]));
    let none =
        curate(&json!([{"quality": {"profile": "none", "thresholds": [{"rule": "min_words", "value": 2}]}}]), &all);
    assert_eq!(rows(&none.unwrap()).len(), 2);
}

#[test]
fn c4_keeps_the_lines_it_likes() {
    let page = "Menu\nUne première phrase est là. Une autre la suit. Encore une ! Oui ? Et une dernière ici.\nMentions légales et politique de confidentialité ici.";
    let steps = json!([{"quality": {"profile": "c4", "rewrite": true}}]);
    let kept =
        rows(&curate(&steps, &[text(page), text("Du code { ici }. Une phrase. Deux. Trois. Quatre. Cinq.")]).unwrap());
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0]["text"].as_str().unwrap().lines().count(), 1);
}

#[test]
fn answers_are_checked_rule_by_rule() {
    let question = ("user", "Quelle est la capitale de la France, et pourquoi ?");
    let good = chat(&[("system", "Tu réponds en français."), question, ("assistant", "C'est Paris.")]);
    let broken = [
        ("unbalanced_think", chat(&[question, ("assistant", "Paris, je crois.</think> C'est Paris.")])),
        ("unbalanced_fence", chat(&[question, ("assistant", "```python\nprint('Paris')")])),
        ("echo", chat(&[question, ("assistant", question.1)])),
        ("looping", chat(&[question, ("assistant", &"je ne sais pas quoi dire de plus à ce sujet ici ".repeat(9))])),
    ];
    let mut all: Vec<Value> = broken.iter().map(|(_, row)| row.clone()).collect();
    all.push(good.clone());
    let ran = curate(&json!([{"check_answers": {}}]), &all).unwrap();
    assert_eq!(rows(&ran).len(), 1, "{}", rules(&ran, 0));
    for (rule, _) in &broken {
        assert_eq!(rules(&ran, 0)[rule], 1, "{rule}");
    }
    let flags = chat(&[question, ("assistant", "Désolé, je ne peux pas répondre : en tant qu'IA, \\(x est la")]);
    let ran = curate(&json!([{"check_answers": {}}]), &[flags.clone(), good.clone()]).unwrap();
    assert_eq!(rows(&ran)[0]["flags"], json!(["unbalanced_latex", "refusal", "machine", "truncated"]));
    assert_eq!(rows(&ran)[1].get("flags").cloned().unwrap_or(json!([])), json!([]));
    let drop = json!([{"check_answers": {"refusal": "drop", "other_language": "drop"}}]);
    let english = chat(&[("user", "Réponds en anglais : où est Paris ?"), ("assistant", "In France.")]);
    let ran = curate(&drop, &[flags, english, good]).unwrap();
    assert_eq!(rules(&ran, 0), json!({"refusal": 1, "other_language": 1}));
}

#[test]
fn words_of_lists_are_found_whole() {
    let all = [text("Quel connard !"), text("Un connardeau ?"), text("Le mot Zut, seul.")];
    let ran = curate(&json!([{"toxicity": {"words": ["zut"]}}]), &all).unwrap();
    let flags: Vec<_> =
        rows(&ran).iter().map(|row| row.get("flags").is_some_and(|flags| flags == &json!(["toxicity"]))).collect();
    assert_eq!(flags, [true, false, true]);
    assert_eq!(rows(&curate(&json!([{"toxicity": {"mode": "drop"}}]), &all).unwrap()).len(), 2);
}

/// A list of one's own, in a file of its own, as docs/curation.md shows it.
#[test]
fn a_list_of_words_may_be_a_file() {
    let guide = fs::read_to_string(crate::op::repository().join("docs/curation.md")).unwrap();
    let block = |begins: &str| {
        let found = guide.split("```yaml\n").skip(1).find(|block| block.starts_with(begins));
        found.and_then(|block| block.split("```").next()).unwrap_or_else(|| panic!("no block begins with {begins:?}"))
    };
    let world = World::empty();
    world.write("insultes.yaml", block("# insultes.yaml"));
    world.write("pipeline.yaml", block("version: 1\ninclude: insultes.yaml"));
    let lines = ["Quel beau temps.", "Ah, Zut alors !", "Nom d'un chien, il pleut.", "Nom d’un chien !", "Zutique."];
    let rows: String = lines.iter().map(|line| text(line).to_string() + "\n").collect();
    world.write("data/fr.jsonl", &rows);
    let left = |world: &World| {
        assert_eq!(world.run(&["run"]).code, 0);
        world.run(&["data", "head", "clean", "--json"]).stdout.lines().count()
    };
    assert_eq!(left(&world), 2);
    // The list is part of what the node is: another one, another result.
    world.edit_file("insultes.yaml", "zut", "beau temps");
    assert_eq!(left(&world), 2);
    assert!(world.run(&["data", "head", "clean", "--json"]).stdout.contains("Zut alors"));
    // An empty list is told, and so is one that is not there.
    world.write("insultes.yaml", "version: 1\nparams: {insultes: []}\n");
    assert!(world.run(&["check"]).stderr.contains("there is no word to look for"));
    std::fs::remove_file(world.path("insultes.yaml")).unwrap();
    let checked = world.run(&["check"]);
    assert!(checked.code != 0 && checked.stderr.contains("insultes.yaml"), "{}", checked.stderr);
}

#[test]
fn fast_text_models_judge_turns() {
    let Some(model) = crate::real::fetched("lid.176.ftz") else { return };
    let folder = TempDir::new().unwrap();
    let long = "Bien sûr, je vais vous expliquer comment préparer cette recette de famille.";
    let all = [
        chat(&[("user", "ok"), ("assistant", long)]),
        chat(&[("user", long), ("assistant", "Sure, here is how to cook the old family recipe, step by step.")]),
    ];
    let steps = json!([{"language": {"keep": ["fr"], "detector": "fasttext", "model": "m", "scope": "turn"}}]);
    let with = |folder: &Path| curate_with(2, &steps, &all, &[("steps[0].language.model", "", folder)]);
    assert!(with(folder.path()).err().unwrap().to_string().contains("step 1"), "an empty folder");
    fs::copy(model, folder.path().join("lid.176.ftz")).unwrap();
    assert_eq!(rows(&with(folder.path()).unwrap()).len(), 1);
}

#[test]
fn labels_with_a_script_are_kept_by_any_code_of_their_language() {
    let folder = crate::op::repository().join("tests/fixtures/glotlid");
    let all = [
        text("Elle demanda : « Peux-tu venir dîner demain ? » et il ne répondit rien."),
        text("In this quiet way, the first fortnight of her visit soon passed away."),
        text("Ar skolaerez a werzh ul lizher e-pad ar veaj."),
        text("Mwalimu anachora picha nzuri karibu na mto."),
    ];
    let kept = |codes: Value| -> Vec<usize> {
        let steps = json!([{"language": {"keep": codes, "detector": "fasttext", "model": "m", "min_score": 0.9}}]);
        let ran = curate_with(2, &steps, &all, &[("steps[0].language.model", "", &folder)]).unwrap();
        let rows = rows(&ran);
        (0..all.len()).filter(|i| rows.iter().any(|row| row["text"] == all[*i]["text"])).collect()
    };
    for (codes, wanted) in [
        (json!(["fr"]), &[0][..]),
        (json!(["fra"]), &[0]),
        (json!(["fra_Latn", "eng_Latn"]), &[0, 1]),
        (json!(["br"]), &[2]),
        (json!(["sw", "bre"]), &[2, 3]),
    ] {
        assert_eq!(kept(codes.clone()), wanted, "{codes}");
    }
    // A label with another script is another one.
    let steps = json!([{"language": {"keep": ["fra_Cyrl"], "detector": "fasttext", "model": "m"}}]);
    let error = curate_with(2, &steps, &all, &[("steps[0].language.model", "", &folder)]).err().unwrap();
    assert!(error.to_string().contains("dropped all 4 rows") && error.to_string().contains("fra_Latn"), "{error}");
}

#[test]
fn text_steps_are_the_same_on_any_number_of_threads() {
    let steps = json!([{"fix_text": {}}, {"check_answers": {}}, {"quality": {"mode": "flag"}},
        {"pii": {}}, {"toxicity": {}}, {"language": {"keep": ["fr"], "detector": "lingua"}}]);
    let turn = |i: usize| {
        chat(&[
            ("user", &format!("Question {i} à poser ? Écrire à a{i}@b.fr, cÃ©t{i}.")),
            ("assistant", "La réponse est simple, la voici."),
        ])
    };
    let all: Vec<Value> = (0..50).map(turn).collect();
    let (one, three) = (curate_with(1, &steps, &all, &[]).unwrap(), curate_with(3, &steps, &all, &[]).unwrap());
    for file in ["stats.json", "rows/data.jsonl"] {
        assert!(one.read(file) == three.read(file), "{file} differs");
    }
}
