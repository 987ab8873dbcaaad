//! Texts that nobody would write: reading and planning them ends soon, without a panic, and every mistake points into the
//! text. Bounded, so that it runs with the other tests.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use luthflow::plan::resolve;
use luthflow::spec::lock::Lock;
use luthflow::spec::{Diagnostic, Overrides, parse, sweep};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::world::PIPELINE;

const QUICKSTART: &str = include_str!("../../pipelines/quickstart.yaml");
const EXAMPLE: &str = include_str!("../../examples/merge-ratio/pipeline.yaml");

/// What a hostile or tired hand puts into a pipeline.
const SNIPPETS: [&str; 40] = [
    "", " ", "\n", "\t", "\r\n", ":", ": ", "- ", "{", "}", "[", "]", ",", "#", "\"", "'", "|", ">", "&x ", "*x",
    "<<: *x\n", "!tag ", "${", "${t}", "${}", "$${", "}", "é", "\u{feff}", "\u{0}", "😀", "~", "null", "true", "-1",
    ".nan", "1e999", "? ", "---\n", "nodes:\n",
];

fn read(text: &str, overrides: &Overrides) -> Vec<Diagnostic> {
    let began = Instant::now();
    let parsed = parse(text, "fuzz", overrides);
    let mut diagnostics = parsed.diagnostics;
    match parsed.pipeline.as_ref().map(resolve) {
        Some(Err(more)) => diagnostics.extend(more),
        Some(Ok(_)) => {}
        None => assert!(!diagnostics.is_empty(), "nothing was read, and nothing is wrong"),
    }
    for Diagnostic { span: (start, end), message, .. } in &diagnostics {
        assert!(start <= end && *end <= text.len(), "{message}: {start}..{end} of {}", text.len());
        assert!(text.is_char_boundary(*start) && text.is_char_boundary(*end), "{message}: {start}..{end}");
        assert!(!message.is_empty());
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?} for {} bytes", began.elapsed(), text.len());
    diagnostics
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 2000, ..ProptestConfig::default() }
}

/// Replaces the characters from `at` on, `length` of them, by `with`.
fn mutate(text: &str, at: Index, length: usize, with: &str) -> String {
    let places: Vec<usize> = text.char_indices().map(|(i, _)| i).chain([text.len()]).collect();
    let start = at.index(places.len());
    let end = (start + length).min(places.len() - 1);
    format!("{}{with}{}", &text[..places[start]], &text[places[end]..])
}

proptest! {
    #![proptest_config(config(1500))]

    #[test]
    fn arbitrary_bytes_are_read_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        read(&String::from_utf8_lossy(&bytes), &Overrides::default());
    }

    #[test]
    fn arbitrary_yaml_is_read_to_an_end(text in "[-:{}\\[\\]&*!|>'\"%@`,?#~ \n\ta-c0-9é$<=.]{0,120}") {
        read(&text, &Overrides::default());
        read(&format!("version: 1\nnodes:\n  a: {text}\n"), &Overrides::default());
        let _ = Lock::read(&text);
    }

    #[test]
    fn arbitrary_text_is_no_lockfile(text in "\\PC{0,200}", version in 0..3u8) {
        let _ = Lock::read(&text);
        let head = "pipeline: a\nluthflow: 0.1.0\nplatform: x\n";
        let _ = Lock::read(&format!("version: {version}\n{head}nodes: {text}"));
    }

    #[test]
    fn arbitrary_axes_are_read_to_an_end(text in "[-0-9.:,e+a-z ]{0,30}") {
        if let Ok(values) = sweep::values_of_argument(&text) {
            prop_assert!(!values.is_empty() && values.len() <= sweep::MAX_VALUES);
        }
    }
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn mutated_pipelines_are_read_to_an_end(
        text in select(vec![PIPELINE, QUICKSTART, EXAMPLE]),
        edits in proptest::collection::vec((any::<Index>(), 0..12usize, select(SNIPPETS.to_vec())), 1..5),
    ) {
        let text = edits.iter().fold(text.to_owned(), |text, (at, length, with)| mutate(&text, *at, *length, with));
        read(&text, &Overrides::default());
    }

    #[test]
    fn moved_lines_are_read_to_an_end(text in select(vec![PIPELINE, QUICKSTART]), from in any::<Index>(), to in any::<Index>()) {
        let mut lines: Vec<&str> = text.lines().collect();
        let line = lines.remove(from.index(lines.len()));
        lines.insert(to.index(lines.len() + 1), line);
        read(&lines.join("\n"), &Overrides::default());
    }
}

fn only(text: &str) -> String {
    let diagnostics = read(text, &Overrides::default());
    assert_eq!(diagnostics.len(), 1, "{diagnostics:?}");
    diagnostics[0].message.clone()
}

#[test]
fn an_alias_of_itself_is_an_error() {
    for text in ["a: &x [*x]", "&x {a: *x}", "a: &x [[*x, *x], *x]", "a: &x {<<: *x}", "&x [&y [*x, *y]]"] {
        assert_eq!(only(text), "the alias stands inside the value that it repeats", "{text}");
    }
}

#[test]
fn a_billion_laughs_are_not_unfolded() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..30 {
        let _ = writeln!(text, "a{i}: &a{i} [{}]", vec![format!("*a{}", i - 1); 10].join(", "));
    }
    assert!(only(&text).contains("more than 1048576 values"), "{}", only(&text));
    // Quadratic rather than exponential: one long list, many times.
    let text = format!("a: &a [{}]\nb: [{}]\n", "x, ".repeat(50_000), "*a, ".repeat(50_000));
    assert!(only(&text).contains("more than 1048576 values"));
}

#[test]
fn deep_nesting_is_an_error_whatever_it_is_made_of() {
    for n in [200, 10_000, 300_000] {
        for text in [
            "[".repeat(n),
            "{".repeat(n),
            "[".repeat(n) + &"]".repeat(n),
            "{a: ".repeat(n) + &"}".repeat(n),
            "- ".repeat(n),
            "? ".repeat(n),
            (0..n.min(2000)).fold(String::new(), |text, i| text + &" ".repeat(i) + "a:\n"),
        ] {
            let diagnostics = read(&text, &Overrides::default());
            assert_eq!(diagnostics.len(), 1);
            assert_eq!(diagnostics[0].message, "more than 100 values lie in each other", "{n} of {:?}", &text[..4]);
        }
    }
    let lock = format!("version: 1\npipeline: a\nluthflow: a\nplatform: a\nnodes: {}", "[".repeat(10_000));
    assert!(Lock::read(&lock).is_err());
}

#[test]
fn absurd_axes_are_refused() {
    for text in [
        "0:1:1e-9",
        "0:1e15:1",
        "-9e14:9e14:1",
        "0:1:1e-400",
        "0:1:1e-9223372036854775808",
        "nan:1:1",
        "0:inf:1",
        "1:0:0.1",
        "0:0:0",
    ] {
        assert!(sweep::values_of_argument(text).is_err(), "{text}");
        assert!(
            !read(
                &format!("version: 1\nsweep: {{t: '{text}'}}\nnodes:\n  a: {{kind: source, dataset: '${{t}}'}}\n"),
                &Overrides::default()
            )
            .is_empty()
        );
    }
}

#[test]
fn too_many_sweep_points_are_refused_before_they_are_made() {
    let text =
        "version: 1\nparams: {a: 1, b: 1, c: 1, d: 1}\nnodes:\n  n: {kind: source, dataset: '${a}${b}${c}${d}'}\n";
    let values = sweep::values_of_argument("1:100000:1").unwrap();
    for count in 2..=4 {
        let sweep = ["a", "b", "c", "d"][..count].iter().map(|name| ((*name).to_owned(), values.clone())).collect();
        let began = Instant::now();
        let diagnostics = read(text, &Overrides { sweep, ..Overrides::default() });
        assert_eq!(diagnostics.len(), 1, "{diagnostics:?}");
        assert_eq!(diagnostics[0].message, "the sweep makes more than 1000000 instances of `n`");
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}
