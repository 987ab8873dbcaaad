//! What a node does. One folder or file a kind; [`run`] is the only `match` over all of them.
//!
//! Ops know neither the cache nor the scheduler nor the terminal: they get folders to read, a folder to write and a
//! sink for progress.

mod answered;
mod command;
mod curate;
mod cx;
mod error;
mod eval;
mod exits;
mod export;
mod fit;
mod generate;
mod init;
mod look;
mod lora;
mod merge;
mod page;
mod report;
mod sft;
mod source;
mod tokenizer;
mod written;

pub use cx::{InputArtifact, Inputs, OpCx, Outcome, Progress};
pub use error::OpError;
pub use look::{Speeds, configuration, is_packed, rows, speeds};
pub use sft::{Lengths, lengths};
pub use written::unreadable;

pub use crate::tensor::DeviceChoice;

use crate::spec::params::{GateMode, Op};

/// Runs a node: reads its inputs, writes its artifact into `cx.out`, and returns its metrics.
pub fn run(op: &Op, cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    exits::look(op, cx)?;
    match op {
        Op::Source(params) => source::run(params, cx),
        Op::Curate(params) => curate::run(params, cx),
        Op::Generate(params) => generate::run(params, cx),
        Op::Tokenizer(params) => tokenizer::run(params, cx),
        Op::Init(params) => init::run(params, cx),
        Op::Sft(params) => sft::run(params, cx),
        Op::Merge(params) => merge::run(params, cx),
        Op::Moe(params)
            if matches!(params.gate_mode, GateMode::Hidden | GateMode::HiddenLast | GateMode::HiddenAvg) =>
        {
            cx.on_cpu_alone("what finds routers from hidden states").and_then(|()| merge::moe(params, cx))
        }
        Op::Moe(params) => merge::moe(params, cx),
        Op::ApplyLora(params) => lora::apply(params, cx),
        Op::ExtractLora(params) => lora::extract(params, cx),
        Op::Eval(params) => eval::run(params, cx),
        Op::Export(params) => export::run(params, cx),
        Op::Report(params) => report::run(params, cx),
        Op::Command(params) => command::run(params, cx),
        // The scheduler compares metrics itself: nothing is read or written.
        Op::Select(_) => Err(OpError::new("a selection does not run in a process of its own")),
    }
}
