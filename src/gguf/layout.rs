//! Every tensor of a model, by both of its names, in the order a file is written in.
//!
//! What the formats store differently:
//!
//! * llama.cpp interleaves the two halves of each head of Llama's query and key projections, for its rotary embedding;
//!   other architectures keep them apart, as transformers does for all.
//! * Gemma's norms multiply by one more than their weight. transformers adds that when it runs, llama.cpp's converter
//!   once and for all.
//! * The kernels of LFM2's convolution have an axis of length one in transformers.

use super::shape::{Family, Shape};

/// A tensor in both formats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    /// The name in a GGUF file.
    pub(super) gguf: String,
    /// The name in a model folder.
    pub(super) folder: String,
    /// The shape in a model folder, outermost axis first.
    pub(super) shape: Vec<usize>,
    /// What the formats store differently.
    pub(super) change: Change,
    /// What it is within its layer: `attn_v`. For what belongs to none its whole name: `output`.
    pub(super) part: &'static str,
    /// Its layer, if it is in one.
    pub(super) layer: Option<usize>,
}

/// What a GGUF file stores differently from a model folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// The halves of each of so many heads are interleaved, row by row.
    Interleaved { heads: usize },
    /// One is added to every number.
    PlusOne,
    /// An axis of length one is left out.
    Squeezed,
}

impl Change {
    /// Returns the row of a GGUF file that is row `row` of a model folder. There are `rows` rows.
    pub(super) fn row_of_file(self, row: usize, rows: usize) -> usize {
        let Change::Interleaved { heads } = self else { return row };
        let width = rows / heads;
        let (head, inside) = (row / width, row % width);
        head * width + 2 * (inside % (width / 2)) + inside / (width / 2)
    }

    /// Returns the row of a model folder that is row `row` of a GGUF file.
    pub(super) fn row_of_folder(self, row: usize, rows: usize) -> usize {
        let Change::Interleaved { heads } = self else { return row };
        let width = rows / heads;
        let (head, inside) = (row / width, row % width);
        head * width + inside % 2 * (width / 2) + inside / 2
    }
}

impl Slot {
    /// Returns the shape in a GGUF file, outermost axis first.
    pub(super) fn file_shape(&self) -> Vec<usize> {
        match (self.change, self.shape.as_slice()) {
            (Change::Squeezed, [channels, 1, width]) => vec![*channels, *width],
            (_, shape) => shape.to_vec(),
        }
    }

    /// Returns how many rows there are and how long each is. Where rows change places, a bias is a column.
    pub(super) fn rows(&self) -> (usize, usize) {
        match (self.file_shape().as_slice(), self.change) {
            ([count], Change::Interleaved { .. }) => (*count, 1),
            (shape, _) => {
                let row = shape.last().copied().unwrap_or(1);
                (shape.iter().product::<usize>() / row, row)
            }
        }
    }
}

/// Returns the name of the tensor with the stretching of the rotary embedding, which folders keep in `config.json`.
pub(super) const ROPE_DIVISORS: &str = "rope_freqs.weight";

/// Returns every tensor of a model, in the order a file is written in.
pub(super) fn layout(shape: &Shape) -> Vec<Slot> {
    let embedding = vec![shape.vocab, shape.hidden];
    let mut slots = vec![global("token_embd", "model.embed_tokens", embedding.clone(), Change::None)];
    for layer in 0..shape.layers {
        let in_layer = if shape.attends[layer] { attention(shape) } else { convolution(shape) };
        for (part, name, sides, change, bias) in in_layer.into_iter().chain(feed_forward(shape)).chain(norms(shape)) {
            let slot = |suffix: &str, shape: Vec<usize>| Slot {
                gguf: format!("blk.{layer}.{part}.{suffix}"),
                folder: format!("model.layers.{layer}.{name}.{suffix}"),
                shape,
                change,
                part,
                layer: Some(layer),
            };
            if bias {
                slots.push(slot("bias", sides[..1].to_vec()));
            }
            slots.push(slot("weight", sides));
        }
    }
    let (file_norm, folder_norm) = match shape.family {
        Family::Lfm2 => ("token_embd_norm", "model.embedding_norm"),
        _ => ("output_norm", "model.norm"),
    };
    slots.push(global(file_norm, folder_norm, vec![shape.hidden], norm_change(shape)));
    if !shape.tied {
        slots.push(global("output", "lm_head", embedding, Change::None));
    }
    slots
}

fn global(part: &'static str, name: &str, shape: Vec<usize>, change: Change) -> Slot {
    Slot { gguf: format!("{part}.weight"), folder: format!("{name}.weight"), shape, change, part, layer: None }
}

/// A tensor within a layer: both names, shape, change, and whether there is a bias too.
type Inner = (&'static str, &'static str, Vec<usize>, Change, bool);

fn norm_change(shape: &Shape) -> Change {
    if shape.family == Family::Gemma3 { Change::PlusOne } else { Change::None }
}

fn attention(shape: &Shape) -> Vec<Inner> {
    let (queries, keys) = (shape.heads * shape.head_width, shape.shared_heads * shape.head_width);
    let turned = |heads| if shape.family == Family::Llama { Change::Interleaved { heads } } else { Change::None };
    let output = if shape.family == Family::Lfm2 { "self_attn.out_proj" } else { "self_attn.o_proj" };
    let bias = shape.biases;
    let mut parts = vec![
        ("attn_q", "self_attn.q_proj", vec![queries, shape.hidden], turned(shape.heads), bias.inward),
        ("attn_k", "self_attn.k_proj", vec![keys, shape.hidden], turned(shape.shared_heads), bias.inward),
        ("attn_v", "self_attn.v_proj", vec![keys, shape.hidden], Change::None, bias.inward),
        ("attn_output", output, vec![shape.hidden, queries], Change::None, bias.outward),
    ];
    let head_norms = match shape.family {
        Family::Llama | Family::Qwen2 => return parts,
        Family::Qwen3 | Family::Gemma3 => ("self_attn.q_norm", "self_attn.k_norm"),
        Family::Lfm2 => ("self_attn.q_layernorm", "self_attn.k_layernorm"),
    };
    for (part, name) in [("attn_q_norm", head_norms.0), ("attn_k_norm", head_norms.1)] {
        parts.push((part, name, vec![shape.head_width], norm_change(shape), false));
    }
    parts
}

fn convolution(shape: &Shape) -> Vec<Inner> {
    let width = shape.hidden;
    vec![
        ("shortconv.conv", "conv.conv", vec![width, 1, shape.convolution], Change::Squeezed, false),
        ("shortconv.in_proj", "conv.in_proj", vec![3 * width, width], Change::None, false),
        ("shortconv.out_proj", "conv.out_proj", vec![width, width], Change::None, false),
    ]
}

fn feed_forward(shape: &Shape) -> Vec<Inner> {
    let names = match shape.family {
        Family::Lfm2 => ["feed_forward.w1", "feed_forward.w3", "feed_forward.w2"],
        _ => ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"],
    };
    let (wide, narrow) = (vec![shape.intermediate, shape.hidden], vec![shape.hidden, shape.intermediate]);
    let bias = shape.biases.feed_forward;
    vec![
        ("ffn_gate", names[0], wide.clone(), Change::None, bias),
        ("ffn_up", names[1], wide, Change::None, bias),
        ("ffn_down", names[2], narrow, Change::None, bias),
    ]
}

fn norms(shape: &Shape) -> Vec<Inner> {
    let names: &[(&str, &str)] = match shape.family {
        Family::Lfm2 => &[("attn_norm", "operator_norm"), ("ffn_norm", "ffn_norm")],
        Family::Gemma3 => &[
            ("attn_norm", "input_layernorm"),
            ("post_attention_norm", "post_attention_layernorm"),
            ("ffn_norm", "pre_feedforward_layernorm"),
            ("post_ffw_norm", "post_feedforward_layernorm"),
        ],
        _ => &[("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm")],
    };
    names.iter().map(|(part, name)| (*part, *name, vec![shape.hidden], norm_change(shape), false)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_ways_to_place_a_row_undo_each_other() {
        let change = Change::Interleaved { heads: 3 };
        let placed: Vec<usize> = (0..12).map(|row| change.row_of_file(row, 12)).collect();
        assert_eq!(placed, [0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11]);
        for heads in [1, 2, 5] {
            let change = Change::Interleaved { heads };
            assert!((0..40).all(|row| change.row_of_folder(change.row_of_file(row, 40), 40) == row));
        }
        assert_eq!(Change::None.row_of_file(7, 12), 7);
    }
}
