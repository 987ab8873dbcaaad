//! PDF files as rows: what is read in them beside what PyMuPDF and pypdf read, what hostile ones may not do, and Scholar from
//! pairs of papers and corrections (`pipelines/scholar.yaml`), end to end.

use std::io::Write as _;

use luthflow::data::{DataError, FileRows, NoText, Reading, Record, TextUnit};
use serde_json::{Value, json};

use crate::chat_server::{Came, Does, Server};
use crate::op::repository;
use crate::world::World;

fn fixture(name: &str) -> Vec<u8> {
    fs_err::read(repository().join("tests/fixtures/pdf").join(name)).unwrap()
}

fn read_as(bytes: &[u8], reading: &Reading) -> Result<Vec<Value>, DataError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    fs_err::write(&path, bytes).unwrap();
    let mut file = FileRows::open("papers/x.pdf", &path, reading)?;
    let mut rows = Vec::new();
    while let Some(Record(columns)) = file.next_record()? {
        rows.push(Value::Object(columns));
    }
    Ok(rows)
}

fn read(bytes: &[u8]) -> Result<Vec<Value>, DataError> {
    read_as(bytes, &Reading::default())
}

fn why(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().to_string()
}

/// A file of these objects, numbered from 1, of which the first is the catalog.
fn pdf(objects: &[Vec<u8>]) -> Vec<u8> {
    let mut file = b"%PDF-1.5\n".to_vec();
    let mut places = Vec::new();
    for (i, object) in objects.iter().enumerate() {
        places.push(file.len());
        writeln!(file, "{} 0 obj", i + 1).unwrap();
        file.extend(object);
        file.extend(b"\nendobj\n");
    }
    let start = file.len();
    write!(file, "xref\n0 {}\n0000000000 65535 f \n", places.len() + 1).unwrap();
    for place in &places {
        writeln!(file, "{place:010} 00000 n ").unwrap();
    }
    write!(file, "trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n", places.len() + 1).unwrap();
    file
}

fn stream(dict: &str, content: &[u8]) -> Vec<u8> {
    let mut object = format!("<< {dict} /Length {} >>\nstream\n", content.len()).into_bytes();
    object.extend(content);
    object.extend(b"\nendstream");
    object
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// One page with this content, a font `F` as object 5 and a form `X` as object 6.
fn one_page(content: Vec<u8>, font: &str, form: Vec<u8>, more: &[Vec<u8>]) -> Vec<u8> {
    let mut objects = vec![
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 /Resources << /Font << /F 5 0 R >> /XObject << /X 6 0 R >> >> >>"
            .to_vec(),
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R >>".to_vec(),
        content,
        font.as_bytes().to_vec(),
        form,
    ];
    objects.extend_from_slice(more);
    pdf(&objects)
}

const PLAIN: &str = "<< /Type /Font /Subtype /Type1 /BaseFont /Times-Roman >>";

fn page_text(content: &str, font: &str, more: &[Vec<u8>]) -> String {
    let form = stream("/Type /XObject /Subtype /Form /BBox [0 0 9 9]", b"BT /F 10 Tf (form) Tj ET");
    let rows = read(&one_page(stream("", content.as_bytes()), font, form, more)).unwrap();
    assert_eq!(rows.len(), 1);
    rows[0]["text"].as_str().unwrap().to_owned()
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[test]
fn pages_are_what_pymupdf_and_pypdf_read() {
    let expected: Value = serde_json::from_slice(&fixture("expected.json")).unwrap();
    for (name, expected) in expected.as_object().unwrap() {
        let rows = read(&fixture(name)).unwrap();
        let pages = expected["pypdf"].as_array().unwrap();
        assert_eq!(rows.len(), pages.len(), "{name}");
        for (i, row) in rows.iter().enumerate() {
            let text = row["text"].as_str().unwrap();
            assert_eq!((&row["file"], &row["page"]), (&json!("papers/x.pdf"), &json!(i + 1)));
            // pypdf leaves ligatures as they are; PyMuPDF takes them apart, and loses two spaces beside symbols.
            let pypdf: String =
                pages[i].as_str().unwrap().replace('ﬃ', "ffi").replace('ﬁ', "fi").replace('ﬀ', "ff").replace('ﬂ', "fl");
            assert_eq!(text.trim(), pypdf.trim(), "{name}");
            let pymupdf = expected["pymupdf"][i].as_str().unwrap().replace("∑k² ≤π", "∑ k² ≤ π");
            assert_eq!(words(text), words(&pymupdf), "{name}");
        }
        let whole = read_as(&fixture(name), &Reading { unit: TextUnit::File, ..Reading::default() }).unwrap();
        assert_eq!((whole.len(), &whole[0]["pages"]), (1, &json!(pages.len())), "{name}");
        assert!(rows.iter().all(|row| whole[0]["text"].as_str().unwrap().contains(row["text"].as_str().unwrap())));
    }
}

#[test]
fn words_lines_and_accents_are_told_by_their_places() {
    for (content, text) in [
        (
            "BT /F 10 Tf [(Ver) 20 (s) -250 (midi)] TJ 0 -12 Td (il) Tj ( plut.) Tj 0 -40 Td (Puis) Tj ET",
            "Vers midi\nil plut.\n\nPuis",
        ),
        ("BT /F 10 Tf 1 0 0 1 50 700 Tm (gauche) Tj 1 0 0 1 300 700 Tm (droite) Tj ET", "gauche droite"),
        // The page turned, a saved state, and what is drawn in a form.
        ("q 0 1 -1 0 400 0 cm BT /F 10 Tf (en) Tj 20 0 Td (haut) Tj ET Q /X Do", "en haut\nform"),
        // An index stays in its line; bold by drawing twice is drawn once.
        ("BT /F 10 Tf (u) Tj 3 Ts /F 7 Tf (n) Tj ET BT 100 0 Td (A) Tj ET BT 100.2 0 Td (A) Tj ET", "un A"),
        ("BT /F 10 Tf 12 TL (un) ' (deux) ' 0 0 (trois) \" T* (quatre) Tj ET", "un\ndeux\ntrois\nquatre"),
    ] {
        assert_eq!(page_text(content, PLAIN, &[]), text, "{content}");
    }
    // As TeX sets French with its first fonts: accents drawn over letters, ligatures by codes of its own.
    let tex = "<< /Type /Font /Subtype /Type1 /BaseFont /ABCDEF+CMR10 /FirstChar 12 /Widths [556] /FontDescriptor 7 0 R /Encoding << \
               /Differences [12 /fi 19 /acute /caron 94 /circumflex 16 /dotlessi] >> >>";
    let descriptor = b"<< /Type /FontDescriptor /FontName /CMR10 /MissingWidth 500 >>".to_vec();
    let content = "BT /F 10 Tf (bet) Tj [(\\023) 500 (e)] TJ (, \\014n, ma) Tj [(^) 500 (\\020)] TJ (tre) Tj ET";
    assert_eq!(page_text(content, tex, &[descriptor]), "beté, fin, maître");
}

#[test]
fn codes_mean_what_the_file_says_before_what_their_font_says() {
    let table = stream("", b"1 begincodespacerange <00> <FF> endcodespacerange 1 beginbfchar <41> <0153> endbfchar");
    let font = "<< /Type /Font /Subtype /TrueType /BaseFont /X /Encoding /WinAnsiEncoding /ToUnicode 7 0 R >>";
    assert_eq!(page_text("BT /F 10 Tf (A\\351B) Tj ET", font, &[table]), "œéB");
    // Two bytes a code and no table: something is there, and nobody says what.
    let font = "<< /Type /Font /Subtype /Type0 /BaseFont /X /Encoding /Identity-H /DescendantFonts [7 0 R] >>";
    let below = b"<< /Type /Font /Subtype /CIDFontType2 /W [0 4294967295 500 3 [250 300]] >>".to_vec();
    assert_eq!(page_text("BT /F 10 Tf <00410042> Tj ET", font, std::slice::from_ref(&below)), "\u{FFFD}\u{FFFD}");
    // A table that claims every code there could be.
    let font = font.replace(">>", "/ToUnicode 8 0 R >>");
    let table = stream("", b"1 beginbfrange <00000000> <FFFFFFFF> <0000> endbfrange");
    assert_eq!(page_text("BT /F 10 Tf <00410042> Tj ET", &font, &[below, table]), "AB");
}

#[test]
fn files_without_text_are_told_or_kept() {
    let keep = Reading { no_text: NoText::Keep, ..Reading::default() };
    assert!(why(&fixture("scan.pdf")).contains("its pages are pictures"), "{}", why(&fixture("scan.pdf")));
    assert!(why(&fixture("secret.pdf")).contains("qpdf --decrypt"), "{}", why(&fixture("secret.pdf")));
    for name in ["scan.pdf", "secret.pdf"] {
        let rows = read_as(&fixture(name), &keep).unwrap();
        assert_eq!(rows, [json!({"file": "papers/x.pdf", "page": 1, "text": ""})], "{name}");
    }
    let paragraphs = Reading { unit: TextUnit::Paragraph, ..Reading::default() };
    assert!(read_as(&fixture("sujet.pdf"), &paragraphs).unwrap_err().to_string().contains("page or file"));
}

/// Encrypted in every way of the format, with a password for changing alone: read as what they were made of.
#[test]
fn what_opens_without_a_password_is_read() {
    let plain = read(&fixture("corrige.pdf")).unwrap();
    assert!(plain[0]["text"].as_str().unwrap().contains("Hérédité"));
    for way in ["rc4-40", "rc4-128", "aes-128", "aes-256"] {
        assert_eq!(read(&fixture(&format!("ouvert-{way}.pdf"))).unwrap(), plain, "{way}");
    }
    // What its objects unpack to is counted as in plain files.
    let told = why(&fixture("bombe.pdf"));
    assert!(told.contains("its objects take more than"), "{told}");
}

#[test]
fn what_a_file_asks_for_is_bounded() {
    let blanks = deflated(&vec![b' '; 80 << 20]);
    let bomb = stream("/Filter /FlateDecode", &blanks);
    let form = |content: &[u8]| stream("/Type /XObject /Subtype /Form /BBox [0 0 9 9]", content);
    let plain = one_page(bomb, PLAIN, form(b""), &[]);
    assert!(plain.len() < 1 << 20 && why(&plain).contains("draws more than"), "{}", why(&plain));
    let in_form = stream("/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Filter /FlateDecode", &blanks);
    assert!(why(&one_page(stream("", b"/X Do"), PLAIN, in_form, &[])).contains("draws more than"));
    // A form that draws itself ten times, and each of these does.
    let endless = one_page(stream("", b"/X Do"), PLAIN, form(&b"/X Do ".repeat(10)), &[]);
    assert!(why(&endless).contains("draws more than"), "{}", why(&endless));
    // One stream, many times on a page.
    let often =
        one_page(b"[]".to_vec(), PLAIN, form(b""), &[stream("/Filter /FlateDecode", &deflated(&vec![b' '; 8 << 20]))]);
    let place = memchr::memmem::find(&often, b"/Contents 4 0 R").unwrap();
    let mut many = often[..place].to_vec();
    many.extend(format!("/Contents [{}]", "7 0 R ".repeat(50)).bytes());
    many.extend(&often[place + b"/Contents 4 0 R".len()..]);
    assert!(why(&many).contains("draws more than"), "{}", why(&many));
    // Objects that unpack to more than all of a book.
    let mut objects =
        vec![b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(), b"<< /Type /Pages /Kids [] /Count 0 >>".to_vec()];
    objects.push(stream("/Type /ObjStm /N 1 /First 4 /Filter /FlateDecode", &deflated(&vec![b'0'; 20 << 20])));
    assert!(why(&pdf(&objects)).contains("decompress stream"), "{}", why(&pdf(&objects)));
    let zeros = [b"9 0 [".to_vec(), b"0 ".repeat(7 << 20), b"]".to_vec()].concat();
    let many = (0..3).map(|_| stream("/Type /ObjStm /N 1 /First 4 /Filter /FlateDecode", &deflated(&zeros)));
    let objects: Vec<Vec<u8>> = objects[..2].iter().cloned().chain(many).collect();
    assert!(why(&pdf(&objects)).contains("its objects take more than"), "{}", why(&pdf(&objects)));
    // Pages that lie in one another.
    let round = pdf(&[
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [2 0 R] /Count 1 /Parent 2 0 R >>".to_vec(),
    ]);
    assert!(why(&round).contains("it has no page"), "{}", why(&round));
}

#[test]
fn damage_is_an_error_and_never_more() {
    let (mut read_well, mut errors) = (0, 0);
    let mut chance = 1_u64;
    for name in [
        "sujet.pdf",
        "corrige.pdf",
        "colonnes.pdf",
        "scan.pdf",
        "secret.pdf",
        "ouvert-rc4-128.pdf",
        "ouvert-aes-256.pdf",
    ] {
        let whole = fixture(name);
        for round in 0..60 {
            let mut bytes = whole.clone();
            if round % 3 == 0 {
                bytes.truncate(whole.len() * (round + 1) / 60);
            } else {
                for _ in 0..round {
                    chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let at = (chance >> 33) as usize % bytes.len();
                    bytes[at] = (chance >> 20) as u8;
                }
            }
            match read(&bytes) {
                Ok(_) => read_well += 1,
                Err(error) => {
                    errors += 1;
                    assert!(!error.to_string().contains("panicked"), "{error}");
                }
            }
        }
    }
    assert!(read_well > 20 && errors > 20, "{read_well} {errors}");
}

/// A teacher that takes papers apart by rules.
pub(crate) fn teacher(came: &Came) -> Does {
    let said = came.said();
    let first = said.split_once('\n').map_or(said, |(first, _)| first);
    let section = |name: &str| {
        said.split_once(&format!("{name}:\n")).map(|(_, rest)| rest.split("\n\n").next().unwrap().to_owned())
    };
    let numbered = |text: &str| -> Vec<String> {
        let is_question = |line: &&str| line.get(1..3) == Some(". ");
        text.lines().filter(is_question).map(str::to_owned).collect()
    };
    if first.starts_with("List every question") {
        return Does::Says(Value::from(numbered(said)).to_string());
    }
    if first.starts_with("Can this question") {
        return Does::Says((!said.contains("figure 1")).to_string());
    }
    if first.starts_with("Copy from the paper") {
        return Does::Says("On considère la suite définie par $u_0 = 1$ et $u_{n+1} = 2u_n + 3$.".into());
    }
    if first.starts_with("Copy the answer") {
        let question = section("QUESTION").unwrap();
        let answers = numbered(said.split_once("CORRECTION:\n").unwrap().1);
        let answer = answers.into_iter().find(|answer| answer[..2] == question[..2]);
        return Does::Says(answer.unwrap_or_default());
    }
    if first.starts_with("CONTEXT") {
        let part = |name: &str| section(name).unwrap_or_default();
        // A backslash too many, as models write them inside JSON.
        let answer = format!("{} Donc $\\\\frac{{1}}{{2}} < u_n$.", part("ANSWER"));
        return Does::Says(
            json!({"context": part("CONTEXT"), "question": part("QUESTION"), "answer": answer}).to_string(),
        );
    }
    Does::Says("True".into())
}

/// Returns the pipeline without its split: of so few papers nothing can be held out.
pub(crate) fn whole_scholar() -> String {
    let text = fs_err::read_to_string(repository().join("pipelines/scholar.yaml")).unwrap();
    let split = "      - split: {eval: \"${held_out}\", group: document}\n";
    assert!(text.contains(split));
    text.replace(split, "")
}

#[test]
fn scholar_is_made_of_pairs_of_papers_and_corrections() {
    let server = Server::start(|came, _| teacher(came));
    let world = World::empty();
    let file = "pipelines/scholar.yaml";
    world.write(file, &whole_scholar());
    let papers = [
        ("bac/mathematiques-2019-sujet-nice.pdf", "sujet.pdf"),
        ("corriges/mathematiques-2019-corrige-nice.pdf", "corrige.pdf"),
        ("ccinp_physique_2012_e.pdf", "colonnes.pdf"),
        ("ccinp_physique_2012_ca.pdf", "corrige.pdf"),
        // A paper without a correction, one of a language, one before its time, and one that nobody can read.
        ("mathematiques-2020-sujet-lyon.pdf", "sujet.pdf"),
        ("anglais-2019-sujet-nice.pdf", "sujet.pdf"),
        ("anglais-2019-corrige-nice.pdf", "corrige.pdf"),
        ("mathematiques-1975-sujet-nice.pdf", "sujet.pdf"),
        ("mathematiques-1975-corrige-nice.pdf", "corrige.pdf"),
        ("mathematiques-2018-sujet-nice.pdf", "scan.pdf"),
        ("mathematiques-2018-corrige-nice.pdf", "secret.pdf"),
    ];
    for (name, from) in papers {
        let path = world.path("papers").join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, fixture(from)).unwrap();
    }
    let set = format!("endpoint={}", server.url);
    let args = ["--set", "papers=../papers", "--set", &set, "--set", "shortest=100", file];
    let finished = world.run_ok(&args);
    assert!(finished.failed.is_empty() && finished.skipped.is_empty());
    let head = |node: &str| -> Vec<Value> {
        let shown = [&["data", "head", node, "--json", "-n", "50"][..], &args[..6], &["-p", file]].concat();
        let shown = world.run(&shown);
        assert_eq!(shown.code, 0, "{}", shown.stderr);
        shown.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let pairs = head("pairs");
    let about: Vec<(&str, &str)> =
        pairs.iter().map(|row| (row["document"].as_str().unwrap(), row["subject"].as_str().unwrap())).collect();
    let expected = [("ccinp_physique_2012_e.pdf", "physics-chemistry"), ("mathematiques-2019-sujet-nice.pdf", "maths")];
    assert_eq!(about, expected);
    assert!(pairs[1]["sujet"].as_str().unwrap().contains("Démontrer par récurrence"), "{}", pairs[1]);
    assert!(pairs.iter().all(|row| row["corrige"].as_str().unwrap().contains("Hérédité")), "{pairs:?}");
    // The teacher finds questions in one of the two papers.
    let rows = head("scholar");
    assert_eq!(rows.len(), 3, "{rows:?}");
    let chat = &rows[0]["messages"];
    assert!(chat[0]["content"].as_str().unwrap().starts_with("On considère la suite"), "{chat}");
    assert!(chat[0]["content"].as_str().unwrap().contains("1. Calculer u1 et u2."), "{chat}");
    assert!(chat[1]["content"].as_str().unwrap().ends_with("Donc $\\frac{1}{2} < u_n$."), "{chat}");
    assert_eq!((&rows[0]["subject"], &rows[0]["level"]), (&json!("maths"), &json!("medium")));
    assert!(world.run_ok(&args).ran.is_empty());
}

#[test]
fn rows_are_joined_by_keys() {
    let world = World::empty();
    world.write(
        "a.jsonl",
        "{\"id\": 1, \"text\": \"un\"}\n{\"id\": 2, \"text\": \"deux\"}\n{\"id\": 3, \"text\": \"trois\"}\n",
    );
    world.write(
        "b.jsonl",
        "{\"name\": \"no-1\", \"of\": \"one\", \"x\": [1]}\n{\"name\": \"no-3\", \"of\": \"three\", \"x\": null}\n",
    );
    let write = |join: Value| {
        let set = json!({"kind": "curate", "from": ["a"], "steps": [join], "columns": ["id", "en", "x"]});
        let source = |name: &str| json!({"kind": "source", "dataset": format!("{name}.jsonl")});
        world.write(
            "pipeline.yaml",
            &json!({"version": 1, "nodes": {"a": source("a"), "b": source("b"), "set": set}}).to_string(),
        );
    };
    let head = || -> Vec<Value> {
        world
            .run(&["data", "head", "set", "--json"])
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let join = json!({"with": "b", "key": "{{id}}", "with_key": "{{name[3:]}}", "columns": {"of": "en", "x": "x"}});
    write(json!({"join": join}));
    world.run_ok(&[]);
    let one = json!({"text": "un", "id": 1, "en": "one", "x": [1]});
    assert_eq!(head(), [one, json!({"text": "trois", "id": 3, "en": "three", "x": null})]);
    let mut kept = join.clone();
    kept["unmatched"] = json!("keep");
    write(json!({"join": kept}));
    world.run_ok(&[]);
    assert_eq!(head()[1], json!({"text": "deux", "id": 2, "en": null, "x": null}));
    // A change of the other data set is a change of this one.
    world.write(
        "b.jsonl",
        "{\"name\": \"no-1\", \"of\": \"one\", \"x\": [1]}\n{\"name\": \"no-1\", \"of\": \"again\", \"x\": 2}\n",
    );
    let failed = world.run(&["run"]);
    assert!(failed.code != 0 && failed.stderr.contains("an earlier row has the key `1` too"), "{}", failed.stderr);
    let mut wrong = join;
    wrong["columns"] = json!({"nothing": "en"});
    write(json!({"join": wrong}));
    let failed = world.run(&["run"]);
    assert!(failed.stderr.contains("there is no column `nothing`"), "{}", failed.stderr);
    wrong["columns"] = json!({});
    write(json!({"join": wrong}));
    assert!(world.run(&["check"]).stderr.contains("no column is taken"));
}

/// A text that is made of columns, through the program.
#[test]
fn columns_are_written_from_others() {
    let world = World::empty();
    world.write("a.jsonl", "{\"file\": \"svt/2019.pdf\", \"text\": \"un\"}\n");
    let steps = json!([{"set": {"subject": "{{file.split('/')[0]}}", "file": "{{text}}"}}]);
    let set = json!({"kind": "curate", "from": ["a"], "steps": steps, "columns": ["subject", "file"]});
    world.write(
        "pipeline.yaml",
        &json!({"version": 1, "nodes": {"a": {"kind": "source", "dataset": "a.jsonl"}, "set": set}}).to_string(),
    );
    world.run_ok(&[]);
    let shown = world.run(&["data", "head", "set", "--json"]).stdout;
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), json!({"text": "un", "subject": "svt", "file": "un"}));
}
