//! Every format of rows: what others read in it, what is broken, and what is written back.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{Int32Builder, ListBuilder, MapBuilder, StringBuilder};
use arrow_array::{Array, ArrayRef, Int32Array, RecordBatch, StructArray, UnionArray};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, UnionFields};
use luthflow::data::{
    DataError, FileRows, Format, Reading, Record, RowRange, ShardFormat, ShardWriter, SourceManifest, TextUnit, open,
    open_records,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::World;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/readers").join(name)
}

/// What was read elsewhere.
fn expected(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(fixture(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn read_as(name: &str, path: &Path, reading: &Reading) -> Result<Vec<Value>, DataError> {
    let mut file = FileRows::open(name, path, reading)?;
    let mut rows = Vec::new();
    while let Some(Record(columns)) = file.next_record()? {
        rows.push(Value::Object(columns));
    }
    Ok(rows)
}

/// How many rows are found to be there, without making them.
fn checked_as(name: &str, path: &Path, reading: &Reading) -> Result<usize, DataError> {
    let mut file = FileRows::open(name, path, reading)?;
    let mut rows = 0;
    while let Some(()) = file.check_record()? {
        rows += 1;
    }
    Ok(rows)
}

fn read(name: &str, bytes: &[u8]) -> Result<Vec<Value>, DataError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let rows = read_as(name, &path, &Reading::default());
    // Whoever only looks whether rows are there finds as many, or what is wrong, in the same words.
    let told = |error: &DataError| error.to_string();
    let checked = checked_as(name, &path, &Reading::default());
    assert_eq!(
        checked.as_ref().map_err(told),
        rows.as_ref().map(Vec::len).as_ref().map_err(|error| told(error)),
        "{name}"
    );
    rows
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn columns_of_every_type_are_what_pyarrow_reads() {
    let rows = expected("types.jsonl");
    for name in ["types.parquet", "types.feather", "types.arrow"] {
        let found = read_as(name, &fixture(name), &Reading::default()).unwrap();
        for (row, (found, expected)) in found.iter().zip(&rows).enumerate() {
            for (column, value) in expected.as_object().unwrap() {
                assert_eq!(found[column], *value, "{name}, row {row}, `{column}`");
            }
            assert_eq!(found.as_object().unwrap().len(), expected.as_object().unwrap().len());
        }
        assert_eq!(found.len(), rows.len(), "{name}");
        // The name says nothing that the content does not say better.
        assert_eq!(read("x.jsonl", &std::fs::read(fixture(name)).unwrap()).unwrap(), found);
    }
    let old = read_as("old.parquet", &fixture("old.parquet"), &Reading::default()).unwrap();
    for (found, expected) in old.iter().zip(&rows) {
        assert!(["int64", "text", "messages", "list"].iter().all(|name| found[name] == expected[name]), "{found}");
    }
}

#[test]
fn tables_are_what_pandas_reads() {
    for name in ["table.csv", "table.tsv"] {
        let rows = expected(&format!("{name}.jsonl"));
        let bytes = std::fs::read(fixture(name)).unwrap();
        assert_eq!(read(name, &bytes).unwrap(), rows);
        assert_eq!(read(&format!("{name}.gz"), &gzip(&bytes)).unwrap(), rows);
    }
}

/// The same rows in all formats and compressions; a part of them is the same part.
#[test]
fn some_columns_and_rows_are_the_same_in_every_format() {
    let rows: Vec<Value> = (0..50).map(|n| json!({"id": n.to_string(), "text": format!("é{n}"), "x": null})).collect();
    let lines = rows.iter().map(Value::to_string).collect::<Vec<_>>().join("\n") + "\n";
    let list = Value::from(rows.clone()).to_string();
    let cells = |row: &Value| format!("{},{},\n", row["id"].as_str().unwrap(), row["text"].as_str().unwrap());
    let csv = rows.iter().map(cells).collect::<Vec<_>>().concat();
    let dir = tempfile::tempdir().unwrap();
    let mut parquet = ShardWriter::create(dir.path(), ShardFormat::Parquet, 700).unwrap();
    for row in &rows {
        parquet.write(&Record(row.as_object().unwrap().clone())).unwrap();
    }
    let shards = parquet.finish().unwrap();
    assert!(shards.len() > 2 && shards.iter().map(|shard| shard.rows).sum::<u64>() == 50, "{shards:?}");
    let shards = shards.iter().map(|shard| (shard.name.clone(), std::fs::read(dir.path().join(&shard.name)).unwrap()));
    let sets: Vec<Vec<(String, Vec<u8>)>> = vec![
        vec![("a.jsonl".into(), lines.clone().into_bytes())],
        vec![("a.jsonl.zst".into(), zstd::encode_all(lines.as_bytes(), 1).unwrap())],
        vec![("a.jsonl.bz2".into(), bzip2(lines.as_bytes()))],
        vec![("a".into(), gzip(lines.as_bytes()))],
        vec![("a.json".into(), list.clone().into_bytes()), ("b.json".into(), b"[]".to_vec())],
        vec![("a.json.gz".into(), gzip(format!("{{\"rows\": {list}}}").as_bytes()))],
        vec![("a.csv".into(), format!("id,text,x\r\n{csv}").into_bytes())],
        shards.collect(),
    ];
    for files in sets {
        let dir = tempfile::tempdir().unwrap();
        let place = |(name, bytes): &(String, Vec<u8>)| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            (name.clone(), path)
        };
        let files: Vec<(String, PathBuf)> = files.iter().map(place).collect();
        let all = SourceManifest::new(None, TextUnit::Line);
        for (from, to) in
            [(0, None), (0, Some(7)), (13, Some(14)), (20, None), (49, Some(90)), (50, None), (99, Some(100))]
        {
            let some = all.clone().range(Some(RowRange { from, to })).columns(Some(vec!["id".into(), "x".into()]));
            let mut found = some.rows_of(files.clone());
            let end = to.unwrap_or(50).min(50) as usize;
            for row in rows.get(from as usize..end).unwrap_or_default() {
                let Record(columns) = found.next_record().unwrap().unwrap();
                assert_eq!(Value::Object(columns), json!({"id": row["id"], "x": null}), "{from}.. of {}", files[0].0);
            }
            assert_eq!(found.next_record().unwrap(), None, "{from}..{to:?} of {}", files[0].0);
            let mut checked = some.rows_of(files.clone());
            let count = std::iter::from_fn(|| checked.check_record().unwrap()).count();
            assert_eq!(count, end.saturating_sub(from as usize), "{from}..{to:?} of {}", files[0].0);
        }
    }
}

#[test]
fn a_column_that_is_not_there_is_named() {
    let reading = Reading { columns: Some(vec!["txt".into()]), ..Reading::default() };
    for name in ["types.parquet", "types.feather", "table.csv"] {
        let error = read_as(name, &fixture(name), &reading).unwrap_err().to_string();
        assert!(error.contains("no column `txt`") && error.contains("`text`"), "{error}");
    }
}

#[test]
fn mistakes_have_a_file_and_a_row() {
    for (name, bytes, why) in [
        ("a.csv", &b"a,b\n1,2\n1,2,3\n"[..], "a.csv, row 2: it has 3 values (line 3)"),
        ("a.csv", b"a,b\n1,2\n1,\xff\n", "row 2: `b` is not UTF-8"),
        ("a.csv", b"a,a\n", "names the column `a` twice"),
        ("a.jsonl", b"{}\n\xff\n", "line 2: byte 1 of the line is not UTF-8"),
        ("a.json", b"{\"a\": 1", "row 1: EOF"),
        ("a.parquet", b"PAR1 and nothing else", "a.parquet: "),
        ("a.arrow", b"ARROW1\0\0\xff\xff\xff\xff\x10\0\0\0", "a.arrow: it ends in the middle"),
        ("a.arrow", b"\xff\xff\xff\xff\xff\xff\xff\x7f", "which is no Arrow data"),
        ("a.arrow", b"", "does not begin with a schema"),
        ("a.xyz", b"hello", "neither content nor name tell the format"),
        ("a.jsonl.gz", &[0x1f, 0x8b, 8, 0, 1, 2, 3], "the gzip data cannot be unpacked"),
    ] {
        let error = read(name, bytes).unwrap_err().to_string();
        assert!(error.contains(why), "{name}: {error}");
    }
    let packed = gzip(&std::fs::read(fixture("types.parquet")).unwrap());
    assert!(read("a.parquet.gz", &packed).unwrap_err().to_string().contains("a.parquet.gz: it lies within gzip"));
}

/// Threads make values of a few rows each, whose lists and maps begin in the middle of what the file holds.
#[test]
fn long_batches_are_read_row_by_row() {
    let (mut lists, mut maps) = (
        ListBuilder::new(Int32Builder::new()),
        MapBuilder::new(None, StringBuilder::new(), ListBuilder::new(Int32Builder::new())),
    );
    let mut expected = Vec::new();
    for row in 0..700 {
        let items: Vec<i32> = (0..row % 5).map(|item| row * 10 + item).collect();
        lists.append_value(items.iter().map(|item| Some(*item)));
        let pairs: Vec<(String, Vec<i32>)> =
            (0..row % 3).map(|key| (format!("{row}.{key}"), vec![row; key as usize])).collect();
        for (key, value) in &pairs {
            maps.keys().append_value(key);
            maps.values().append_value(value.iter().map(|item| Some(*item)));
        }
        maps.append(row % 7 != 0).unwrap();
        expected.push(json!({"list": items, "map": if row % 7 == 0 { Value::Null } else { json!(pairs) }}));
    }
    let columns: [(&str, ArrayRef); 2] = [("list", Arc::new(lists.finish())), ("map", Arc::new(maps.finish()))];
    let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    assert_eq!(read("a.arrow", &writer.into_inner().unwrap()).unwrap(), expected);
}

/// A column that reading refuses is refused by whoever only looks whether rows are there, however deep it lies.
#[test]
fn a_column_of_no_one_type_is_refused() {
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    let fields: UnionFields = [(0, Arc::new(Field::new("n", DataType::Int32, false)))].into_iter().collect();
    let union: ArrayRef =
        Arc::new(UnionArray::try_new(fields, vec![0; 2].into(), None, vec![Arc::clone(&numbers)]).unwrap());
    let field = |name: &str, array: &ArrayRef| Arc::new(Field::new(name, array.data_type().clone(), true));
    let inner: ArrayRef = Arc::new(StructArray::from(vec![(field("u", &union), Arc::clone(&union))]));
    for (array, readable) in [(&numbers, true), (&union, false), (&inner, false)] {
        let batch = RecordBatch::try_from_iter([("a", Arc::clone(&numbers)), ("b", Arc::clone(array))]).unwrap();
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        let found = read("a.arrow", &writer.into_inner().unwrap());
        match found {
            Ok(rows) => assert!(readable && rows.len() == 2, "{rows:?}"),
            Err(error) => {
                let said = error.to_string();
                assert!(!readable && said.contains("row 1: the column `b`: a union has no one type"), "{said}");
            }
        }
    }
}

#[test]
fn rows_that_are_passed_over_are_not_there() {
    for name in ["types.parquet", "types.feather", "types.jsonl"] {
        let open = || FileRows::open(name, &fixture(name), &Reading::default()).unwrap();
        let rows = checked_as(name, &fixture(name), &Reading::default()).unwrap();
        assert!(rows > 3, "{name}: {rows}");
        let mut file = open();
        file.check_record().unwrap();
        assert_eq!(file.skip_rows(2).unwrap(), 2);
        assert_eq!(std::iter::from_fn(|| file.check_record().unwrap()).count(), rows - 3, "{name}");
        let mut file = open();
        file.next_record().unwrap();
        assert_eq!(file.skip_rows(u64::MAX).unwrap(), rows as u64 - 1, "{name}");
    }
}

#[test]
fn parquet_and_arrow_within_a_packing_are_what_they_are_without() {
    let dir = tempfile::tempdir().unwrap();
    let reading = Reading { scratch: Some(dir.path().join("scratch")), ..Reading::default() };
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    for name in ["types.parquet", "types.feather", "types.arrow"] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        let plain = read(name, &bytes).unwrap();
        for (end, packed) in [("gz", gzip(&bytes)), ("zst", zstd(&bytes)), ("bz2", bzip2(&bytes))] {
            let path = dir.path().join(format!("{name}.{end}"));
            std::fs::write(&path, &packed).unwrap();
            let packed_name = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(read_as(packed_name, &path, &reading).unwrap(), plain, "{packed_name}");
            // The same by another name, some rows of it, and a file that ends too early.
            assert_eq!(read_as("data", &path, &reading).unwrap(), plain, "{packed_name}");
            let mut file = FileRows::open(packed_name, &path, &reading).unwrap();
            assert_eq!(file.skip_rows(1).unwrap(), 1);
            assert_eq!(file.next_record().unwrap().map(|Record(row)| Value::Object(row)).as_ref(), plain.get(1));
            std::fs::write(&path, &packed[..packed.len() / 2]).unwrap();
            let error = read_as(packed_name, &path, &reading).unwrap_err().to_string();
            assert!(error.contains(packed_name) && error.contains("cannot be unpacked"), "{error}");
        }
    }
    let left: Vec<_> = std::fs::read_dir(dir.path().join("scratch")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// 400 MiB of nothing in a file of some kilobytes.
#[test]
fn a_packed_parquet_file_that_unpacks_to_too_much_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let reading = Reading { scratch: Some(dir.path().join("scratch")), ..Reading::default() };
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(b"PAR1").unwrap();
    let block = vec![0; 1 << 20];
    (0..400).for_each(|_| encoder.write_all(&block).unwrap());
    let path = dir.path().join("bomb.parquet.zst");
    std::fs::write(&path, encoder.finish().unwrap()).unwrap();
    let error = read_as("bomb.parquet.zst", &path, &reading).unwrap_err().to_string();
    assert!(error.contains("bomb.parquet.zst: it unpacks to more than 256 MiB"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path().join("scratch")).unwrap().count(), 0);
}

#[test]
fn a_source_of_packed_parquet_is_curated_like_any_other() {
    let world = World::empty();
    let rows = |world: &World| world.run(&["data", "head", "set", "-n", "99", "--json"]).stdout;
    let shards = tempfile::tempdir().unwrap();
    let mut writer = ShardWriter::create(shards.path(), ShardFormat::Parquet, 1 << 20).unwrap();
    for i in 0..40 {
        let row = json!({"id": i, "text": format!("Rangée {i} : la mer est grise.")});
        writer.write(&Record(row.as_object().unwrap().clone())).unwrap();
    }
    let shard = shards.path().join(&writer.finish().unwrap()[0].name);
    let bytes = std::fs::read(shard).unwrap();
    world.write("data/a.parquet", "");
    std::fs::write(world.path("data/a.parquet"), &bytes).unwrap();
    world.write(
        "pipeline.yaml",
        "version: 1\nnodes:\n  raw: {kind: source, dataset: data/*}\n  set: {kind: curate, from: [raw], columns: [id], steps: [normalize: \
         {}]}\n",
    );
    world.run_ok(&[]);
    let plain = rows(&world);
    std::fs::remove_file(world.path("data/a.parquet")).unwrap();
    std::fs::write(world.path("data/a.parquet.gz"), gzip(&bytes)).unwrap();
    world.run_ok(&[]);
    assert_eq!(plain.lines().count(), 40);
    assert_eq!(rows(&world), plain);
    let raw = world.run(&["data", "head", "raw", "-n", "2"]);
    assert!(raw.code == 0 && raw.stdout.contains("Rangée 1"), "{}", raw.stderr);
}

/// A file that unpacks to a gigabyte without a line end, a closed quote or the end of a value.
#[test]
fn what_unpacks_without_end_is_refused_and_not_held() {
    let packed = |start: &[u8], block: &[u8]| {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.write_all(start).unwrap();
        (0..1024).for_each(|_| encoder.write_all(block).unwrap());
        encoder.finish().unwrap()
    };
    let block = vec![b'a'; 1 << 20];
    for (name, start) in [
        ("a.jsonl.zst", &b"{\"text\": \""[..]),
        ("a.txt.zst", b""),
        ("a.csv.zst", b"a,b\n1,\""),
        ("a.json.zst", b"[{\"text\": \""),
    ] {
        let bytes = packed(start, &block);
        assert!(bytes.len() < 1 << 20);
        let error = read(name, &bytes).unwrap_err().to_string();
        assert!(error.contains("longer than 67108864 bytes"), "{name}: {error}");
    }
    let deep = vec![b'['; 1 << 20];
    let error = read("a.json", &deep).unwrap_err().to_string();
    assert!(error.contains("row 1"), "{error}");
    let error = read("a.jsonl", &[b"{\"a\":".to_vec(), deep].concat()).unwrap_err().to_string();
    assert!(error.contains("line 1: recursion limit"), "{error}");
}

fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let file = |name: &'static str| (name, std::fs::read(fixture(name)).unwrap());
    let lines = std::fs::read(fixture("types.jsonl")).unwrap();
    vec![
        file("types.parquet"),
        file("old.parquet"),
        file("types.feather"),
        file("types.arrow"),
        file("table.csv"),
        ("a.json", lines.clone()),
        (
            "b.json",
            [
                b"{\"v\": [1], \"rows\": [".to_vec(),
                lines.split(|byte| *byte == b'\n').next().unwrap().to_vec(),
                b"]}".to_vec(),
            ]
            .concat(),
        ),
        ("a.jsonl.gz", gzip(&lines)),
        ("a.jsonl.zst", zstd::encode_all(&*lines, 3).unwrap()),
        ("a.jsonl.bz2", bzip2(&lines)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes changed, taken out and put in anywhere: rows or an error, and never anything else.
    #[test]
    fn broken_files_are_errors(
        which in 0..10_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..6),
        end in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (name, mut bytes) = samples().swap_remove(which);
        for (at, byte, kind) in changes {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes[at] ^= 1 << (byte % 8),
                2 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        if let Some(end) = end {
            bytes.truncate(end.index(bytes.len()));
        }
        let _ = read(name, &bytes);
    }
}

#[test]
fn shards_are_read_back_and_equal_rows_give_equal_bytes() {
    let rows: Vec<Record> = (0..3000)
        .map(|n| {
            let messages = json!([{"role": "user", "content": format!("ça {n}")}, {"role": "assistant", "content": "oui"}]);
            let row = json!({"messages": messages, "score": f64::from(n) / 4.0, "n": n, "ok": n % 2 == 0, "tags": ["a", null]});
            Record(row.as_object().unwrap().clone())
        })
        .collect();
    for (format, size) in
        [(ShardFormat::JsonlZst, 100_000), (ShardFormat::Parquet, 100_000), (ShardFormat::Parquet, 1 << 30)]
    {
        let write = || {
            let dir = tempfile::tempdir().unwrap();
            let mut writer = ShardWriter::create(dir.path(), format, size).unwrap();
            for row in &rows {
                writer.write(row).unwrap();
            }
            let shards = writer.finish().unwrap();
            (dir, shards)
        };
        let ((one, shards), (two, _)) = (write(), write());
        assert_eq!(shards.len() > 1, size == 100_000);
        for shard in &shards {
            let bytes = |dir: &tempfile::TempDir| std::fs::read(dir.path().join(&shard.name)).unwrap();
            assert_eq!(bytes(&one), bytes(&two), "{}", shard.name);
        }
        assert_eq!(std::fs::read_dir(one.path()).unwrap().count(), shards.len(), "nothing is left beside them");
        let found: Vec<Record> = open_records(one.path()).unwrap().collect::<Result<_, _>>().unwrap();
        assert!(found == rows, "{format:?}");
        // The rows that a training reads.
        assert_eq!(open(one.path()).unwrap().map(Result::unwrap).count(), rows.len());
    }
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(ShardWriter::create(empty.path(), ShardFormat::Parquet, 1).unwrap().finish().unwrap().len(), 1);
    assert_eq!(open_records(empty.path()).unwrap().count(), 0);
}

#[test]
fn a_column_of_two_types_is_refused_with_its_row() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = ShardWriter::create(dir.path(), ShardFormat::Parquet, 1).unwrap();
    let record = |value: Value| Record(json!({"a": [{"b": value}]}).as_object().unwrap().clone());
    writer.write(&record(json!(1))).unwrap();
    writer.write(&record(json!(2.5))).unwrap();
    let error = writer.write(&record(json!("x"))).unwrap_err().to_string();
    assert!(error.contains("row 3: `a`.`b`: it holds text, and a number in a row before"), "{error}");
}

/// Through the program: a source in Parquet is read as one in JSONL, and rows that are none are counted.
#[test]
fn a_source_takes_columns_rows_and_passes_over_what_is_none() {
    let world = World::empty();
    let rows: Vec<String> = (0..40).map(|n| format!("{{\"text\": \"ligne {n}\", \"id\": {n}}}\n")).collect();
    world.write("a.jsonl", &format!("{}no row\n{}", rows[..20].concat(), rows[20..].concat()));
    let pipeline = |settings: &str| {
        world.write(
            "pipeline.yaml",
            &format!(
                "version: 1\nnodes:\n  data: {{kind: source, dataset: a.jsonl{settings}}}\n  \
             kept: {{kind: curate, from: [data], steps: [{{length: {{min_chars: 1}}}}]}}\n"
            ),
        );
    };
    pipeline("");
    let ran = world.run(&["run"]);
    assert!(ran.code == 1 && ran.stderr.contains("line 21"), "{}", ran.stderr);
    pipeline(", on_bad_row: skip");
    world.run_ok(&[]);
    let metrics = world.json(&["show", "data", "--json"])["metrics"].clone();
    assert_eq!((&metrics["rows"], &metrics["rows_skipped"]), (&json!(40.0), &json!(1.0)));
    assert_eq!(world.json(&["show", "kept", "--json"])["metrics"]["rows_out"], json!(40.0));
    pipeline(", on_bad_row: skip, range: {from: 12, to: 24}, columns: [text]");
    world.run_ok(&[]);
    assert_eq!(world.json(&["show", "kept", "--json"])["metrics"]["rows_out"], json!(11.0));
    pipeline(", on_bad_row: skip, range: {from: 20, to: 22}");
    let ran = world.run(&["run"]);
    assert!(ran.code == 1 && ran.stderr.contains("1 of 2 rows are none"), "{}", ran.stderr);
}

#[test]
fn a_format_that_is_named_is_taken_at_its_word() {
    let reading = Reading { format: Some(Format::Text), ..Reading::default() };
    assert_eq!(read_as("table.tsv", &fixture("table.tsv"), &reading).unwrap().len(), 3);
    let reading = Reading { format: Some(Format::Parquet), ..Reading::default() };
    assert!(read_as("table.tsv", &fixture("table.tsv"), &reading).is_err());
}
