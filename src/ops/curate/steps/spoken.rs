//! What of a row a step over roles looks at: each message of those roles by itself, or a text that is no chat.

use std::borrow::Cow;

use crate::data::{Chat, Row};

/// Whether a step over these roles looks at what `role` says; over no roles it looks at everybody.
pub(super) fn hears(roles: &[String], role: &str) -> bool {
    roles.is_empty() || roles.iter().any(|wanted| wanted == role)
}

/// The texts of a row that a step over these roles looks at.
pub(super) fn texts<'r>(row: &'r Row, roles: &[String]) -> Vec<Cow<'r, str>> {
    let of_chat = |chat: &'r Chat, out: &mut Vec<Cow<'r, str>>| {
        let heard = chat.messages.iter().filter(|message| hears(roles, &message.role));
        out.extend(heard.map(|message| message.content.text()));
    };
    let mut out = Vec::new();
    match row {
        Row::Text(text) => out.push(text.into()),
        Row::Chat(chat) => of_chat(chat, &mut out),
        Row::Preference(both) => {
            of_chat(&both.chosen, &mut out);
            of_chat(&both.rejected, &mut out);
        }
        Row::Pair { good, bad } => out.extend([good.into(), bad.into()]),
    }
    out
}
