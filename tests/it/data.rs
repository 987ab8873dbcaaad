//! Sources and the reading of data sets, on the data that the repository ships and on data that is broken.

use std::path::{Path, PathBuf};

use fs_err as fs;
use luthflow::data::{self, Message, Row, RowWriter};
use luthflow::ops::OpError;
use luthflow::spec::params::Kind;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::op::{Ran, inputs, repository, run};

/// Returns the files of a shipped data set that end so.
fn shipped(folder: &str, end: &str) -> Vec<(String, PathBuf)> {
    let mut files: Vec<(String, PathBuf)> = fs::read_dir(repository().join("pipelines/data").join(folder))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .filter(|(name, _)| name.ends_with(end) && name != "SOURCE.md")
        .collect();
    files.sort();
    files
}

/// Runs a source node on files.
pub(crate) fn source(fields: Value, files: &[(String, PathBuf)]) -> Result<Ran, OpError> {
    let files: Vec<(&str, &str, &Path)> =
        files.iter().map(|(name, path)| ("files", name.as_str(), path.as_path())).collect();
    run(Kind::Source, fields, &inputs(&files))
}

/// Runs a source node on a shipped data set.
pub(crate) fn shipped_source(folder: &str, end: &str, format: Option<&str>) -> Ran {
    source(json!({"dataset": "x", "format": format}), &shipped(folder, end)).unwrap()
}

/// Returns the rows of a data set made of one file with this content, or what reading it says.
fn rows_of(name: &str, content: &[u8], fields: &Value) -> Result<Vec<Row>, String> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, content).unwrap();
    let mut all = json!({"dataset": "x"});
    all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let ran = source(all, &[(name.to_owned(), path)]).map_err(|error| error.to_string())?;
    data::open(ran.path()).unwrap().collect::<Result<_, _>>().map_err(|error| error.to_string())
}

fn text(text: &str) -> Row {
    Row::Text(text.into())
}

pub(crate) fn turn(role: &str, content: &str) -> Message {
    Message::new(role, content)
}

#[test]
fn every_shipped_data_set_is_read_whole() {
    let count = |ran: &Ran| data::open(ran.path()).unwrap().collect::<Result<Vec<Row>, _>>().unwrap().len();
    for (folder, end, format, rows) in [
        ("fr_novels", ".txt", None, 11_197),
        ("fr_chats", ".jsonl", None, 256),
        ("fr_sentences", ".txt", None, 500),
        ("en_novels", ".txt", None, 4217),
        ("en_captions", ".txt", None, 3243),
        ("en_chats", ".jsonl", None, 1000),
        ("en_sentences", ".txt", None, 500),
        ("clams_fr", ".txt", Some("clams"), 840),
        ("clams_en", ".txt", Some("clams"), 840),
    ] {
        assert_eq!(count(&shipped_source(folder, end, format)), rows, "{folder}");
        assert!(repository().join("pipelines/data").join(folder).join("SOURCE.md").is_file(), "{folder}");
    }
}

#[test]
fn a_source_keeps_the_files_as_they_are_and_counts_them() {
    let files = shipped("fr_novels", ".txt");
    let ran = shipped_source("fr_novels", ".txt", None);
    assert_eq!(ran.read("source.json"), "{\"version\":1,\"format\":null,\"rows\":\"line\"}\n");
    let mut bytes = 0;
    for (name, path) in &files {
        let content = fs::read(path).unwrap();
        bytes += content.len();
        assert_eq!(fs::read(ran.path().join("files").join(name)).unwrap(), content);
    }
    assert_eq!(ran.count("files"), 5);
    assert_eq!(ran.count("bytes"), bytes);
}

#[test]
fn text_becomes_rows_by_line_by_paragraph_or_by_file() {
    let content = b"\xEF\xBB\xBFa\r\nb\r\n\r\n \r\nc\n";
    let read = |unit: &str| rows_of("a.txt", content, &json!({"rows": unit})).unwrap();
    assert_eq!(read("line"), [text("a"), text("b"), text("c")]);
    assert_eq!(read("paragraph"), [text("a\nb"), text("c")]);
    assert_eq!(read("file"), [text("a\nb\n\n \nc")]);
}

#[test]
fn files_are_read_in_the_order_of_their_names() {
    let dir = TempDir::new().unwrap();
    let file = |name: &str| {
        let path = dir.path().join(name.replace('/', "-"));
        fs::write(&path, name).unwrap();
        (name.to_owned(), path)
    };
    let ran = source(json!({"dataset": "x"}), &["b.txt", "a/z.txt", "a.txt"].map(file)).unwrap();
    let rows: Vec<Row> = data::open(ran.path()).unwrap().map(|row| row.unwrap()).collect();
    assert_eq!(rows, [text("a.txt"), text("a/z.txt"), text("b.txt")]);
}

#[test]
fn broken_files_are_refused_with_file_and_line() {
    let none = json!({});
    let clams = json!({"format": "clams"});
    for (name, content, fields, expected) in [
        ("a.jsonl", &b"{\"text\": \"a\"}\n\n{\"text\": \"b\n"[..], &none, "a.jsonl, line 3: "),
        ("a.jsonl", b"{\"texte\": \"a\"}", &none, "line 1: there is neither `text` nor `messages`"),
        ("a.jsonl", b"{\"messages\": [{\"role\": \"user\"}]}", &none, "missing field `content`"),
        ("a.txt", b"bon\nl'\xE9t\xE9", &none, "a.txt, line 2: byte 3 of the line is not UTF-8"),
        ("a.txt", b"", &none, "none of the source's files holds a row"),
        ("a.txt", b"\xEF\xBB\xBF\n \n", &none, "none of the source's files holds a row"),
        ("a.csv", b"a,b", &none, "none of the source's files holds a row"),
        ("a.doc", b"a,b", &none, "set `format`"),
        ("a.txt", b"True\ta\nTrue\tb\n", &clams, "line 2: expected `False`"),
        ("a.txt", b"True\ta\n", &clams, "line 1: expected `False`"),
        ("a.txt", b"hello\n", &clams, "line 1: expected `True`"),
    ] {
        let error = rows_of(name, content, fields).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

/// Mistakes inside messages, in the words and at the columns that they had when a message was first read as a map of its fields.
#[test]
fn mistakes_inside_a_message_have_their_column() {
    for (line, why) in [
        (
            r#"{"messages": [{"role": 1, "content": "a"}, {"role": "user"}]}"#,
            "the `role` of a message is not text at column 43",
        ),
        (
            r#"{"messages": [{"role": "user"} , {"role": "user", "content": "b"}]}"#,
            "missing field `content` in a message of `user` that calls no tool at column 33",
        ),
        (r#"{"messages": [{"content": "b"}]  , "tools": 3}"#, "missing field `role` in a message at column 31"),
        (
            r#"{"messages": [{"role": "user", "content": null, "thinking": "a", "role": null}]}"#,
            "the `role` of a message is not text at column 79",
        ),
        (r#"{"messages": ["a"]}"#, "invalid type: string \"a\", expected a map at column 17"),
        (r#"{"messages": [null]}"#, "invalid type: null, expected a map at column 18"),
        (
            r#"{"messages": [{"role": "user", "content": "b", "id": "\ud83d"}]}"#,
            "unexpected end of hex escape at column 61",
        ),
        (r#"{"messages": [{"role": "user", "content": "b", "id": 1e999}]}"#, "number out of range at column 58"),
        (r#"{"messages": [{"role": "user", "content": "b", "name": 1e999}]}"#, "number out of range at column 60"),
        (r#"{"messages": [{"role": "user", "content": "b", "\x": 1}]}"#, "invalid escape at column 50"),
        (r#"{"messages": [{"role": "user", "content": "b",}]}"#, "trailing comma at column 47"),
        (
            r#"{"chosen": [{"role": "user", "content": "q"}, 3], "rejected": [{"role": "user"}]}"#,
            "`chosen`: invalid type: integer `3`, expected a map",
        ),
    ] {
        assert_eq!(Row::from_json(line), Err(why.into()), "{line}");
    }
}

#[test]
fn a_mistake_far_down_is_found_when_it_is_reached_and_ends_the_rows() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.jsonl");
    fs::write(&path, "{\"text\":\"a\"}\n".repeat(10) + "oops\n{\"text\":\"b\"}\n").unwrap();
    let ran = source(json!({"dataset": "x"}), &[("a.jsonl".into(), path)]).unwrap();
    let rows: Vec<_> = data::open(ran.path()).unwrap().collect();
    assert_eq!(rows.len(), 11);
    assert!(rows[10].as_ref().unwrap_err().to_string().contains("line 11"));
}

#[test]
fn a_row_longer_than_64_mib_is_refused() {
    let error = rows_of("a.txt", &vec![b'x'; (64 << 20) + 1], &json!({})).unwrap_err();
    assert!(error.contains("line 1: the row is longer than 67108864 bytes"), "{error}");
    let lines = vec![b'x'; 32 << 20];
    let error = rows_of("a.txt", &[&lines[..], b"\n", &lines[..]].concat(), &json!({"rows": "file"})).unwrap_err();
    assert!(error.contains("line 2: the row is longer"), "{error}");
}

#[test]
fn file_names_stay_inside_the_source() {
    let (_, path) = shipped("fr_sentences", ".txt").remove(0);
    for name in ["../a.txt", "/a.txt", "a/../../b.txt", ""] {
        let error = source(json!({"dataset": "x"}), &[(name.into(), path.clone())]).err().unwrap();
        assert!(error.to_string().contains("not a file name inside"), "{error}");
    }
    let twice = [("a.txt".into(), path.clone()), ("a.txt".into(), path)];
    assert!(source(json!({"dataset": "x"}), &twice).err().unwrap().to_string().contains("two files"));
    assert!(source(json!({"dataset": "x"}), &[]).err().unwrap().to_string().contains("no files"));
}

#[test]
fn a_file_that_changed_since_it_was_looked_at_is_not_brought_in() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.txt");
    fs::write(&path, "un\ndeux\n").unwrap();
    let digest = luthflow::digest::file_digest(&path).unwrap().0;
    let bring = |digest: String| {
        let mut inputs = inputs(&[("files", "a.txt", &path)]);
        inputs.0.get_mut("files").unwrap()[0].digest = Some(digest);
        run(Kind::Source, json!({"dataset": "x"}), &inputs)
    };
    assert_eq!(bring(digest.hex()).unwrap().read("files/a.txt"), "un\ndeux\n");
    fs::write(&path, "un\ntrois\n").unwrap();
    let error = bring(digest.hex()).err().unwrap();
    assert!(error.to_string().contains("a.txt changed while it was brought in"), "{error}");
    assert!(error.way_out().unwrap().contains("run again"), "{error}");
    assert!(bring("no digest".into()).is_err());
}

#[test]
fn a_model_is_copied_as_a_folder_and_must_look_like_one() {
    let dir = TempDir::new().unwrap();
    let file = |name: &str| {
        fs::write(dir.path().join(name), name).unwrap();
        (name.to_owned(), dir.path().join(name))
    };
    let model =
        |names: &[&str]| source(json!({"model": "x"}), &names.iter().map(|name| file(name)).collect::<Vec<_>>());
    let ran = model(&["config.json", "model.safetensors"]).unwrap();
    assert_eq!(ran.read("config.json"), "config.json");
    assert!(!ran.path().join("source.json").exists());
    assert!(model(&["model.safetensors"]).err().unwrap().to_string().contains("config.json"));
    assert!(model(&["config.json"]).err().unwrap().to_string().contains("safetensors"));
}

#[test]
fn what_is_written_is_read() {
    let dir = TempDir::new().unwrap();
    let rows = [
        text("l'été\n\u{2028}\t\"x\""),
        Row::Chat(vec![turn("user", "a\r\nb"), turn("assistant", "")].into()),
        Row::Pair { good: "a".into(), bad: "b".into() },
    ];
    let mut writer = RowWriter::create(dir.path()).unwrap();
    for row in &rows {
        writer.write(row).unwrap();
    }
    assert_eq!(writer.finish().unwrap(), 3);
    let read: Vec<Row> = data::open(dir.path()).unwrap().map(|row| row.unwrap()).collect();
    assert_eq!(read, rows);
    let empty = TempDir::new().unwrap();
    assert!(data::open(empty.path()).err().unwrap().to_string().contains("is not a data set"));
}
