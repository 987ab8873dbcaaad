//! What a model makes of prompts.
//!
//! A prompt begins with the token for the beginning of a text, if the tokenizer has one, and the names of special tokens
//! in it are those tokens, as MergeKit has it. MergeKit pads prompts of different lengths and, in `hidden_avg`, counts what
//! the model computes at the padding; here an average is over a prompt's own tokens.

use serde_json::Value;

use super::super::{OpError, Parent};
use super::gates::unit;
use crate::data::Tokenizer;
use crate::model::{CausalLm, Packed};

/// The prompts' way into tokens.
pub(super) struct Prompts {
    tokenizer: Tokenizer,
    begin: String,
}

impl Prompts {
    /// Loads the tokenizer of a model.
    pub(super) fn new(base: &Parent<'_>) -> Result<Self, OpError> {
        let unusable = |error| OpError::caused(format!("cannot use the tokenizer of `{}`", base.name), error);
        let tokenizer = Tokenizer::load(base.path).map_err(unusable)?;
        let path = base.path.join("tokenizer_config.json");
        let config: Value = if path.is_file() {
            serde_json::from_slice(&fs_err::read(&path)?).map_err(|error| OpError::io(&path, error))?
        } else {
            Value::Null
        };
        let token = &config["bos_token"];
        let begin = token.as_str().or_else(|| token["content"].as_str()).unwrap_or_default().to_owned();
        Ok(Self { tokenizer, begin })
    }

    /// Returns the tokens of each prompt.
    pub(super) fn tokens(&self, texts: &[String]) -> Result<Vec<Vec<u32>>, OpError> {
        let tokens = |text: &String| {
            let ids = self.tokenizer.encode_with_control(&format!("{}{text}", self.begin))?;
            if ids.is_empty() { Err(OpError::new(format!("the prompt `{text}` has no tokens"))) } else { Ok(ids) }
        };
        texts.iter().map(tokens).collect()
    }
}

/// Returns the sum of the embeddings of all tokens, of length one.
pub(super) fn cheap(base: &Parent<'_>, prompts: &[Vec<u32>]) -> Result<Vec<f32>, OpError> {
    const NAME: &str = "model.embed_tokens.weight";
    let lacks = || OpError::new(format!("`{}` lacks tensor `{NAME}`", base.name));
    let view = base.tensors.get(NAME).filter(|view| view.shape.len() == 2).ok_or_else(lacks)?;
    let (rows, width) = (view.shape[0], view.shape[1]);
    let mut sum = vec![0.0_f32; width];
    let mut row = sum.clone();
    for ids in prompts {
        let mut of_prompt = vec![0.0_f32; width];
        for id in ids {
            if *id as usize >= rows {
                let message = format!("token {id} is not among the {rows} of `{}`", base.name);
                return Err(OpError::new(message).help("the tokenizer does not belong to this model"));
            }
            view.read_f32(*id as usize * width, &mut row);
            of_prompt.iter_mut().zip(&row).for_each(|(sum, number)| *sum += number);
        }
        sum.iter_mut().zip(of_prompt).for_each(|(sum, number)| *sum += number);
    }
    unit(&mut sum);
    Ok(sum)
}

/// Returns what goes into each layer, on average over the prompts: at their last token, or on average over all tokens.
pub(super) fn hidden(
    base: &Parent<'_>,
    model: &mut Option<CausalLm>,
    prompts: &[Vec<u32>],
    average: bool,
    (layers, width): (usize, usize),
) -> Result<Vec<f32>, OpError> {
    let unusable = |error| OpError::caused(format!("cannot run `{}` on the prompts", base.name), error);
    let model = match model {
        Some(model) => model,
        None => model.insert(CausalLm::load(base.path).map_err(unusable)?),
    };
    let mut sum = vec![0.0_f32; layers * width];
    for ids in prompts {
        let mut packed = Packed::default();
        packed.push(ids);
        let states = model.hidden_states(&packed).map_err(unusable)?;
        for (layer, sum) in states.iter().zip(sum.chunks_exact_mut(width)) {
            let rows = if average { &layer[..] } else { &layer[layer.len() - width..] };
            let tokens = rows.len() / width;
            for (i, sum) in sum.iter_mut().enumerate() {
                let column = rows.iter().skip(i).step_by(width).map(|number| f64::from(*number));
                *sum += (column.sum::<f64>() / tokens as f64) as f32;
            }
        }
    }
    sum.iter_mut().for_each(|number| *number /= prompts.len() as f32);
    Ok(sum)
}
