//! `kind: source`: brings files from outside into the graph, unchanged.
//!
//! The files are copied as they are, and not turned into rows: a source is what its digest pins, so what it holds must
//! be what anyone can fetch and compare. How to read them is written beside them. Whether they *can* be read is tried
//! here on the first rows of each, so that a wrong format fails at the source and not three nodes later.
//!
//! Where the file system can, a copy shares its blocks with the original until one of them is written (a reflink), which
//! costs no time and no space. Hard links are not used on purpose: a hard link is the same file, and an edit of the
//! user's would change the artifact.
//!
//! Between the look at a file that decided this node's key and the copy somebody may write to the file. Then the
//! artifact would stand under the key of another content, so the copy is digested, and it must be what was looked at.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};

use fs_err as fs;

use super::export::stopped_or;
use super::{InputArtifact, OpCx, OpError, Outcome};
use crate::data::{self, Format, RowRange, SourceManifest, TextUnit};
use crate::digest::{Digest, file_digest};
use crate::gguf::{self, GgufFile};
use crate::hub::{self, Access, Address, HubError, Wanted};
use crate::spec::params::{NoText, OnBadRow, SourceFormat, SourceParams, TextRows, WeightType};
use crate::tensor::Dtype;
use crate::text::fasttext;

/// The slot with the files to bring in.
const FILES: &str = "files";
/// How many rows of each file are read to see whether it can be read.
const TRIED_ROWS: usize = 3;
/// One row in so many may be none where such rows are passed over.
const MOST_BAD: u64 = 10;
/// Bytes copied between two looks at whether to stop.
const COPY_BLOCK: u64 = 8 << 20;

/// Runs the node.
pub(super) fn run(params: &SourceParams, cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    let files = cx.inputs.many(FILES);
    check_names(files)?;
    let fetched = fetched(files, cx)?;
    let files = fetched.as_deref().unwrap_or(files);
    let mut metrics = BTreeMap::new();
    let bytes = match files {
        files if params.adapter.is_some() => bring_adapter(files, cx)?,
        files if params.model.is_none() => bring_dataset(params, files, cx, &mut metrics)?,
        [file] if gguf::is_gguf(&file.path).map_err(|error| OpError::new(error.to_string()))? => {
            let imported = import(params, file, cx)?;
            metrics.insert("tensors".to_owned(), imported.tensors as f64);
            metrics.insert("parameters".to_owned(), imported.parameters as f64);
            fs::metadata(&file.path)?.len()
        }
        _ if params.dtype.is_some() => {
            let message = "`dtype` is for GGUF files; a model folder is brought in as it is";
            return Err(OpError::new(message).help("leave `dtype` out"));
        }
        files => bring_model(files, cx)?,
    };
    metrics.insert("files".to_owned(), files.len() as f64);
    metrics.insert("bytes".to_owned(), bytes as f64);
    Ok(Outcome { metrics, ..Outcome::default() })
}

fn check_names(files: &[InputArtifact]) -> Result<(), OpError> {
    if files.is_empty() {
        return Err(
            OpError::new("the source holds no files").help("check the path; a glob that matches nothing is empty")
        );
    }
    let mut seen = BTreeSet::new();
    for file in files {
        let name = Path::new(&file.name);
        if file.name.is_empty() || !name.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(OpError::new(format!("`{}` is not a file name inside the source", file.name)));
        }
        if !seen.insert(name) {
            return Err(OpError::new(format!("two files of the source are called `{}`", file.name)));
        }
    }
    Ok(())
}

fn bring_dataset(
    params: &SourceParams,
    files: &[InputArtifact],
    cx: &OpCx<'_>,
    metrics: &mut BTreeMap<String, f64>,
) -> Result<u64, OpError> {
    let manifest = manifest(params).unpacking_in(cx.scratch);
    if params.on_bad_row == OnBadRow::Skip {
        count_rows(&manifest, files, cx, metrics)?;
    } else {
        try_rows(&manifest, files)?;
    }
    manifest.write(cx.out)?;
    copy_all(files, cx, |name| SourceManifest::file_path(cx.out, name))
}

/// Returns how the files of a data set are read.
pub(super) fn manifest(params: &SourceParams) -> SourceManifest {
    SourceManifest::new(params.format.map(format_of), unit_of(params.rows))
        .columns(params.columns.clone())
        .range(params.range.map(|range| RowRange { from: range.from, to: range.to }))
        .skipping_bad(params.on_bad_row == OnBadRow::Skip)
        .no_text(match params.no_text {
            NoText::Error => data::NoText::Error,
            NoText::Keep => data::NoText::Keep,
        })
}

/// Looks into all rows, since how many of them are none must be known now.
fn count_rows(
    manifest: &SourceManifest,
    files: &[InputArtifact],
    cx: &OpCx<'_>,
    metrics: &mut BTreeMap<String, f64>,
) -> Result<(), OpError> {
    cx.progress.phase("reading rows", None, "rows");
    let mut rows = manifest.rows_of(files.iter().map(|file| (file.name.clone(), file.path.clone())).collect());
    let mut count = 0_u64;
    while rows.check_record()?.is_some() {
        count += 1;
        if count.is_multiple_of(4096) {
            cx.check_cancelled()?;
            cx.progress.position(count);
        }
    }
    let bad = rows.bad();
    if bad * MOST_BAD > count + bad {
        let message = format!("{bad} of {} rows are none, which is more than one in {MOST_BAD}", count + bad);
        return Err(OpError::new(message).help("look at `format`, or mend the files"));
    }
    metrics.insert("rows".to_owned(), count as f64);
    metrics.insert("rows_skipped".to_owned(), bad as f64);
    Ok(())
}

fn try_rows(manifest: &SourceManifest, files: &[InputArtifact]) -> Result<(), OpError> {
    let mut any = false;
    for file in files {
        let mut rows = manifest.open_file(&file.name, &file.path)?;
        for _ in 0..TRIED_ROWS {
            any |= rows.next_record()?.is_some();
        }
    }
    if !any {
        return Err(OpError::new("none of the source's files holds a row"));
    }
    Ok(())
}

fn bring_model(files: &[InputArtifact], cx: &OpCx<'_>) -> Result<u64, OpError> {
    for file in files {
        // The steps of `curate` that read such a model want nothing beside it.
        if fasttext::is_model(&file.name, &file.path).map_err(OpError::new)? {
            return copy_all(files, cx, |name| cx.out.join(name));
        }
    }
    let help = "a model is a GGUF file, or a folder in Hugging Face layout: config.json, *.safetensors and the files of its \
                tokenizer, or one with a `.bin` or `.ftz` of fastText";
    if !files.iter().any(|file| file.name == "config.json") {
        return Err(OpError::new("the model has no config.json").help(help));
    }
    let weights = |file: &InputArtifact| Path::new(&file.name).extension().is_some_and(|end| end == "safetensors");
    if !files.iter().any(weights) {
        return Err(OpError::new("the model has no *.safetensors file").help(help));
    }
    copy_all(files, cx, |name| cx.out.join(name))
}

fn bring_adapter(files: &[InputArtifact], cx: &OpCx<'_>) -> Result<u64, OpError> {
    for wanted in ["adapter_config.json", "adapter_model.safetensors"] {
        if !files.iter().any(|file| file.name == wanted) {
            let help = "an adapter is a folder as PEFT saves it, with safetensors";
            return Err(OpError::new(format!("the adapter has no {wanted}")).help(help));
        }
    }
    copy_all(files, cx, |name| cx.out.join(name))
}

/// Turns a GGUF file into a model folder. It is read from a copy: the file itself may change under our hands.
fn import(params: &SourceParams, file: &InputArtifact, cx: &OpCx<'_>) -> Result<gguf::Imported, OpError> {
    let dtype = match params.dtype {
        None | Some(WeightType::Bf16) => Dtype::BF16,
        Some(WeightType::F16) => Dtype::F16,
        Some(WeightType::F32) => Dtype::F32,
    };
    let fetched = is_fetched(file, cx);
    let copied = if fetched { file.path.clone() } else { cx.scratch.join(FILES) };
    if !fetched {
        copy_all(std::slice::from_ref(file), cx, |_| copied.clone())?;
    }
    cx.progress.phase("decoding weights", None, "numbers");
    let goes_on = |done| {
        cx.progress.position(done);
        cx.check_cancelled().is_ok()
    };
    let imported =
        GgufFile::open_as(&copied, &file.path).and_then(|opened| gguf::import(&opened, cx.out, dtype, &goes_on));
    let imported = imported.map_err(|error| stopped_or(error, "cannot import the model"))?;
    fs::remove_file(copied)?;
    Ok(imported)
}

/// Fetches files that do not lie on this machine, and returns them as files that do; nothing if they did already.
fn fetched(files: &[InputArtifact], cx: &OpCx<'_>) -> Result<Option<Vec<InputArtifact>>, OpError> {
    let mut wanted = Vec::new();
    for file in files {
        let address = Address::read(file.path.to_str().unwrap_or_default()).map_err(|error| outside(&error))?;
        let Some(address) = address else { return Ok(None) };
        let content = file.digest.as_deref().unwrap_or_default().parse().map_err(OpError::new)?;
        wanted.push(Wanted { address, content });
    }
    let access = Access::of_environment(cx.environment);
    let told = Cell::new(None);
    cx.progress.phase("downloading", None, "B");
    let tell = |done, total| {
        if told.replace(total) != total {
            cx.progress.phase("downloading", total, "B");
        }
        cx.progress.position(done);
    };
    let places = hub::fetch(&access, wanted, &fetch_folder(cx), &tell, &|| cx.check_cancelled().is_err())
        .map_err(|error| outside(&error))?;
    let here = files.iter().zip(places).map(|(file, path)| InputArtifact { path, digest: None, ..file.clone() });
    Ok(Some(here.collect()))
}

fn outside(error: &HubError) -> OpError {
    let failure = OpError::new(error.to_string());
    match error.way_out() {
        Some(help) => failure.help(help),
        None => failure,
    }
}

/// Copies every file to where `place` says and returns the number of bytes.
fn copy_all(
    files: &[InputArtifact],
    cx: &OpCx<'_>,
    place: impl Fn(&str) -> std::path::PathBuf,
) -> Result<u64, OpError> {
    let mut total = 0;
    for file in files {
        total += fs::metadata(&file.path)?.len();
    }
    cx.progress.phase("copying", Some(total), "B");
    let mut done = 0;
    let mut uses: BTreeMap<&Path, u32> = BTreeMap::new();
    for file in files {
        *uses.entry(&file.path).or_default() += 1;
    }
    for file in files {
        let copied = place(&file.name);
        // What was fetched for this node alone needs no second place on the disk.
        if is_fetched(file, cx) && uses[&*file.path] == 1 && moved(&file.path, &copied)? {
            done += fs::metadata(&copied)?.len();
            continue;
        }
        copy(&file.path, &copied, &mut done, cx)?;
        check_copy(file, &copied)?;
    }
    Ok(done)
}

fn is_fetched(file: &InputArtifact, cx: &OpCx<'_>) -> bool {
    file.path.starts_with(fetch_folder(cx))
}

fn fetch_folder(cx: &OpCx<'_>) -> PathBuf {
    cx.checkpoint.map_or_else(|| cx.scratch.join("fetched"), |kept| kept.join("fetched"))
}

fn moved(from: &Path, to: &Path) -> Result<bool, OpError> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    Ok(fs::rename(from, to).is_ok())
}

/// Copies the content and not the permissions: where a file came from must not show in the artifact.
fn copy(from: &Path, to: &Path, done: &mut u64, cx: &OpCx<'_>) -> Result<(), OpError> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut reader = fs::File::open(from)?;
    let mut writer = fs::File::create(to)?;
    if reflink_copy::reflink_file(reader.file(), writer.file()).is_ok() {
        *done += writer.metadata()?.len();
        cx.progress.position(*done);
        return Ok(());
    }
    loop {
        cx.check_cancelled()?;
        let copied = std::io::copy(&mut Read::by_ref(&mut reader).take(COPY_BLOCK), &mut writer)?;
        if copied == 0 {
            break;
        }
        *done += copied;
        cx.progress.position(*done);
    }
    Ok(writer.flush()?)
}

/// Fails if the copy isn't what the file was when the source was looked up.
fn check_copy(file: &InputArtifact, copied: &Path) -> Result<(), OpError> {
    let Some(expected) = &file.digest else { return Ok(()) };
    let failed = |error: String| OpError::new(format!("cannot check the copy of {}: {error}", file.path.display()));
    let expected: Digest = expected.parse().map_err(|error| failed(format!("{error}")))?;
    let (digest, _) = file_digest(copied).map_err(|error| failed(error.to_string()))?;
    if digest == expected {
        return Ok(());
    }
    let message = format!("{} changed while it was brought in", file.path.display());
    Err(OpError::new(message).help("run again when whoever writes it is done"))
}

fn format_of(format: SourceFormat) -> Format {
    match format {
        SourceFormat::Jsonl => Format::Jsonl,
        SourceFormat::Json => Format::Json,
        SourceFormat::Csv => Format::Csv,
        SourceFormat::Tsv => Format::Tsv,
        SourceFormat::Parquet => Format::Parquet,
        SourceFormat::Arrow => Format::Arrow,
        SourceFormat::Text => Format::Text,
        SourceFormat::Clams => Format::Clams,
        SourceFormat::Pdf => Format::Pdf,
    }
}

fn unit_of(rows: TextRows) -> TextUnit {
    match rows {
        TextRows::Line => TextUnit::Line,
        TextRows::Paragraph => TextUnit::Paragraph,
        TextRows::File => TextUnit::File,
        TextRows::Page => TextUnit::Page,
    }
}
