//! The choices among the settings of `kind: sft`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the learning rate moves after the warm-up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Falls to zero (or `min_lr_ratio`) along half a cosine.
    #[default]
    Cosine,
    /// Falls to zero (or `min_lr_ratio`) along a line.
    Linear,
    /// Stays where it is.
    Constant,
    /// Stays where it is and falls along half a cosine in the last `decay_ratio` of all steps (warm-up, stable, decay).
    Wsd,
}

/// The tokens of a chat that are trained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrainOn {
    /// What the assistant says.
    #[default]
    Assistant,
    /// What the assistant says last.
    Last,
    /// Every token.
    All,
}

/// The ends of turns that are trained, with `train_on: assistant` or `last`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrainOnEos {
    /// Those of the turns that are trained.
    #[default]
    Turn,
    /// Those of all turns, whoever speaks.
    All,
    /// That of the last turn.
    Last,
    /// None.
    None,
}

/// What becomes of a sample that is longer than `sequence_len`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LongSamples {
    /// Its end is cut off.
    #[default]
    Truncate,
    /// It is left out.
    Drop,
    /// It is cut into pieces, each a sample of its own.
    Split,
    /// The training fails before its first step.
    Error,
}

/// How samples are put into sequences. None ever sees another one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Packing {
    /// Longest first, each into the fullest sequence of `sequence_len` tokens that has room for it.
    #[default]
    BestFit,
    /// As Axolotl packs, which Luth was trained with: in shuffled order, each into the first bin that has room, bins of
    /// `micro_batch_size` times `sequence_len` tokens and at most `packing_bin_size` samples. One bin is a forward pass.
    Multipack,
    /// One sample a sequence, in shuffled order.
    None,
}

/// What turns gradients into changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerName {
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019), as in PyTorch.
    #[default]
    Adamw,
    /// AdamW whose moments are kept in 8 bits, in blocks of 256 (Dettmers et al. 2022), as in bitsandbytes.
    #[serde(rename = "adamw_8bit")]
    Adamw8bit,
    /// Muon (Jordan 2024) for the matrices inside the layers, as `torch.optim.Muon` computes it with
    /// `adjust_lr_fn="match_rms_adamw"`, and AdamW for embeddings, norms, biases and convolutions.
    Muon,
}

/// Which models come out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SaveStrategy {
    /// The one at the end.
    #[default]
    End,
    /// That, and the one after each epoch but the last, as outputs `epoch1`, `epoch2`, …
    Epoch,
}
