//! `check_answers`: answers that are whole, and answer.
//!
//! Each rule drops, flags or is off by itself. The first that drops decides; those that flag are all written down.

use crate::data::{Chat, Content, Message, Row};
use crate::ops::OpError;
use crate::ops::curate::flow::{Step, Verdict, Why, each};
use crate::ops::curate::item::Item;
use crate::spec::params::{CheckAnswers, RuleMode};
use crate::text::conversation::{self, Unbalanced};

/// Words of a run that may come again.
const LOOP_WORDS: usize = 10;

pub(super) struct CheckTexts {
    pub(super) settings: CheckAnswers,
}

/// What is wrong with a row, with what happens then.
struct Report {
    all: Vec<(RuleMode, Why)>,
}

impl Report {
    /// Asks a rule, unless it is off.
    fn ask(&mut self, mode: RuleMode, rule: &'static str, find: impl FnOnce() -> Option<String>) {
        if mode != RuleMode::Off
            && let Some(reason) = find()
        {
            self.all.push((mode, Why::of_rule(rule, reason)));
        }
    }
}

impl CheckTexts {
    fn check(&self, row: &Row) -> Report {
        let mut report = Report { all: Vec::new() };
        match row {
            Row::Chat(chat) => self.chat(chat, &mut report),
            Row::Preference(both) => {
                self.chat(&both.chosen, &mut report);
                self.chat(&both.rejected, &mut report);
            }
            Row::Text(text) => self.text(text, &mut report),
            Row::Pair { .. } => {}
        }
        report
    }

    fn chat(&self, chat: &Chat, report: &mut Report) {
        let mut prompt: Option<&Message> = None;
        for message in &chat.messages {
            let text = message.content.text();
            self.text(&text, report);
            match message.role.as_str() {
                "user" => {
                    self.prompt(&text, report);
                    prompt = Some(message);
                }
                "assistant" => self.answer(&text, prompt, report),
                _ => {}
            }
        }
        if let Some(last) = chat.messages.last().filter(|message| message.role == "assistant") {
            report.ask(self.settings.truncated, "truncated", || {
                let cut = matches!(&last.content, Content::Text(text) if conversation::seems_cut_off(text));
                cut.then(|| "the last answer ends within a sentence".to_owned())
            });
        }
    }

    /// What can be asked of any text.
    fn text(&self, text: &str, report: &mut Report) {
        let CheckAnswers { think_tags, fences, latex, .. } = self.settings;
        for broken in conversation::unbalanced(text) {
            let (mode, what) = match broken {
                Unbalanced::Fence => (fences, "a fence of code is not closed"),
                Unbalanced::Think => (think_tags, "`<think>` and `</think>` do not match"),
                Unbalanced::Latex => (latex, "a formula is not closed"),
            };
            report.ask(mode, broken.name(), || Some(what.to_owned()));
        }
    }

    fn prompt(&self, text: &str, report: &mut Report) {
        report.ask(self.settings.other_language, "other_language", || {
            let code = conversation::asks_for_language(text, &self.settings.language)?;
            Some(format!("the prompt asks for another language (`{code}`)"))
        });
    }

    fn answer(&self, text: &str, prompt: Option<&Message>, report: &mut Report) {
        let CheckAnswers { refusal, machine, echo, echo_from, looping, looping_from, .. } = self.settings;
        let says = |phrase: &str| format!("an answer says \"{phrase}\"");
        report.ask(refusal, "refusal", || conversation::refusal(text).map(says));
        report.ask(machine, "machine", || conversation::speaks_as_machine(text).map(says));
        report.ask(echo, "echo", || {
            let share = conversation::echo(&prompt?.content.text(), text);
            (share >= echo_from).then(|| format!("an answer repeats its prompt ({share:.2})"))
        });
        report.ask(looping, "looping", || {
            let share = conversation::looping(text, LOOP_WORDS);
            (share >= looping_from).then(|| format!("an answer repeats itself ({share:.2})"))
        });
    }
}

impl Step for CheckTexts {
    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        Ok(each(items, |item| {
            let mut all = self.check(item.row()).all;
            if let Some(at) = all.iter().position(|(mode, _)| *mode == RuleMode::Drop) {
                return Verdict::Drop(item, all.swap_remove(at).1);
            }
            let mut flags: Vec<Why> = Vec::new();
            for (_, why) in all {
                if !flags.iter().any(|flag| flag.rule == why.rule) {
                    flags.push(why);
                }
            }
            if flags.is_empty() { Verdict::Keep(item) } else { Verdict::Flag(item, flags) }
        }))
    }
}
