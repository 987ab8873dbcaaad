//! Luth's recipe in twelve languages (`pipelines/luth/your-language.yaml`): curation, training, merge and evals of each, on a
//! model of a few thousand weights behind a hub on loopback. The language is an axis.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::hub::server::Hub;
use crate::luth::{COMMIT, fixture, run, world};
use crate::world::World;

/// A language: its code, that of the chats, those of MMLU and of Belebele on the hub, and a question with its answer.
type Language = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

const LANGUAGES: [Language; 12] = [
    (
        "ar",
        "ara",
        "AR_XY",
        "arb_Arab",
        "ما هي عاصمة فرنسا ولماذا يزورها الناس؟",
        "عاصمة فرنسا هي باريس، ويزورها الناس لمتاحفها.",
    ),
    (
        "bn",
        "ben",
        "BN_BD",
        "ben_Beng",
        "ফ্রান্সের রাজধানী কী এবং মানুষ কেন সেখানে যায়?",
        "ফ্রান্সের রাজধানী প্যারিস, মানুষ জাদুঘর দেখতে যায়।",
    ),
    (
        "de",
        "deu",
        "DE_DE",
        "deu_Latn",
        "Was ist die Hauptstadt von Frankreich?",
        "Die Hauptstadt von Frankreich ist Paris.",
    ),
    (
        "es",
        "spa",
        "ES_LA",
        "spa_Latn",
        "¿Cuál es la capital de Francia?",
        "La capital de Francia es la ciudad de París.",
    ),
    ("fr", "fra", "FR_FR", "fra_Latn", "Quelle est la capitale de la France ?", "La capitale de la France est Paris."),
    (
        "hi",
        "hin",
        "HI_IN",
        "hin_Deva",
        "फ्रांस की राजधानी क्या है और लोग वहाँ क्यों जाते हैं?",
        "फ्रांस की राजधानी पेरिस है, लोग संग्रहालय देखने जाते हैं।",
    ),
    ("id", "ind", "ID_ID", "ind_Latn", "Apa ibu kota negara Prancis?", "Ibu kota negara Prancis adalah Paris."),
    ("it", "ita", "IT_IT", "ita_Latn", "Qual è la capitale della Francia?", "La capitale della Francia è Parigi."),
    (
        "ja",
        "jpn",
        "JA_JP",
        "jpn_Jpan",
        "フランスの首都はどこですか。なぜ人々はそこを訪れますか。",
        "フランスの首都はパリです。人々は美術館を見るためにそこを訪れます。",
    ),
    (
        "ko",
        "kor",
        "KO_KR",
        "kor_Hang",
        "프랑스의 수도는 어디이며 사람들은 왜 그곳을 찾습니까?",
        "프랑스의 수도는 파리이며 사람들은 박물관을 보러 갑니다.",
    ),
    ("pt", "por", "PT_BR", "por_Latn", "Qual é a capital da França?", "A capital da França é a cidade de Paris."),
    (
        "zh",
        "zho",
        "ZH_CN",
        "zho_Hans",
        "法国的首都是哪里?人们为什么去那里参观?请你详细地告诉我原因。",
        "法国的首都是巴黎。人们去那里参观博物馆,也去看塞纳河边的风景。",
    ),
];

/// A hub with everything that the twelve languages ask for.
pub(crate) fn everywhere(hub: &Hub) {
    let (mut chats, mut mmlu, mut belebele) = (String::new(), Vec::new(), Vec::new());
    let rows = fixture("exams_fr_mmmlu");
    let (mut of_mmlu, mut of_belebele) = (String::new(), String::new());
    for (code, aya, config, script, question, answer) in LANGUAGES {
        for row in 0..3 {
            let inputs = format!("{} {question} {question}", row + 1);
            let chat = json!({"inputs": inputs, "targets": answer, "language_code": aya, "row": row});
            chats += &(chat.to_string() + "\n");
        }
        let entry = |config: &str| {
            format!("- config_name: {config}\n  data_files:\n  - split: test\n    path: {config}/test.jsonl\n")
        };
        of_mmlu += &entry(config);
        of_belebele += &entry(script);
        mmlu.push((format!("{config}/test.jsonl"), rows.clone()));
        // Not what the chats say: they would be left out.
        let passage: String = answer.chars().rev().collect();
        let row = |right: usize| {
            let [a, b, c, d] = ["1", "2", "3", "4"].map(|n| format!("{code} {n}"));
            json!({
                "flores_passage": passage, "question": format!("{code}?"), "correct_answer_num": right.to_string(),
                "mc_answer1": a, "mc_answer2": b, "mc_answer3": c, "mc_answer4": d,
            })
        };
        belebele.push((format!("{script}/test.jsonl"), format!("{}\n{}\n", row(1), row(4)).into_bytes()));
    }
    hub.commit("datasets/CohereForAI/aya_dataset", "main", COMMIT, &[("train.jsonl", chats.as_bytes())]);
    for (name, card, mut files) in [("openai/MMMLU", of_mmlu, mmlu), ("facebook/belebele", of_belebele, belebele)] {
        files.push(("README.md".to_owned(), format!("---\nconfigs:\n{card}---\n").into_bytes()));
        let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        hub.commit(&format!("datasets/{name}"), "main", COMMIT, &files);
    }
}

fn first_prompt(world: &World, shown: &Value, task: &str) -> String {
    let path = Path::new(shown["path"].as_str().unwrap()).join(format!("samples/{task}.jsonl"));
    let samples = fs_err::read_to_string(world.path(path.to_str().unwrap())).unwrap();
    let first: Value = serde_json::from_str(samples.lines().next().unwrap()).unwrap();
    first["prompt"].as_str().unwrap().to_owned()
}

#[test]
fn the_recipe_runs_in_twelve_languages() {
    let (world, hub) = world();
    everywhere(&hub);
    let file = "pipelines/luth/your-language.yaml";
    let listed = |of: fn(Language) -> &'static str| LANGUAGES.map(of).join(",");
    let (codes, chats) = (format!("lang={}", listed(|one| one.0)), format!("aya={}", listed(|one| one.1)));
    let sweep = ["--profile", "smoke", "--sweep", &codes, "--sweep", &chats, "--zip", "lang,aya"];
    let ran = run(&world, &hub, &[&["run", "--json"], &sweep[..], &[file]].concat());
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    let mut prompts = BTreeSet::new();
    for (code, aya, ..) in LANGUAGES {
        let node = format!("scores[t=0.5,lang={code},aya={aya}]");
        let shown = run(&world, &hub, &[&["show", &node, "--json"], &sweep[..], &["-p", file]].concat());
        let shown: Value = serde_json::from_str(&shown.stdout).unwrap_or_else(|_| panic!("{}", shown.stderr));
        for task in [format!("mmlu-{code}"), format!("belebele-{code}"), "mmlu".into(), "arc-challenge".into()] {
            assert!(shown["metrics"][format!("{task}.acc")].is_number(), "{task}: {shown}");
        }
        prompts.insert(first_prompt(&world, &shown, &format!("belebele-{code}")));
        // Its own chats, and no others.
        let node = format!("chats[lang={code},aya={aya}]");
        let head = run(&world, &hub, &[&["data", "head", &node, "--json"], &sweep[..], &["-p", file]].concat());
        let answer = LANGUAGES.iter().find(|one| one.0 == code).unwrap().5;
        let own = head.stdout.lines().all(|row| row.contains(answer));
        assert!(own && !head.stdout.is_empty(), "{code}: {}\n{}", head.stdout, head.stderr);
    }
    assert_eq!(prompts.len(), 12, "{prompts:?}");
}
