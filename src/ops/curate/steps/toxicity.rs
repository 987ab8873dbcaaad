//! `toxicity`: rows with a word of a list.

use crate::ops::OpError;
use crate::ops::curate::flow::{Step, Verdict, Why, each};
use crate::ops::curate::item::Item;
use crate::spec::params::{Toxicity, WordListName};
use crate::text::lists::{ENGLISH, FRENCH, WordList};

use super::spoken::texts;

pub(super) struct FindWords {
    settings: Toxicity,
    list: WordList,
}

impl FindWords {
    pub(super) fn new(settings: &Toxicity) -> Result<Self, OpError> {
        let mut words: Vec<&str> = settings.words.iter().map(String::as_str).collect();
        for list in &settings.lists {
            words.extend(match list {
                WordListName::Fr => FRENCH,
                WordListName::En => ENGLISH,
            });
        }
        let list =
            WordList::new(&words).map_err(|why| OpError::new(format!("the words cannot be looked for: {why}")))?;
        Ok(Self { settings: settings.clone(), list })
    }
}

impl Step for FindWords {
    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        Ok(each(items, |item| {
            let found =
                texts(item.row(), &self.settings.roles).iter().find_map(|text| self.list.find(text).into_iter().next());
            match found {
                Some(word) => Verdict::Drop(item, Why::of_rule("toxicity", format!("it holds `{word}`"))),
                None => Verdict::Keep(item),
            }
        }))
    }
}
