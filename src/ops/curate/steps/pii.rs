//! `pii`: personal data is replaced, or the row goes.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value};

use crate::ops::OpError;
use crate::ops::curate::flow::{Step, Verdict, Why, each};
use crate::ops::curate::item::Item;
use crate::spec::params::{Pii as Settings, PiiAction, PiiType};
use crate::text::pii::{Found, Kind, Pii};

use super::spoken::{hears, texts};

pub(super) struct HidePii {
    settings: Settings,
    finder: Pii,
    /// How many of each kind were found.
    found: [AtomicU64; Kind::ALL.len()],
}

impl HidePii {
    pub(super) fn new(settings: &Settings) -> Self {
        let kind = |kind: &PiiType| match kind {
            PiiType::Email => Kind::Email,
            PiiType::Ip => Kind::Ip,
            PiiType::PhoneFr => Kind::PhoneFr,
            PiiType::Iban => Kind::Iban,
            PiiType::Nir => Kind::Nir,
            PiiType::Siret => Kind::Siret,
            PiiType::Card => Kind::Card,
        };
        let kinds: Vec<Kind> = settings.types.iter().map(kind).collect();
        let finder = Pii::new(&kinds, settings.allow.clone());
        Self { settings: settings.clone(), finder, found: Default::default() }
    }

    fn count(&self, all: &[Found]) {
        for found in all {
            self.found[found.kind as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn mask(&self, item: Item) -> Verdict {
        let roles = &self.settings.roles;
        let mask = |text: &str| {
            let (masked, found) = self.finder.mask(text);
            self.count(&found);
            masked.into_owned()
        };
        item.rewritten(|role| role.is_none_or(|role| hears(roles, role)), mask)
    }

    fn look(&self, item: Item) -> Verdict {
        let mut first = None;
        for text in texts(item.row(), &self.settings.roles) {
            let all = self.finder.find(&text);
            self.count(&all);
            first = first.or(all.first().map(|found| found.kind));
        }
        match first {
            Some(kind) => Verdict::Drop(
                item,
                Why::of_rule(format!("pii_{}", kind.name()), format!("it holds personal data ({})", kind.name())),
            ),
            None => Verdict::Keep(item),
        }
    }
}

impl Step for HidePii {
    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        Ok(each(items, |item| match self.settings.action {
            PiiAction::Mask => self.mask(item),
            PiiAction::Drop | PiiAction::Flag => self.look(item),
        }))
    }

    fn figures(&self) -> Option<Value> {
        let count = |(kind, found): (&Kind, &AtomicU64)| (kind.name().to_owned(), found.load(Ordering::Relaxed).into());
        let counts: Map<String, Value> = Kind::ALL.iter().zip(&self.found).map(count).collect();
        Some(serde_json::json!({ "found": counts }))
    }
}
