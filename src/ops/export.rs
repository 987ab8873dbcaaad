//! `kind: export`: a model as one file for other programs.
//!
//! What a file looks like is the business of [`crate::gguf`]; here the settings become its words.

use super::{OpCx, OpError, Outcome};
use crate::gguf::{self, GgufError, Quantisation};
use crate::spec::params::{ExportFormat, ExportParams, ExportType};

/// The name of the file.
const FILE: &str = "model.gguf";

/// Runs the node.
pub(super) fn run(params: &ExportParams, cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    let ExportFormat::Gguf = params.format;
    let quantisation = match params.r#type {
        ExportType::F32 => Quantisation::F32,
        ExportType::F16 => Quantisation::F16,
        ExportType::Bf16 => Quantisation::BF16,
        ExportType::Q8_0 => Quantisation::Q8_0,
        ExportType::Q4KM => Quantisation::Q4KM,
    };
    let model = &cx.inputs.one("model")?.path;
    let to = cx.out.join(FILE);
    cx.progress.phase("writing weights", None, "numbers");
    let goes_on = |done| {
        cx.progress.position(done);
        cx.check_cancelled().is_ok()
    };
    let exported = gguf::export(model, &to, quantisation, params.name.as_deref(), &goes_on);
    let exported = exported.map_err(|error| stopped_or(error, "cannot export the model"))?;
    let bytes = fs_err::metadata(&to)?.len();
    let mut metrics: std::collections::BTreeMap<String, f64> =
        [("bytes".to_owned(), bytes as f64), ("parameters".to_owned(), exported.parameters as f64)].into();
    let counts = exported.tensors.iter().map(|(block, count)| (format!("tensors.{}", block.name()), *count as f64));
    metrics.extend(counts);
    Ok(Outcome { metrics, ..Outcome::default() })
}

/// Returns the error of a node, in the words of every other where the user stopped it.
pub(super) fn stopped_or(error: GgufError, message: &str) -> OpError {
    match error {
        GgufError::Stopped => OpError::new("interrupted"),
        error => OpError::caused(message, error),
    }
}
