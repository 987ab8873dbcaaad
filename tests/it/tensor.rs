//! Weights on disk: what is written is read back, and no file is believed about itself.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test would")]
use std::path::Path;

use luthflow::tensor::{Declared, Dtype, TensorFile, TensorWriter, model_tensors};
use proptest::prelude::*;

/// A file of the given header text and data.
fn file(dir: &Path, header: &str, data: &[u8]) -> std::path::PathBuf {
    let path = dir.join("model.safetensors");
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    fs_err::write(&path, bytes).unwrap();
    path
}

fn refusal(header: &str, data: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let error = TensorFile::open(&file(dir.path(), header, data)).unwrap_err().to_string();
    assert!(error.contains("model.safetensors"), "the file is named: {error}");
    error
}

fn write(path: &Path, tensors: &[(&str, Dtype, &[usize], &[f32])]) {
    let declared: Vec<Declared> = tensors
        .iter()
        .map(|(name, dtype, shape, _)| Declared { name: (*name).into(), dtype: *dtype, shape: shape.to_vec() })
        .collect();
    let mut writer = TensorWriter::create(path, &declared).unwrap();
    for (name, _, _, numbers) in tensors {
        writer.write_f32(name, numbers).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn a_lying_header_is_refused_with_the_name_of_the_tensor() {
    let one = |dtype: &str, shape: &str, start: u64, end: u64| {
        format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}}}"#)
    };
    let cases = [
        (one("F32", "[2]", 0, 8), 4, "not within the 4 bytes"),
        (one("F32", "[2]", 8, 0), 8, "not within the 8 bytes"),
        (one("F32", "[3]", 0, 8), 8, "does not take the 8 bytes"),
        (one("F32", "[4294967296,4294967296]", 0, 8), 8, "does not take the 8 bytes"),
        (one("F32", "[1]", 4, 8), 8, "leaves a gap"),
        (one("F32", "[1]", 0, 4), 8, "of which the tensors take 4"),
        (one("F8_E4M3", "[1]", 0, 1), 1, "its type F8_E4M3 is not one of"),
        (one("F33", "[1]", 0, 8), 8, "F33"),
        (one("F32", "[-1]", 0, 8), 8, "-1"),
        ("[]".into(), 0, "invalid type"),
        ("{".into(), 0, "EOF"),
    ];
    for (header, data, wanted) in cases {
        let error = refusal(&header, &vec![0; data]);
        assert!(error.contains(wanted), "{header}: {error}");
    }
    let w = r#""w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    assert!(refusal(&format!("{{{w},{w}}}"), &[0; 4]).contains("`w` occurs twice"));
    let overlap = format!(r#"{{{w},"v":{{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}}}"#);
    let error = refusal(&overlap, &[0; 6]);
    assert!(error.contains("tensor `v`") && error.contains("overlaps"), "{error}");
}

#[test]
fn a_file_too_short_for_its_header_is_refused_before_anything_is_allocated() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    for (bytes, wanted) in [
        (vec![], "0 bytes are too few"),
        (vec![1; 7], "7 bytes are too few"),
        (u64::MAX.to_le_bytes().to_vec(), "more than the 100000000"),
        (64_u64.to_le_bytes().to_vec(), "claims 64 bytes and 0 are there"),
    ] {
        fs_err::write(&path, bytes).unwrap();
        let error = TensorFile::open(&path).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn the_reference_implementation_would_write_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let numbers: Vec<f32> = (0_u8..6).map(f32::from).collect();
    let path = dir.path().join("ours.safetensors");
    write(&path, &[("a", Dtype::F32, &[2, 3], &numbers), ("b", Dtype::F32, &[], &[7.5]), ("c", Dtype::F32, &[0], &[])]);
    let raw: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let view = |shape: &[usize], bytes| {
        safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.to_vec(), bytes).unwrap()
    };
    let last = 7.5_f32.to_le_bytes();
    let tensors = [("a", view(&[2, 3], &raw[..])), ("b", view(&[], &last[..])), ("c", view(&[0], &[][..]))];
    let metadata = [("format".to_owned(), "pt".to_owned())].into_iter().collect();
    let reference = safetensors::serialize(tensors, Some(metadata)).unwrap();
    assert_eq!(fs_err::read(&path).unwrap(), reference);
}

#[test]
fn pieces_make_the_same_file_and_misuse_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let declared = |name: &str| Declared { name: name.into(), dtype: Dtype::F16, shape: vec![2, 2] };
    let path = dir.path().join("w");
    let mut writer = TensorWriter::create(&path, &[declared("a"), declared("b")]).unwrap();
    assert!(writer.write("b", &[0; 2]).unwrap_err().to_string().contains("`a` was to be written first"));
    writer.write_f32("a", &[1.0]).unwrap();
    writer.write_f32("a", &[2.0, 3.0, 4.0]).unwrap();
    assert!(writer.write("b", &[0; 10]).unwrap_err().to_string().contains("more than the 8 declared"));
    writer.write("b", &[0; 8]).unwrap();
    assert!(writer.write("c", &[0]).unwrap_err().to_string().contains("written already"));
    writer.finish().unwrap();
    let read = TensorFile::open(&path).unwrap();
    assert_eq!(read.get("a").unwrap().to_f32(), [1.0, 2.0, 3.0, 4.0]);

    let writer = TensorWriter::create(&path, &[declared("a")]).unwrap();
    assert!(writer.finish().unwrap_err().to_string().contains("not written to its end"));
    assert!(TensorWriter::create(&path, &[declared("a"), declared("a")]).is_err());
}

#[test]
fn shards_are_found_through_the_index_and_only_in_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("one.safetensors"), &[("b", Dtype::F32, &[1], &[2.0])]);
    write(&dir.path().join("two.safetensors"), &[("a", Dtype::F32, &[1], &[1.0])]);
    let index = dir.path().join("model.safetensors.index.json");
    fs_err::write(&index, r#"{"metadata":{},"weight_map":{"a":"two.safetensors","b":"one.safetensors"}}"#).unwrap();
    let model = model_tensors(dir.path()).unwrap();
    assert_eq!(model.names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(model.get("b").unwrap().to_f32(), [2.0]);
    assert!(model.get("c").is_none());

    for name in ["../one.safetensors", "/etc/passwd", "sub/one.safetensors", "..", "./one.safetensors", "", "a\\\\b"] {
        fs_err::write(&index, format!(r#"{{"weight_map":{{"a":"{name}"}}}}"#)).unwrap();
        let error = model_tensors(dir.path()).unwrap_err().to_string();
        assert!(error.contains("not a plain file name"), "{name}: {error}");
    }
    fs_err::write(&index, r#"{"weight_map":{"x":"one.safetensors"}}"#).unwrap();
    assert!(model_tensors(dir.path()).unwrap_err().to_string().contains("`x` should be in `one.safetensors`"));
    fs_err::remove_file(&index).unwrap();
    assert!(model_tensors(dir.path()).unwrap_err().to_string().contains("holds neither"));
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(numbers in prop::collection::vec(any::<f32>(), 0..200), cut in 0_usize..200) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w");
        let cut = cut.min(numbers.len());
        write(&path, &[("x", Dtype::F32, &[cut], &numbers[..cut]), ("y", Dtype::F32, &[numbers.len() - cut, 1], &numbers[cut..])]);
        let read = TensorFile::open(&path).unwrap();
        let back = [read.get("x").unwrap().to_f32(), read.get("y").unwrap().to_f32()].concat();
        prop_assert!(back.iter().zip(&numbers).all(|(back, number)| back.to_bits() == number.to_bits()));
        prop_assert_eq!(back.len(), numbers.len());
    }

    #[test]
    fn no_bytes_make_the_reader_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), length in 0_u8..200) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w");
        if bytes.len() >= 8 {
            bytes[..8].copy_from_slice(&u64::from(length).to_le_bytes());
        }
        fs_err::write(&path, &bytes).unwrap();
        let _ = TensorFile::open(&path);
    }

    #[test]
    fn a_changed_header_is_refused_or_stays_within_the_file(place in 0_usize..120, byte in any::<u8>()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w");
        write(&path, &[("a", Dtype::F16, &[2, 3], &[1.0; 6]), ("b", Dtype::BF16, &[4], &[2.0; 4])]);
        let mut bytes = fs_err::read(&path).unwrap();
        bytes[place] = byte;
        fs_err::write(&path, &bytes).unwrap();
        if let Ok(read) = TensorFile::open(&path) {
            let names: Vec<String> = read.names().map(str::to_owned).collect();
            let total: usize = names.iter().map(|name| read.get(name).unwrap().bytes.len()).sum();
            prop_assert!(total < bytes.len());
        }
    }
}
