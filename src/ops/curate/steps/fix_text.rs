//! `fix_text`: damaged text is mended, with ftfy's rules.
//!
//! Entities in code are code (`&amp;` in a lesson on HTML), so by default a message with a fence keeps them.

use std::borrow::Cow;

use crate::ops::OpError;
use crate::ops::curate::flow::{Step, Verdict, each};
use crate::ops::curate::item::Item;
use crate::spec::params::{FixEntities, FixForm, FixProfile, FixSpaces, FixText};
use crate::text::quality::drop_symbol_lines;
use crate::text::repair::{Entities, Normalization, Repair, Spaces, clean_spaces, fix_latex};

use super::spoken::hears;

pub(super) struct MendText {
    settings: FixText,
    repair: Repair,
    spaces: Spaces,
}

impl MendText {
    pub(super) fn new(settings: &FixText) -> Self {
        let repair = match settings.profile {
            FixProfile::Datatrove => Repair::DATATROVE,
            FixProfile::Ftfy => Repair::FTFY,
            FixProfile::None => Repair::NONE,
        };
        let unescape_html = match settings.unescape_html {
            _ if settings.profile == FixProfile::None => Entities::Never,
            FixEntities::Auto => Entities::Auto,
            FixEntities::Always => Entities::Always,
            FixEntities::Never => Entities::Never,
        };
        let normalization = match settings.form {
            FixForm::Nfc => Some(Normalization::Nfc),
            FixForm::Nfkc => Some(Normalization::Nfkc),
            FixForm::None => None,
        };
        let has = |wanted| settings.spaces.contains(&wanted);
        let spaces = Spaces {
            line_breaks: has(FixSpaces::LineBreaks),
            line_ends: has(FixSpaces::LineEnds),
            blank_lines: has(FixSpaces::BlankLines),
            no_break: has(FixSpaces::NoBreak),
            trim: has(FixSpaces::Trim),
        };
        Self { settings: settings.clone(), repair: Repair { unescape_html, normalization, ..repair }, spaces }
    }

    fn mend(&self, text: &str) -> String {
        let mut repair = self.repair;
        if repair.unescape_html == Entities::Auto && (text.contains("```") || text.contains("~~~")) {
            repair.unescape_html = Entities::Never;
        }
        // LaTeX first: the control characters that it was made into are taken out after.
        let latex = self.settings.latex.then(|| fix_latex(text).0);
        let mended = repair.fix(latex.as_deref().unwrap_or(text));
        let lines = self.settings.symbol_lines.then(|| drop_symbol_lines(&mended));
        let mended = lines.map_or(mended, Cow::Owned);
        if self.settings.spaces.is_empty() { mended.into_owned() } else { clean_spaces(&mended, self.spaces) }
    }
}

impl Step for MendText {
    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        let roles = &self.settings.roles;
        Ok(each(items, |item| {
            item.rewritten(|role| role.is_none_or(|role| hears(roles, role)), |text| self.mend(text))
        }))
    }
}
