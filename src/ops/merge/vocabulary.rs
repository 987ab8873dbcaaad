//! One vocabulary for the models of a merge, and the rows of their embeddings in its order.
//!
//! As in MergeKit: a model that has a token gives its own row; one that lacks it gets the row of the only model that has
//! it, else the base's, else the mean of those that have it, else zeros. Rules for single tokens come first. The numbers
//! of tokens that only some models have are in the order of the models and of their vocabularies; in MergeKit they
//! change from run to run.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::recipe::Recipe;
use super::tokenizer_file::TokenizerFile;
use super::torch;
use super::{OpError, part::Part, part::rounded};
use crate::spec::params::TokenSource;
use crate::tensor::Dtype;

/// Returns whether the rows of a tensor are those of tokens.
pub(super) fn is_vocabulary(name: &str) -> bool {
    [
        "embed_tokens.weight",
        "lm_head.weight",
        "wte.weight",
        "embed_in.weight",
        "embed_out.weight",
        "word_embeddings.weight",
    ]
    .iter()
    .any(|end| name.ends_with(end))
}

/// The vocabulary of the result.
pub(super) struct Vocabulary {
    pub(super) file: TokenizerFile,
    /// The rows of an embedding, padding included.
    pub(super) size: usize,
    /// Tokens with their numbers, in the order of those.
    tokens: Vec<(String, usize)>,
    /// For every model, the row of each token.
    rows: Vec<Vec<Option<usize>>>,
    /// The rule for a token, and whether models that have it follow it too.
    rules: BTreeMap<usize, (Row, bool)>,
}

/// Where a row comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Row {
    Zero,
    Of { model: usize, row: usize },
}

impl Vocabulary {
    /// Returns the vocabulary that the configuration asks for, if it does.
    pub(super) fn of(recipe: &Recipe<'_>) -> Result<Option<Self>, OpError> {
        let Some((_, source)) = recipe.config.vocabulary() else { return Ok(None) };
        let files = recipe.models.iter().map(|model| TokenizerFile::read(model.path, model.name));
        let files = files.collect::<Result<Vec<_>, _>>()?;
        let sizes: Vec<usize> = recipe.models.iter().zip(&files).map(|(model, file)| vocab_size(model, file)).collect();
        let base = recipe.donor();
        let mut file = match source.0.as_str() {
            "base" => files[base].stripped(sizes[base])?,
            "union" => {
                let order = std::iter::once(base).chain((0..files.len()).filter(|i| *i != base));
                let others: Vec<(&TokenizerFile, usize)> = order.map(|i| (&files[i], sizes[i])).collect();
                files[base].stripped(sizes[base])?.union(&others)
            }
            name => {
                let model = recipe.model(name).ok_or_else(|| OpError::new(format!("`{name}` is no model here")))?;
                files[model].clone()
            }
        };
        let rules = recipe.config.tokenizer.as_ref().and_then(|tokenizer| tokenizer.tokens.as_ref());
        for token in rules.iter().flat_map(|rules| rules.keys()) {
            file.add(token);
        }
        let tokens = file.by_number();
        let vocabularies: Vec<BTreeMap<&str, usize>> = files.iter().map(TokenizerFile::vocabulary).collect();
        let row = |model: usize, token: &str| vocabularies[model].get(token).copied().filter(|row| *row < sizes[model]);
        let rows: Vec<Vec<Option<usize>>> =
            (0..files.len()).map(|model| tokens.iter().map(|(token, _)| row(model, token)).collect()).collect();
        let mut resolved = BTreeMap::new();
        for (i, (token, _)) in tokens.iter().enumerate() {
            let Some(rule) = rules.and_then(|rules| rules.get(token)) else { continue };
            let source = rule.source().map_err(OpError::new)?;
            let find = |name: &str, token: Result<usize, &str>| {
                let model = recipe.model(name).ok_or_else(|| {
                    OpError::new(format!("the token `{token:?}` is to come from `{name}`, which is not merged"))
                })?;
                let found = match token {
                    Ok(number) => Some(number).filter(|row| *row < sizes[model]),
                    Err(token) => row(model, token),
                };
                found
                    .map(|row| Row::Of { model, row })
                    .ok_or_else(|| OpError::new(format!("`{name}` has no embedding for the token {token:?}")))
            };
            let from = match &source {
                TokenSource::Zero => Row::Zero,
                TokenSource::Model(name) => find(name, Err(token))?,
                TokenSource::Other(name, token) => find(name, token.as_ref().map(|n| *n).map_err(String::as_str))?,
            };
            resolved.insert(i, (from, rule.force));
        }
        let count = tokens.iter().map(|(_, number)| number + 1).max().unwrap_or(0).max(tokens.len());
        let multiple = recipe.config.tokenizer.as_ref().and_then(|tokenizer| tokenizer.pad_to_multiple_of);
        let size = multiple.map_or(count, |multiple| count.next_multiple_of(multiple));
        Ok(Some(Self { file, size, tokens, rows, rules: resolved }))
    }

    /// Returns the embeddings of the models in the order of this vocabulary; `models` says whose each part is.
    pub(super) fn align<'a>(
        &self,
        parts: &[Part<'a>],
        models: &[usize],
        base: Option<usize>,
        width: usize,
        dtype: Dtype,
    ) -> Result<Vec<Part<'a>>, OpError> {
        let read = |model: usize, row: usize| -> Option<Vec<f32>> {
            let part = &parts[models.iter().position(|known| *known == model)?];
            let mut numbers = vec![0.0; width];
            (((row + 1) * width) <= part.count()).then(|| part.read(row * width, &mut numbers))?;
            dtype.round(&mut numbers);
            Some(numbers)
        };
        let lost = |token: &str| OpError::new(format!("a model has no row for the token `{token}` in its embedding"));
        let defaults: Vec<Option<Vec<f32>>> = (0..self.tokens.len())
            .into_par_iter()
            .map(|i| {
                let forced = self.rules.get(&i).is_some_and(|(_, force)| *force);
                if !forced && models.iter().all(|model| self.rows[*model][i].is_some()) {
                    return Ok(None);
                }
                self.default_row(i, models, base, width, dtype, &read).map(Some).ok_or_else(|| lost(&self.tokens[i].0))
            })
            .collect::<Result<_, _>>()?;
        let aligned = models.iter().map(|model| {
            let mut numbers = vec![0.0; self.size * width];
            for (i, (token, number)) in self.tokens.iter().enumerate() {
                let forced = self.rules.get(&i).is_some_and(|(_, force)| *force);
                let out = &mut numbers[number * width..(number + 1) * width];
                match (self.rows[*model][i].filter(|_| !forced), &defaults[i]) {
                    (Some(row), _) => out.copy_from_slice(&read(*model, row).ok_or_else(|| lost(token))?),
                    (None, Some(row)) => out.copy_from_slice(row),
                    (None, None) => {}
                }
            }
            self.pad(&mut numbers, width, dtype);
            let mut bytes = vec![0; numbers.len() * dtype.size()];
            dtype.write_f32(&numbers, &mut bytes);
            Ok(Part::made(dtype, bytes))
        });
        aligned.collect()
    }

    fn default_row(
        &self,
        i: usize,
        models: &[usize],
        base: Option<usize>,
        width: usize,
        dtype: Dtype,
        read: &(dyn Fn(usize, usize) -> Option<Vec<f32>> + Sync),
    ) -> Option<Vec<f32>> {
        match self.rules.get(&i) {
            Some((Row::Zero, _)) => return Some(vec![0.0; width]),
            Some((Row::Of { model, row }, _)) => return read(*model, *row),
            None => {}
        }
        let having: Vec<(usize, usize)> =
            models.iter().filter_map(|model| Some((*model, self.rows[*model][i]?))).collect();
        if let Some((model, row)) = having.iter().find(|(model, _)| Some(*model) == base || having.len() == 1) {
            return read(*model, *row);
        }
        let mut sum = vec![0.0; width];
        for (model, row) in &having {
            sum.iter_mut().zip(read(*model, *row)?).for_each(|(sum, number)| *sum = rounded(dtype, *sum + number));
        }
        if !having.is_empty() {
            for sum in &mut sum {
                *sum = rounded(dtype, *sum / having.len() as f32);
            }
        }
        Some(sum)
    }

    /// Fills the rows after the last token with the mean of the others.
    fn pad(&self, numbers: &mut [f32], width: usize, dtype: Dtype) {
        let count = self.tokens.len();
        if self.size <= count {
            return;
        }
        let means: Vec<f32> = (0..width)
            .into_par_iter()
            .map(|column| {
                let column: Vec<f32> = (0..count).map(|row| numbers[row * width + column]).collect();
                // A mean of 16-bit numbers is taken in f32.
                rounded(dtype, torch::sum_apart(&column) / count as f32)
            })
            .collect();
        numbers[count * width..].chunks_exact_mut(width).for_each(|row| row.copy_from_slice(&means));
    }
}

/// Returns how many tokens a model has embeddings for, by its configuration.
fn vocab_size(model: &super::Parent<'_>, file: &TokenizerFile) -> usize {
    let config = model.config.as_ref();
    let said =
        config.and_then(|config| config.get("vocab_size").or_else(|| config.get("text_config")?.get("vocab_size")));
    said.and_then(serde_json::Value::as_u64).map_or_else(|| file.vocabulary().len(), |size| size as usize)
}
