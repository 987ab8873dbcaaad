//! Verdicts and scores of lighteval, lm-evaluation-harness, sacrebleu and M-IFEval, through rows.

use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/metrics/", $name))
    };
}

fn cases(text: &str) -> Vec<Value> {
    serde_json::from_str::<Value>(text).unwrap()["test_cases"].as_array().unwrap().clone()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn choices_are_lightevals() {
    let judge = judge(CHOICES, &json!(["acc"]), Profile::Luth);
    for case in cases(fixture!("lighteval/loglikelihood_acc.json")) {
        let sums = case["model_response"]["logprobs"].as_array().unwrap().iter().map(|sum| sum.as_f64().unwrap());
        let choices: Vec<_> = texts(&case["doc"]["choices"]).into_iter().zip(sums).collect();
        let row = chosen(case["doc"]["gold_index"].clone(), &choices);
        assert_eq!(value(&judge, row), case["expected_output"]["acc"].as_f64().unwrap(), "{case}");
    }
}

/// Length is that of a choice's own text for lm-evaluation-harness, and with the space before it for lighteval.
#[test]
fn lengths_are_each_harnesss() {
    let row = chosen(json!(0), &[(" a", -2.0), (" bb", -3.5)]);
    let of = |metric: &str, profile| value(&judge(CHOICES, &json!([metric]), profile), row.clone());
    assert_eq!(of("acc", Profile::LmEval), 1.0);
    // -2 against -1.75; with the space -1 against -1.17.
    assert_eq!([of("acc_norm", Profile::LmEval), of("acc_bytes", Profile::Native)], [0.0, 0.0]);
    assert_eq!([of("acc_norm", Profile::Luth), of("acc_norm_nospace", Profile::Luth)], [1.0, 0.0]);
    assert_eq!([of("acc_token", Profile::Native), of("acc_mutual_info", Profile::LmEval)], [1.0, 1.0]);
}

/// `mc2` of TruthfulQA in lm-evaluation-harness: the normalised probability of all true answers.
#[test]
fn truthfulqa_mc2_is_a_share() {
    let (share, brier) =
        (judge(CHOICES, &json!(["share"]), Profile::LmEval), judge(CHOICES, &json!(["brier"]), Profile::LmEval));
    let sums = [-1.0, -2.0, -0.5, -3.0];
    let row = |gold| chosen(gold, &["a", "b", "c", "d"].map(str::to_owned).each_ref().map(|t| (t.as_str(), 0.0)));
    let with = |gold: Value| {
        let mut row = row(gold);
        row.choices.iter_mut().zip(sums).for_each(|(choice, sum)| choice.sum = sum);
        row
    };
    let parts = sums.map(f64::exp);
    let all: f64 = parts.iter().sum();
    close(value(&share, with(json!([0, 1]))), (parts[0] + parts[1]) / all);
    let wrong: f64 = [parts[0], parts[1], parts[3]].iter().map(|part| (part / all).powi(2)).sum();
    close(value(&brier, with(json!(2))), wrong + (parts[2] / all - 1.0).powi(2));
}

#[test]
fn equal_pairs_are_half_for_native_alone() {
    let row = chosen(Value::Null, &[("Elle dort.", -9.0), ("Elle dorment.", -9.0)]);
    let of = |metric: &str, profile| value(&judge(PAIR, &json!([metric]), profile), row.clone());
    assert_eq!(
        [of("acc", Profile::Native), of("acc", Profile::LmEval), of("acc_norm", Profile::Native)],
        [0.5, 1.0, 0.0]
    );
}

/// lighteval takes the question for the text that was scored.
#[test]
fn word_perplexity_is_lightevals() {
    let metrics = json!(["word_perplexity", "byte_perplexity", "bits_per_byte"]);
    let judge = judge(TEXT, &metrics, Profile::LmEval);
    for case in cases(fixture!("lighteval/word_perplexity.json")) {
        let docs = case["docs"].as_array().unwrap().iter();
        let sum = |answer: &Value| answer["logprobs"].as_array().unwrap().iter().map(|sum| sum.as_f64().unwrap()).sum();
        let sums = case["model_responses"].as_array().unwrap().iter().map(sum);
        let row = |(doc, sum): (&Value, f64)| chosen(Value::Null, &[(doc["query"].as_str().unwrap(), sum)]);
        let mut rows: Vec<Sampled> = docs.zip(sums).map(row).collect();
        let scores = scored(&judge, &mut rows);
        assert!((scores[0].value - case["expected_output"].as_f64().unwrap()).abs() < 1e-9, "{case}");
        close(scores[1].value.log2(), scores[2].value);
        assert!(scores.iter().all(|score| score.stderr.is_some_and(|error| error > 0.0) && !score.higher_is_better));
        assert_eq!(rows[0].values.keys().collect::<Vec<_>>(), ["bits_per_byte"]);
    }
}

/// GSM8K's two filters and its exact match, from the task file of lm-evaluation-harness.
#[test]
fn gsm8k_filters_are_the_harnesss() {
    let ignore = json!([",", "\\$", "(?s).*#### ", "\\.$"]);
    let metric = |name: &str, pattern: &str, take: &str| {
        json!({"metric": "exact_match", "name": name, "ignore": ["case"], "ignore_patterns": ignore,
            "extract": {"pattern": pattern, "take": take}})
    };
    let metrics = json!([
        metric("strict", r"#### (\-?[0-9\.\,]+)", "first"),
        metric("flexible", r"(-?[$0-9.,]{2,})|(-?[0-9]+)", "last")
    ]);
    let judge = judge(GENERATE, &metrics, Profile::LmEval);
    let gold = "She sells 9 eggs.\n9 * 2 = $<<9*2=18>>18\n#### 18";
    for (answer, strict, flexible) in [
        ("9 * 2 = 18.\n#### 18", 1.0, 1.0),
        ("So she makes $18.", 0.0, 1.0),
        ("So she makes 18 dollars every 7 days", 0.0, 0.0),
        ("#### 1,8 and then #### 17", 1.0, 0.0),
        ("#### eighteen", 0.0, 0.0),
        ("", 0.0, 0.0),
    ] {
        let mut row = answered(json!(gold), &[answer]);
        judge.row(&mut row).unwrap();
        assert_eq!([&row.values["strict"], &row.values["flexible"]], [&json!(strict), &json!(flexible)], "{answer}");
    }
    let mut row = answered(json!(gold), &["no number"]);
    judge.row(&mut row).unwrap();
    assert_eq!(row.extracted["strict"], json!({"predicted": "[invalid]"}));
}

#[test]
fn exact_matches_are_lightevals() {
    let em = judge(GENERATE, &json!(["em"]), Profile::Luth);
    for case in cases(fixture!("lighteval/exact_match.json")) {
        let index = case["doc"]["gold_index"].as_u64().unwrap() as usize;
        let row = answered(case["doc"]["choices"][index].clone(), &texts(&case["model_response"]["text"]));
        assert_eq!(value(&em, row), case["expected_output"]["em"].as_f64().unwrap());
    }
    // French HellaSwag in lighteval 0.10.0: the article `A` is the prefix of every answer (facts: eval.md, 0.2a).
    let of = |metric: &str, profile, gold: &str, answer: &str| {
        let judge = judge(GENERATE, &json!([metric]), profile);
        value(&judge, answered(json!(gold), &[answer]))
    };
    assert_eq!([of("pqem", Profile::Luth, " A", "C"), of("pqem", Profile::Luth, " B", "C")], [1.0, 0.0]);
    assert_eq!([of("pqem", Profile::Native, " A", "C"), of("pqem", Profile::Native, " A", "A. Oui")], [0.0, 1.0]);
    assert_eq!([of("pqem", Profile::Luth, " B", "Bien"), of("pqem", Profile::Native, " B", "Bien")], [1.0, 0.0]);
    assert_eq!([of("qem", Profile::Luth, "The end.", "end"), of("pem", Profile::Luth, "Pa", "Paris")], [1.0, 1.0]);
    assert_eq!(
        [of("exact_match", Profile::LmEval, "5", " 5"), of("exact_match", Profile::Native, "5", " 5")],
        [0.0, 1.0]
    );
    close(of("f1", Profile::LmEval, "the cat sat", "A cat"), 2.0 / 3.0);
    close(of("f1", Profile::Luth, "the cat sat", "A cat"), 2.0 * 0.5 / 3.0 / (0.5 + 1.0 / 3.0));
    let both = judge(GENERATE, &json!(["f1"]), Profile::LmEval);
    assert_eq!(value(&both, answered(json!(["no", "yes it is"]), &["It is, yes"])), 1.0);
}

#[test]
fn pass_and_majority_are_lightevals() {
    for case in cases(fixture!("lighteval/pass_at_k.json")) {
        let [n, k] = ["n", "k"].map(|key| case["metric_params"][key].as_u64().unwrap() as usize);
        let judge = judge(GENERATE, &json!([{"metric": "exact_match", "pass_at": k}]), Profile::LmEval);
        let index = case["doc"]["gold_index"].as_u64().unwrap() as usize;
        let row = answered(case["doc"]["choices"][index].clone(), &texts(&case["model_response"]["text"])[..n]);
        let expected = case["expected_output"].as_object().unwrap().values().next().unwrap().as_f64().unwrap();
        assert!((value(&judge, row) - expected).abs() <= 0.01, "{case}");
    }
    // Without either, the mean; the last case asks for one of several references, of which lighteval takes the first.
    for case in &cases(fixture!("lighteval/avg_at_k.json"))[..2] {
        let k = case["metric_params"]["k"].as_u64().unwrap() as usize;
        let index = case["doc"]["gold_index"].as_u64().unwrap() as usize;
        let row = answered(case["doc"]["choices"][index].clone(), &texts(&case["model_response"]["text"])[..k]);
        let expected = case["expected_output"].as_object().unwrap().values().next().unwrap().as_f64().unwrap();
        assert_eq!(value(&judge(GENERATE, &json!(["em"]), Profile::Luth), row), expected, "{case}");
    }
    for case in cases(fixture!("lighteval/maj_at_k.json")) {
        let k = case["metric_params"]["k"].as_u64().unwrap();
        let judge = judge(GENERATE, &json!([{"metric": "exact_match", "maj_at": k}]), Profile::LmEval);
        let index = case["doc"]["gold_index"][0].as_u64().unwrap() as usize;
        let row = answered(case["doc"]["choices"][index].clone(), &texts(&case["model_response"]["text"]));
        let expected = case["expected_output"].as_object().unwrap().values().next().unwrap().as_f64().unwrap();
        assert_eq!(value(&judge, row), expected, "{case}");
    }
    // `1/2` and `0.5` are one vote, and what says nothing has none.
    let judge = judge(GENERATE, &json!([{"metric": "maths", "maj_at": 5}]), Profile::Native);
    let row =
        answered(json!("$\\frac{1}{2}$"), &["$\\boxed{3}$", "hm", "$\\boxed{0.5}$", "hm", "$\\boxed{\\frac{1}{2}}$"]);
    assert_eq!(value(&judge, row), 1.0);
}

#[test]
fn maths_is_each_scorers() {
    let judges =
        [("luth", "luth"), ("lighteval", "lighteval"), ("math_verify", "math_verify"), ("hendrycks", "hendrycks")];
    let mut seen = 0;
    for language in ["en", "fr"] {
        let judges = judges.map(|(rules, key)| {
            let metric = json!([{"metric": "maths", "rules": rules, "language": language}]);
            (judge(GENERATE, &metric, Profile::Native), key)
        });
        for line in fixture!("maths/pairs.jsonl").lines().take(250) {
            let row: Value = serde_json::from_str(line).unwrap();
            let gold = json!(format!("Therefore, $\\boxed{{{}}}$", row["gold"].as_str().unwrap()));
            for (judge, key) in &judges {
                // PRM800K judges bare answers: boxed alone, an answer is one.
                let said = if *key == "hendrycks" { "answer" } else { "pred" };
                let said = row[said].as_str().unwrap();
                let said = if *key == "hendrycks" { format!("\\boxed{{{said}}}") } else { said.to_owned() };
                let Some(expected) = row[*key].as_bool().filter(|_| row["lang"] == language) else { continue };
                let worth = value(judge, answered(gold.clone(), &[&said]));
                assert_eq!(worth, f64::from(u8::from(expected)), "{key}: {line}");
                seen += 1;
            }
        }
    }
    assert!(seen > 400, "{seen}");
    let minerva = judge(GENERATE, &json!([{"metric": "maths", "rules": "minerva"}]), Profile::LmEval);
    let said = "Final Answer: The final answer is $\\frac{2}{4}$. I hope it is correct.";
    assert_eq!(value(&minerva, answered(json!("so $\\boxed{\\frac12}$"), &[said])), 1.0);
    let mut row = answered(json!("$3{,}5$"), &["La réponse est $\\boxed{3,5}$."]);
    judge(GENERATE, &json!([{"metric": "maths", "language": "fr"}]), Profile::Native).row(&mut row).unwrap();
    assert_eq!((row.values["maths"].as_f64(), &row.extracted["maths"]["predicted"]), (Some(1.0), &json!("3,5")));
}

#[test]
fn letters_are_lightevals() {
    let judge = judge(GENERATE, &json!([{"metric": "letter", "language": "fr"}]), Profile::Luth);
    let with = |gold: Value, answer: &str, choices: Value| {
        let mut row = answered(gold, &[answer]);
        row.columns.insert("choices".into(), choices);
        value(&judge, row)
    };
    assert_eq!(with(json!("B"), "Réponse : **B**", json!(4)), 1.0);
    assert_eq!(with(json!(2), "La bonne réponse est (C).", json!("4")), 1.0);
    assert_eq!(with(json!(["A", "D"]), r"Donc \boxed{D}", json!(["w", "x", "y", "z"])), 1.0);
    assert_eq!(with(json!("E"), "Réponse : E", json!(5)), 1.0);
    assert_eq!(with(json!("B"), "aucune idée", json!(4)), 0.0);
    assert_eq!(with(json!("B"), "", json!(null)), 0.0);
}

#[test]
fn bleu_and_chrf_are_sacrebleus() {
    let golden: Value = serde_json::from_str(fixture!("text.json")).unwrap();
    let answers = texts(&golden["answers"]);
    let row = |(place, answer): (usize, &&str)| answered(golden["references"][place].clone(), &[answer]);
    let mut rows: Vec<Sampled> = answers.iter().enumerate().map(row).collect();
    let judge = judge(GENERATE, &json!(["bleu", "chrf"]), Profile::LmEval);
    let scores = scored(&judge, &mut rows);
    let find = |key: &str, settings: &Value| {
        let has = |row: &&Value| settings.as_object().unwrap().iter().all(|(key, value)| row[key] == *value);
        golden[key].as_array().unwrap().iter().find(has).unwrap()["corpus"].as_f64().unwrap()
    };
    close(scores[0].value, find("bleu", &json!({"tokenize": "13a", "smooth": "exp", "lowercase": false})));
    close(scores[1].value, find("chrf", &json!({"words": 0, "beta": 2, "lowercase": false})));
    for score in &scores {
        let [low, high] = score.interval.unwrap();
        assert!(low < score.value && score.value < high && score.stderr.unwrap() > 0.0, "{score:?}");
    }
    assert!(rows.iter().all(|row| row.values.is_empty()));
    assert_eq!(scored(&judge, &mut rows), scores, "the bootstrap begins where it began");
}

/// The verdicts that M-IFEval published, in the three forms in which data sets write settings.
#[test]
fn ifeval_is_the_published_checkers() {
    let judge = judge(r#"{"generate": {}}"#, &json!(["ifeval"]), Profile::LmEval);
    let lines: Vec<Value> =
        fixture!("ifeval.jsonl").lines().take(120).map(|line| serde_json::from_str(line).unwrap()).collect();
    let row = |(place, line): (usize, &Value)| {
        let mut row = answered(Value::Null, &[line["response"].as_str().unwrap()]);
        let mut settings = line["kwargs"].clone();
        for settings in settings.as_array_mut().unwrap().iter_mut().filter(|_| place % 3 == 0) {
            settings.as_object_mut().unwrap().entry("end_phrase").or_insert(Value::Null);
        }
        let settings = if place % 3 == 1 { json!(settings.to_string()) } else { settings };
        row.columns.insert("kwargs".into(), settings);
        row.columns.insert("instruction_id_list".into(), line["instruction_id_list"].clone());
        row
    };
    let mut rows: Vec<Sampled> = lines.iter().enumerate().map(row).collect();
    let scores = scored(&judge, &mut rows);
    for (row, line) in rows.iter().zip(&lines) {
        assert_eq!(row.extracted["ifeval"], json!({"strict": line["strict"], "loose": line["loose"]}), "{line}");
    }
    let flags = |key: &'static str| lines.iter().map(move |line| line[key].as_array().unwrap());
    let of_prompts = |key| flags(key).filter(|all| all.iter().all(|one| *one == true)).count() as f64 / 120.0;
    let of_all = |key| {
        let all: Vec<&Value> = flags(key).flatten().collect();
        all.iter().filter(|one| ***one == true).count() as f64 / all.len() as f64
    };
    assert_eq!(
        scores.iter().map(|score| score.metric.as_str()).collect::<Vec<_>>(),
        ["prompt_strict", "inst_strict", "prompt_loose", "inst_loose"]
    );
    for (score, expected) in
        scores.iter().zip([of_prompts("strict"), of_all("strict"), of_prompts("loose"), of_all("loose")])
    {
        close(score.value, expected);
        assert!(score.stderr.unwrap() > 0.0);
    }
}
