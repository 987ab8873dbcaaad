//! `language`: keeps rows in the given languages.
//!
//! By default whichlang judges a row whole: it knows 16 languages, needs no model file, and is unreliable on short text (on
//! segments of 15 to 40 characters it finds 78 % of the French ones, from 40 on 97 %, from 100 on nearly all, measured on
//! 7,250 segments of manual pages). In the scope `turn` long turns are judged one by one, so that a French question with an
//! English answer is seen; short ones go with the others.

use std::path::{Path, PathBuf};

use crate::data::Row;
use crate::ops::curate::flow::{Step, Verdict, Why, each};
use crate::ops::curate::item::Item;
use crate::ops::{OpCx, OpError};
use crate::spec::params::{Language, LanguageDetector, LanguageScope, NoProse};
use crate::text::language::{Detector, Guess};
use crate::text::plain::{Leave, prose};

use super::spoken::texts;

/// Turns with fewer characters are not judged.
const MIN_CHARS: usize = 40;
/// How much of a chat may be in other languages.
const MAX_FOREIGN: f64 = 0.2;
/// datatrove's threshold for lid.176.
const MIN_SCORE: f64 = 0.65;

pub(super) struct KeepLanguages {
    settings: Language,
    detector: Detector,
    keep: Vec<String>,
    leave: Leave,
    roles: Vec<String>,
}

impl KeepLanguages {
    pub(super) fn new(settings: &Language, at: usize, cx: &OpCx<'_>) -> Result<Self, OpError> {
        let detector = match settings.detector {
            LanguageDetector::Whichlang => Detector::Whichlang,
            LanguageDetector::Lingua => Detector::lingua(),
            LanguageDetector::Fasttext => {
                let folder = &cx.inputs.one(&format!("steps[{at}].language.model"))?.path;
                Detector::fast_text(&model_in(folder)?).map_err(OpError::new)?
            }
        };
        Ok(Self::with(settings, detector))
    }

    fn with(settings: &Language, detector: Detector) -> Self {
        let leaves = |what| settings.ignore.contains(&what);
        let mut roles = settings.roles.clone();
        if roles.is_empty() {
            roles = vec!["user".into(), "assistant".into()];
        }
        Self {
            detector,
            keep: settings.keep.iter().map(|code| code.0.clone()).collect(),
            leave: Leave { code: leaves(NoProse::Code), latex: leaves(NoProse::Latex), urls: leaves(NoProse::Urls) },
            roles,
            settings: settings.clone(),
        }
    }

    /// Says in which language the text is that is not kept; nothing for one that is, or that has no letters.
    fn foreign(&self, text: &str) -> Option<Guess> {
        let guess = self.detector.detect(&prose(text, self.leave))?;
        let scored = !matches!(self.detector, Detector::Whichlang);
        let least = self.settings.min_score.unwrap_or(if scored { MIN_SCORE } else { 0.0 });
        let kept = self.keep.iter().any(|code| guess.is(code)) && guess.score >= least;
        (!kept).then_some(guess)
    }

    fn judge_row(&self, row: &Row) -> Option<Why> {
        let text = row.text();
        // whichlang names a language for digits alone too, and such rows went before there were other detectors.
        if matches!(self.detector, Detector::Whichlang)
            && self.leave == Leave::default()
            && !text.contains(char::is_alphabetic)
        {
            let guess = Detector::whichlang_of(&text);
            return (!self.keep.iter().any(|code| code == guess)).then(|| why(guess, 1.0));
        }
        self.foreign(&text).map(|guess| why(&guess.label, guess.score))
    }

    fn judge_turns(&self, row: &Row) -> Option<Why> {
        let least = self.settings.min_chars.unwrap_or(MIN_CHARS);
        let (mut all, mut foreign, mut worst) = (0, 0, None);
        for text in texts(row, &self.roles) {
            let chars = prose(&text, self.leave).chars().count();
            if chars < least {
                continue;
            }
            all += chars;
            if let Some(guess) = self.foreign(&text) {
                foreign += chars;
                worst = worst.or(Some(guess));
            }
        }
        if all == 0 {
            return self.judge_row(row);
        }
        let share = foreign as f64 / all as f64;
        let most = self.settings.max_foreign_share.unwrap_or(MAX_FOREIGN);
        worst.filter(|_| share > most).map(|guess| why(&guess.label, guess.score))
    }
}

/// The model in a folder.
pub(super) fn model_in(folder: &Path) -> Result<PathBuf, OpError> {
    let mut models = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "ftz" || end == "bin") {
            models.push(path);
        }
    }
    models.sort();
    match models.as_slice() {
        [model] => Ok(model.clone()),
        [] => Err(OpError::new(format!("{} holds no model of fastText", folder.display()))
            .help("it ends in `.ftz` or `.bin`")),
        [first, second, ..] => {
            let message = format!("{} and {} may both be the model", first.display(), second.display());
            Err(OpError::new(message).help("leave one of them"))
        }
    }
}

fn why(label: &str, score: f64) -> Why {
    let name = NAMES.iter().find(|(code, _)| *code == label).map_or(label, |(_, name)| name);
    let sure = if score < 1.0 { format!(" ({score:.2})") } else { String::new() };
    format!("looks {name}{sure}").into()
}

const NAMES: &[(&str, &str)] = &[
    ("ar", "Arabic"),
    ("de", "German"),
    ("en", "English"),
    ("es", "Spanish"),
    ("fr", "French"),
    ("hi", "Hindi"),
    ("it", "Italian"),
    ("ja", "Japanese"),
    ("ko", "Korean"),
    ("nl", "Dutch"),
    ("pt", "Portuguese"),
    ("ru", "Russian"),
    ("sv", "Swedish"),
    ("tr", "Turkish"),
    ("vi", "Vietnamese"),
    ("zh", "Chinese"),
];

impl Step for KeepLanguages {
    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        Ok(each(items, |item| {
            let broken = match self.settings.scope {
                LanguageScope::Row => self.judge_row(item.row()),
                LanguageScope::Turn => self.judge_turns(item.row()),
            };
            match broken {
                Some(why) => Verdict::Drop(item, why),
                None => Verdict::Keep(item),
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Message;

    fn kept(settings: serde_json::Value, rows: Vec<Row>) -> Vec<bool> {
        let settings: Language = serde_json::from_value(settings).unwrap();
        let mut step = KeepLanguages::with(&settings, Detector::Whichlang);
        let verdicts = step.judge(rows.into_iter().map(Item::from).collect()).unwrap();
        verdicts.iter().map(|verdict| matches!(verdict, Verdict::Keep(_))).collect()
    }

    fn chat(turns: &[(&str, &str)]) -> Row {
        Row::Chat(turns.iter().map(|(role, content)| Message::new(*role, *content)).collect::<Vec<_>>().into())
    }

    #[test]
    fn a_chat_is_judged_whole_and_a_pair_by_its_correct_sentence() {
        let french = "D'accord, je vais vous expliquer comment faire cette recette.";
        let rows = vec![
            Row::Text("Le petit garçon marchait lentement vers la maison de sa grand-mère.".into()),
            Row::Text("The small boy walked slowly towards the house of his grandmother.".into()),
            chat(&[("user", "OK"), ("user", french)]),
            Row::Pair { good: "les auteurs que les gardes aiment parlent".into(), bad: "the of and".into() },
        ];
        assert_eq!(kept(serde_json::json!({"keep": ["fr"]}), rows), [true, false, true, true]);
    }

    #[test]
    fn long_turns_are_judged_one_by_one_and_short_ones_go_with_them() {
        let (french, english) = (
            "D'accord, je vais vous expliquer comment faire cette recette de grand-mère.",
            "Of course, I will explain how to cook this recipe of my grandmother's.",
        );
        let code = format!("{french}\n```\n{english} {english} {english}\n```");
        let rows = || {
            vec![
                chat(&[("user", "OK, go on, please"), ("assistant", french)]),
                chat(&[("user", french), ("assistant", english)]),
                chat(&[("user", "Merci !"), ("assistant", "De rien.")]),
                chat(&[("system", english), ("user", french), ("assistant", &code)]),
            ]
        };
        let turns = serde_json::json!({"keep": ["fr"], "scope": "turn", "ignore": ["code"]});
        assert_eq!(kept(turns, rows()), [true, false, true, true]);
        let half = serde_json::json!({"keep": ["fr"], "scope": "turn", "max_foreign_share": 0.6});
        assert!(kept(half, rows())[1]);
    }
}
