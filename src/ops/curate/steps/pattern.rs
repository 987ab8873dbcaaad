//! `matches` and `replace`: regular expressions over what is said.

use regex::Regex;

use crate::data::{Chat, Row, pattern_of};
use crate::ops::OpError;
use crate::ops::curate::PATTERN;
use crate::ops::curate::flow::{Step, Verdict, each};
use crate::ops::curate::item::Item;
use crate::spec::params::{Matches, Replace};

fn compiled(pattern: &str) -> Result<Regex, OpError> {
    pattern_of(pattern).map_err(|why| OpError::new(why).help(PATTERN))
}

pub(super) struct KeepMatches {
    settings: Matches,
    pattern: Regex,
}

impl KeepMatches {
    pub(super) fn new(settings: &Matches) -> Result<Self, OpError> {
        Ok(Self { settings: settings.clone(), pattern: compiled(&settings.pattern)? })
    }

    fn finds(&self, row: &Row) -> bool {
        let in_chat = |chat: &Chat| {
            let mut heard = chat.messages.iter().filter(|message| hears(&self.settings.roles, &message.role));
            heard.any(|message| self.pattern.is_match(&message.content.text()))
        };
        match row {
            Row::Chat(chat) => in_chat(chat),
            Row::Preference(both) => in_chat(&both.chosen) || in_chat(&both.rejected),
            Row::Text(text) => self.pattern.is_match(text),
            Row::Pair { good, bad } => self.pattern.is_match(good) || self.pattern.is_match(bad),
        }
    }
}

/// Returns whether a step over these roles looks at what `role` says.
fn hears(roles: &[String], role: &str) -> bool {
    roles.is_empty() || roles.iter().any(|wanted| wanted == role)
}

impl Step for KeepMatches {
    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        let Matches { keep, pattern, .. } = &self.settings;
        Ok(each(items, |item| {
            let found = self.finds(item.row());
            if found == *keep {
                Verdict::Keep(item)
            } else {
                let says = if found { "holds" } else { "does not hold" };
                Verdict::Drop(item, format!("it {says} `{pattern}`").into())
            }
        }))
    }
}

pub(super) struct ReplaceMatches {
    settings: Replace,
    pattern: Regex,
}

impl ReplaceMatches {
    pub(super) fn new(settings: &Replace) -> Result<Self, OpError> {
        Ok(Self { settings: settings.clone(), pattern: compiled(&settings.pattern)? })
    }
}

impl Step for ReplaceMatches {
    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        let Replace { with, roles, .. } = &self.settings;
        let replace = |text: &str| self.pattern.replace_all(text, with).into_owned();
        Ok(each(items, |item| item.rewritten(|role| role.is_none_or(|role| hears(roles, role)), replace)))
    }
}
