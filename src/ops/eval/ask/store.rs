//! The answers of models, by model and tokens.

use std::path::Path;

use crate::digest::{Digest, Manifest};
use crate::endpoint::{EndpointError, Reply, Store};
use crate::generate::{Likelihood, Options};
use crate::ops::{OpCx, OpError};

/// The store, below the folder for what nodes remember. The cache's collection leaves it alone.
const STORE: &str = "answers/evals.sqlite";

/// Raised when the same request comes to mean something else.
const VERSION: &str = "1";

/// Answers of one model.
pub(in crate::ops::eval) struct Answers {
    store: Store,
    /// What all requests to this model begin with.
    model: Vec<u8>,
}

impl Answers {
    /// Opens the store for a model.
    pub(super) fn open(dir: &Path, device: &str, cx: &OpCx<'_>) -> Result<Self, OpError> {
        let digest = Manifest::of_dir(dir).map_err(|error| OpError::caused("cannot digest the model", error))?.digest();
        let model = format!("{VERSION}\0{}\0{device}\0{digest}\0", env!("CARGO_PKG_VERSION")).into_bytes();
        let Some(memo) = cx.memo else { return Ok(Self { store: Store::passing().map_err(failed)?, model }) };
        let path = memo.join(STORE);
        if let Some(folder) = path.parent() {
            fs_err::create_dir_all(folder)?;
        }
        Ok(Self { store: Store::open(&path).map_err(failed)?, model })
    }

    /// Returns what identifies the question how likely tokens are behind others.
    pub(super) fn likelihood_key(&self, context: &[u32], continuation: &[u32]) -> Digest {
        self.key("likelihood", &[context, continuation])
    }

    /// Returns what identifies the question for an answer. `stream` counts only where the answer is drawn.
    pub(super) fn answer_key(&self, prompt: &[u32], options: &Options, stream: u64) -> Digest {
        let drawn = options.sampling.temperature > 0.0;
        let (seed, stream) = if drawn { (options.seed, stream) } else { (0, 0) };
        let settings = format!("{:?}\0{}\0{:?}\0{seed}\0{stream}", options.sampling, options.max_tokens, options.stop);
        self.key(&format!("answer\0{settings}"), &[prompt])
    }

    fn key(&self, what: &str, ids: &[&[u32]]) -> Digest {
        let mut bytes = self.model.clone();
        bytes.extend_from_slice(what.as_bytes());
        for ids in ids {
            bytes.push(0);
            bytes.extend_from_slice(&(ids.len() as u64).to_le_bytes());
            bytes.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
        }
        Digest::of(&bytes)
    }

    pub(super) fn get(&self, key: &Digest) -> Result<Option<Reply>, OpError> {
        self.store.get(key).map_err(failed)
    }

    pub(super) fn put(&self, replies: &[(Digest, Reply)]) -> Result<(), OpError> {
        self.store.put_all(replies).map_err(failed)
    }
}

/// Returns a likelihood as an answer; numbers as their bits, so that nothing is rounded.
pub(super) fn reply_of(likelihood: &Likelihood, context: usize) -> Reply {
    let sum = sum(likelihood);
    Reply {
        text: format!("{:016x}", sum.to_bits()),
        finish_reason: match (likelihood.greedy, likelihood.truncated) {
            (false, false) => "",
            (true, false) => "greedy",
            (false, true) => "truncated",
            (true, true) => "greedy, truncated",
        }
        .to_owned(),
        prompt_tokens: context as u64,
        completion_tokens: likelihood.log_probs.len() as u64,
    }
}

/// Returns the sum of the log-probabilities, each in f32 and the sum in f64.
fn sum(likelihood: &Likelihood) -> f64 {
    likelihood.log_probs.iter().map(|log_prob| f64::from(*log_prob)).sum()
}

/// Returns the sum, whether each token was the likeliest, and whether the context lost its beginning.
pub(super) fn read(reply: &Reply) -> Option<(f64, bool, bool)> {
    let bits = u64::from_str_radix(&reply.text, 16).ok()?;
    let is = |word| reply.finish_reason.contains(word);
    Some((f64::from_bits(bits), is("greedy"), is("truncated")))
}

pub(super) fn failed(error: EndpointError) -> OpError {
    let help = match &error {
        EndpointError::Store { path, .. } => {
            format!("move {} aside to begin a new one; its answers will be computed again", path.display())
        }
        _ => "use that luthflow, or a cache of its own (`--cache-dir`)".to_owned(),
    };
    OpError::caused("what the model answered before cannot be looked up", error).help(help)
}
