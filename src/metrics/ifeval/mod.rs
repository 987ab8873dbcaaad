//! IFEval (Zhou et al. 2023, arXiv 2311.07911): whether an answer follows instructions that a program can check. The 25
//! English kinds are judged as Google's code and its copies in lighteval and lm-evaluation-harness do, the French kinds
//! as M-IFEval (Dussolle et al. 2025, arXiv 2502.04688) does.
//!
//! The references have quirks: keywords are patterns, `-----` is a bullet, "I" is a word in capitals, text without
//! letters is in every language. [`Rules::Reference`] keeps them all, for scores that compare with published ones;
//! [`Rules::Native`] judges what the instruction says (see `native.rs`, one function a difference).
//!
//! Where a setting is missing the references draw one at random, and so does `letter_frequency` for a sign that is no
//! Latin letter (rows 1122 and 1129 of IFEval). Here a missing setting is an error, and the sign is counted as written.

mod french;
mod json;
mod kinds;
pub mod language;
mod layout;
mod native;
use super::python;
mod read;
pub mod sentences;
mod wording;

pub use read::{Fault, Instruction};

/// By whose reading an instruction is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// The published checkers, to the letter: profiles `luth` and `lm-eval`.
    Reference,
    /// What the instruction says: profile `native`.
    Native,
}

/// What an answer is worth: for each instruction, whether it was followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// By the answer as it is.
    pub strict: Vec<bool>,
    /// By any of eight readings of the answer: first line, last line and asterisks left out or not.
    pub loose: Vec<bool>,
}

impl Verdict {
    /// Whether every instruction of the prompt was followed, strictly.
    pub fn all_strict(&self) -> bool {
        self.strict.iter().all(|followed| *followed)
    }

    /// Whether every instruction of the prompt was followed, in some reading each.
    pub fn all_loose(&self) -> bool {
        self.loose.iter().all(|followed| *followed)
    }
}

/// Judges an answer.
pub fn judge(instructions: &[Instruction], answer: &str) -> Verdict {
    let follows =
        |instruction: &Instruction, text: &str| !python::strip(text).is_empty() && instruction.is_followed(text);
    let strict: Vec<bool> = instructions.iter().map(|instruction| follows(instruction, answer)).collect();
    if strict.iter().all(|followed| *followed) {
        return Verdict { loose: strict.clone(), strict };
    }
    let readings = readings(answer);
    let loose = |(instruction, strict): (&Instruction, &bool)| {
        *strict || readings.iter().any(|reading| follows(instruction, reading))
    };
    Verdict { loose: instructions.iter().zip(&strict).map(loose).collect(), strict }
}

/// The readings of an answer beside itself, each once.
fn readings(answer: &str) -> Vec<String> {
    let after_first = answer.split_once('\n').map_or("", |(_, rest)| rest);
    let before_last = answer.rsplit_once('\n').map_or("", |(rest, _)| rest);
    let between = after_first.rsplit_once('\n').map_or("", |(rest, _)| rest);
    let mut readings = vec![answer.replace('*', "")];
    for lines in [after_first, before_last, between] {
        let lines = python::strip(lines);
        readings.push(lines.to_owned());
        readings.push(lines.replace('*', ""));
    }
    readings.sort_unstable();
    readings.dedup();
    readings.retain(|reading| reading != answer);
    readings
}

/// The four numbers of a set of answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Prompts.
    pub prompts: usize,
    /// Prompts with every instruction followed, strictly and loosely.
    pub prompts_strict: usize,
    /// See `prompts_strict`.
    pub prompts_loose: usize,
    /// Instructions of all prompts.
    pub instructions: usize,
    /// Instructions that were followed, strictly and loosely.
    pub instructions_strict: usize,
    /// See `instructions_strict`.
    pub instructions_loose: usize,
}

impl Totals {
    /// Counts one more answer.
    pub fn add(&mut self, verdict: &Verdict) {
        let count = |followed: &[bool]| followed.iter().filter(|followed| **followed).count();
        self.prompts += 1;
        self.prompts_strict += usize::from(verdict.all_strict());
        self.prompts_loose += usize::from(verdict.all_loose());
        self.instructions += verdict.strict.len();
        self.instructions_strict += count(&verdict.strict);
        self.instructions_loose += count(&verdict.loose);
    }

    /// The scores, as parts of one, under the names that the harnesses give them.
    pub fn scores(&self) -> [(&'static str, f64); 4] {
        let part = |count: usize, of: usize| if of == 0 { 0.0 } else { count as f64 / of as f64 };
        [
            ("prompt_level_strict_acc", part(self.prompts_strict, self.prompts)),
            ("inst_level_strict_acc", part(self.instructions_strict, self.instructions)),
            ("prompt_level_loose_acc", part(self.prompts_loose, self.prompts)),
            ("inst_level_loose_acc", part(self.instructions_loose, self.instructions)),
        ]
    }
}

#[cfg(test)]
mod tests;
