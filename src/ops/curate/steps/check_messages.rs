//! `check_messages`: repairs conversations, and drops those that are none.

use crate::data::{Chat, Content, Message, Row};
use crate::ops::OpError;
use crate::ops::curate::flow::{Step, Verdict, Why, each};
use crate::ops::curate::item::Item;
use crate::spec::params::CheckMessages;

/// Names of control tokens that end or begin turns somewhere.
const CONTROL: &[&str] = &[
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|startoftext|>",
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
];

pub(super) struct CheckChats(pub(super) CheckMessages);

impl Step for CheckChats {
    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        Ok(each(items, |mut item| {
            let Row::Chat(chat) = item.row() else { return Verdict::Keep(item) };
            let mut repaired = chat.clone();
            repair(&mut repaired, &self.0);
            let changed = repaired != *chat;
            if let Some(why) = broken(&repaired, &self.0) {
                return Verdict::Drop(item, why);
            }
            *item.row_mut() = Row::Chat(repaired);
            if changed { Verdict::Change(item) } else { Verdict::Keep(item) }
        }))
    }
}

fn repair(chat: &mut Chat, settings: &CheckMessages) {
    if settings.trim {
        for message in &mut chat.messages {
            message.content = message.content.map(|text| text.trim().to_owned());
        }
    }
    if settings.drop_empty {
        chat.messages.retain(says_something);
    }
    if settings.merge_consecutive {
        merge(&mut chat.messages);
    }
    if settings.drop_leading {
        let begin = chat.messages.iter().position(|message| settings.first.contains(&message.role));
        chat.messages.drain(..begin.unwrap_or(chat.messages.len()));
    }
    if let Some(last) = settings.last.as_ref().filter(|_| settings.drop_trailing) {
        let end = chat.messages.iter().rposition(|message| message.role == *last).map_or(0, |at| at + 1);
        chat.messages.truncate(end);
    }
}

/// Makes one message of those that one role says one after the other, if they are words alone.
fn merge(messages: &mut Vec<Message>) {
    let mut merged: Vec<Message> = Vec::with_capacity(messages.len());
    for message in messages.drain(..) {
        if let Some(Message { role, content: Content::Text(before), more }) = merged.last_mut()
            && *role == message.role
            && more.is_empty()
            && message.more.is_empty()
            && let Content::Text(text) = &message.content
        {
            before.push_str("\n\n");
            before.push_str(text);
        } else {
            merged.push(message);
        }
    }
    *messages = merged;
}

fn says_something(message: &Message) -> bool {
    !message.content.text().trim().is_empty() || message.more.contains_key("tool_calls")
}

/// Says what is wrong with a chat, if something is.
fn broken(chat: &Chat, settings: &CheckMessages) -> Option<Why> {
    let messages = &chat.messages;
    if let Some(stranger) = messages.iter().find(|message| !settings.roles.contains(&message.role)) {
        return Some(Why::of_rule("role", format!("`{}` speaks in it", stranger.role)));
    }
    let turns = messages.iter().filter(|message| message.role != "system").count();
    if turns < settings.min_turns {
        return Some(Why::of_rule("too_few_turns", format!("{turns} turns are too few")));
    }
    if settings.max_turns.is_some_and(|most| turns > most) {
        return Some(Why::of_rule("too_many_turns", format!("{turns} turns are too many")));
    }
    if let Some(first) = messages.first().filter(|first| !settings.first.contains(&first.role)) {
        return Some(Why::of_rule("first", format!("`{}` begins", first.role)));
    }
    if let Some((last, wanted)) =
        messages.last().zip(settings.last.as_ref()).filter(|(last, wanted)| last.role != **wanted)
    {
        return Some(Why::of_rule("last", format!("`{}` ends it and not `{wanted}`", last.role)));
    }
    if settings.alternate && !alternates(messages) {
        return Some(Why::of_rule("turn_order", "user and assistant do not take turns"));
    }
    if settings.non_empty && !messages.iter().all(says_something) {
        return Some(Why::of_rule("empty", "a message says nothing"));
    }
    let control = |message: &Message| {
        let text = message.content.text();
        CONTROL.iter().find(|token| text.contains(**token)).copied()
    };
    let found = settings.no_control_tokens.then(|| messages.iter().find_map(control)).flatten();
    found.map(|token| Why::of_rule("control_token", format!("a message holds `{token}`")))
}

/// Returns whether users and assistants take turns. What tools say, and an answer after it, is part of a turn.
fn alternates(messages: &[Message]) -> bool {
    let mut last: Option<&str> = None;
    for message in messages {
        match (message.role.as_str(), last) {
            ("system", None) => {}
            ("user", None | Some("assistant")) => last = Some("user"),
            ("assistant", Some("user" | "tool")) => last = Some("assistant"),
            ("tool", Some("assistant" | "tool")) => last = Some("tool"),
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checked(settings: serde_json::Value, roles: &str) -> Result<String, String> {
        let role = |c| match c {
            's' | 'S' => "system",
            'u' | 'U' => "user",
            'a' | 'A' => "assistant",
            't' | 'T' => "tool",
            _ => "narrator",
        };
        // Capital letters say nothing.
        let message = |c: char| Message::new(role(c), if c.is_uppercase() { " " } else { "mot" });
        let chat = Chat::from(roles.chars().map(message).collect::<Vec<_>>());
        let mut step = CheckChats(serde_json::from_value(settings).unwrap());
        match step.judge(vec![Row::Chat(chat).into()]).unwrap().pop().unwrap() {
            Verdict::Keep(item) | Verdict::Change(item) => {
                let Row::Chat(chat) = item.row() else { unreachable!() };
                Ok(chat.messages.iter().map(|message| message.role.chars().next().unwrap()).collect())
            }
            Verdict::Drop(_, why) => Err(why.rule.unwrap().into_owned()),
            Verdict::Become(_) | Verdict::Flag(..) => unreachable!(),
        }
    }

    #[test]
    fn rules_hold_as_they_are_written() {
        for (roles, expected) in [
            ("ua", Ok("ua")),
            ("suaua", Ok("suaua")),
            ("uatta", Ok("uatta")),
            ("u", Err("too_few_turns")),
            ("su", Err("too_few_turns")),
            ("uau", Err("last")),
            ("aua", Err("first")),
            ("uua", Err("turn_order")),
            ("usua", Err("turn_order")),
            ("uA", Err("empty")),
            ("uxa", Err("role")),
        ] {
            let got = checked(json!({}), roles);
            assert_eq!(got.as_deref().map_err(String::as_str), expected, "{roles}");
        }
    }

    #[test]
    fn what_can_be_repaired_is() {
        let all = json!({"drop_empty": true, "merge_consecutive": true, "drop_leading": true, "drop_trailing": true});
        for (roles, expected) in [("aua", "ua"), ("uuaau", "ua"), ("uUa", "ua"), ("suau", "sua")] {
            assert_eq!(checked(all.clone(), roles).as_deref(), Ok(expected), "{roles}");
        }
        assert_eq!(checked(all, "uu").unwrap_err(), "too_few_turns");
    }

    #[test]
    fn control_tokens_are_seen() {
        let chat = Chat::from(vec![Message::new("user", "a<|im_end|>b"), Message::new("assistant", "c")]);
        let settings: CheckMessages = serde_json::from_value(json!({})).unwrap();
        assert_eq!(broken(&chat, &settings).unwrap().reason, "a message holds `<|im_end|>`");
    }
}
