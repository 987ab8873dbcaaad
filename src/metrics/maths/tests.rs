//! The verdicts of other scorers on the same answers, what a reader would accept, and what foreign text may not do.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

const PAIRS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/metrics/maths/pairs.jsonl"));

/// What lighteval gets wrong, and is not copied: it takes `x ∈ [-2, 7]` for `x ∈ [2, 7]`, and SymPy cannot tell that the root of
/// the square of a positive polynomial is the polynomial.
fn left_alone(row: &Value) -> bool {
    let answer = row["answer"].as_str().unwrap();
    answer.contains(r"\in [+2") || answer.starts_with(r"\sqrt{(x^8") || answer.starts_with(r"\sqrt{(8n^2")
}

fn language(row: &Value) -> Language {
    if row["lang"] == "fr" { Language::French } else { Language::English }
}

fn native(gold: &str, answer: &str) -> bool {
    let output = format!("Donc, la réponse finale est : $\\boxed{{{answer}}}$. J’espère que c’est correct");
    judge(&format!("$\\boxed{{{gold}}}$"), &output, Language::French, Profile::Native).correct
}

#[test]
fn verdicts_are_those_of_each_scorer() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for line in PAIRS.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        if left_alone(&row) {
            continue;
        }
        let text = |key: &str| row[key].as_str().unwrap();
        let gold = format!("Therefore, $\\boxed{{{}}}$", text("gold"));
        for (key, profile) in
            [("luth", Profile::Luth), ("lighteval", Profile::Lighteval), ("math_verify", Profile::MathVerify)]
        {
            let Some(expected) = row[key].as_bool() else { continue };
            seen += 1;
            if judge(&gold, text("pred"), language(&row), profile).correct != expected {
                wrong.push(format!("{key}: {line}"));
            }
        }
        if let Some(expected) = row["hendrycks"].as_bool() {
            seen += 1;
            if hendrycks::equivalent(text("gold"), text("answer")) != expected {
                wrong.push(format!("hendrycks: {line}"));
            }
        }
    }
    assert!(seen > 2000, "{seen} verdicts");
    assert!(wrong.is_empty(), "{} of {seen}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn french_spellings_are_accepted() {
    for (gold, answer) in [
        ("3.5", "3,5"),
        (r"\frac{7}{2}", "3,5"),
        ("3.5", "3{,}5"),
        ("1000", r"1\,000"),
        ("1000", "1 000"),
        ("1000", "1\u{202f}000"),
        ("1234567", r"1\ 234\ 567"),
        ("1,000", "1000"),
        ("5", "5.0"),
        ("5", r"5\text{ heures}"),
        ("5", "5 km/h"),
        ("5", r"5\%"),
        (r"5\%", "5"),
        ("(2,3)", "]2;3["),
        ("(2,3]", "]2,3]"),
        ("2,3", r"2 \text{ et } 3"),
        ("2,3", "3 ; 2"),
        (r"\{1.5, 2.5\}", "1,5 ; 2,5"),
        ("(1.5, -2)", "(1,5 ; -2)"),
        (r"x \in [-2,7]", r"-2 \leq x \leq 7"),
        ("x > 3", r"]3, +\infty["),
        ("y = 2x + 3", "2x - y + 3 = 0"),
        (r"\text{Evelyn}", "evelyn"),
        (r"\frac{1}{1+\sqrt{2}}", r"\sqrt{2}-1"),
        (r"\cot x", r"\frac{\cos x}{\sin x}"),
        ("i^2", "-1"),
        (r"-2", r"\sqrt[3]{-8}"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{bmatrix} 1 \\ 2,0 \end{bmatrix}"),
    ] {
        assert!(native(gold, answer), "{gold} and {answer}");
    }
}

#[test]
fn different_answers_are_refused() {
    for (gold, answer) in [
        ("3.5", "35"),
        ("3.5", "3,6"),
        ("2,3", "2.3"),
        ("1000", "1 001"),
        ("52_8", "52_9"),
        ("(2,3)", "[2;3]"),
        ("(2,3)", "(3,2)"),
        ("2^{100}", "2^{100}+1"),
        ("x+1", "x-1"),
        (r"\sqrt{x^2}", "x"),
        (r"\sqrt{2}", "1.414214"),
        (r"\{1,2\}", r"\{1,2,3\}"),
        ("y = 2x + 3", "y = 2x - 3"),
        (r"\text{pair}", "impair"),
        ("10^{40}", "10^{40}+1"),
        (r"\sin x", r"\cos x"),
    ] {
        assert!(!native(gold, answer), "{gold} and {answer}");
    }
}

#[test]
fn answers_outside_latex_are_read_by_natives() {
    for (gold, output) in [
        (r"3\sqrt{13}", r"La réponse est 3\sqrt{13}."),
        ("2k+2", "Réponse : 2k+2"),
        (r"\text{east}", "La réponse finale est **east**."),
        ("3, 5, 7", "La réponse est 3, 5 et 7."),
        ("42", "Il y en a 6 fois 7.\n#### 42"),
    ] {
        let gold = format!("$\\boxed{{{gold}}}$");
        assert!(judge(&gold, output, Language::French, Profile::Native).correct, "{gold} and {output}");
    }
}

#[test]
fn bare_references_are_read_by_natives() {
    for (gold, answer) in [(r"3\sqrt{13}", r"\sqrt{117}"), ("2k+2", "2(k+1)"), ("42", "42"), (r"\$36", "36")] {
        let judged = |profile| judge(gold, &format!("$\\boxed{{{answer}}}$"), Language::French, profile).correct;
        assert!(judged(Profile::Native), "{gold} and {answer}");
        assert_eq!(judged(Profile::Luth), gold == "42", "{gold} and {answer}");
    }
}

#[test]
fn gsm8k_filters_and_minerva() {
    use lm_eval::*;
    assert_eq!(strict("so #### 1,234.", Language::English), Some("1,234."));
    assert_eq!(strict("La réponse est 18", Language::French), Some("18"));
    assert_eq!(flexible("first 3 then $1,200 at last 7"), Some("7"));
    assert!(exact_match("6 * 7 = 42 #### 1,234", "1234."));
    assert!(!exact_match("#### 12", "13"));
    let text = "Final Answer: The final answer is $\\frac12$. I hope it is correct.";
    assert_eq!(minerva_answer(text).as_deref(), Some(r"\frac{1}{2}"));
    assert!(minerva_equal(r"\frac{1}{2}", r"\frac{2}{4}"));
    assert!(!minerva_equal("x", "y"));
    assert_eq!(minerva_normalized("x = 100,000 dollars"), "100000");
    assert_eq!(last_box(r"so $\boxed{7}$ and $\boxed{\frac{1}{2}}$").as_deref(), Some(r"\frac{1}{2}"));
}

#[test]
fn monstrous_output_is_judged() {
    for piece in
        ["{", r"\boxed{", r"\frac", "(", r"\sqrt{", "$", r"\[", r"\(", "answer 1 = ", "réponse:$", "x^", "-", "1 ", "|"]
    {
        let text = format!(r"\boxed{{{}", piece.repeat(10_000_000 / piece.len()));
        for profile in [Profile::Luth, Profile::Native] {
            for language in [Language::English, Language::French] {
                let _ = judge(r"$\boxed{1}$", &text, language, profile);
            }
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_judged(text in any::<String>()) {
        for profile in [Profile::Luth, Profile::Native] {
            let _ = judge(&text, &text, Language::French, profile);
        }
    }

    #[test]
    fn any_formula_is_judged(parts in prop::collection::vec(prop::sample::select(&[
        "\\frac", "\\sqrt", "{", "}", "(", ")", "[", "]", "1", "27", ".5", "x", "i", "^", "_", "+", "-", "\\pm", ",", ";", "=", "<",
        "\\cup", "\\infty", "\\pi", "\\text{a b}", "\\begin{pmatrix}", "\\end{pmatrix}", "&", "\\\\", "!", "\\%", "|", "\\sin",
        "\\log", "\\boxed{", "\\{", "\\}", " ", "\\,", "\\in", "\\binom", "99999999999999999999", "e", "\\circ", "/", "\\mod",
    ][..]), 0..40)) {
        let text = format!("$\\boxed{{{}}}$", parts.concat());
        for profile in [Profile::Luth, Profile::MathVerify, Profile::Native] {
            let _ = judge(&text, &text, Language::English, profile);
        }
    }

    #[test]
    fn sums_of_fractions_are_exact(a in -999_i64..999, b in 1_i64..99, c in -999_i64..999, d in 1_i64..99) {
        let sum = format!("\\frac{{{}}}{{{}}}", a * d + c * b, b * d);
        let written = format!("\\frac{{{a}}}{{{b}}} + \\frac{{{c}}}{{{d}}}");
        prop_assert!(native(&sum, &written));
        let more = format!("{written} + \\frac{{1}}{{999999}}");
        prop_assert!(!native(&sum, &more));
    }
}
