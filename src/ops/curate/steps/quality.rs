//! `quality`: rules of Gopher, C4 and FineWeb, with the thresholds of a profile.
//!
//! They were made for web pages. On answers of a chat half of them are wrong (a formula has no stop words, code has curly
//! brackets), so the profile for those is the default, and the mode `flag` lets one look before rows go.

use crate::ops::OpError;
use crate::ops::curate::flow::{Step, Verdict, Why, each};
use crate::ops::curate::item::Item;
use crate::spec::params::{Quality as Settings, QualityProfile, QualityRule, Threshold, WordKind};
use crate::text::quality::{C4, C4Paragraphs, Finding, FineWeb, Gopher, Quality, Repetition};
use crate::text::words::Words;

use super::spoken::{hears, texts};

pub(super) struct KeepGood {
    settings: Settings,
    rules: Quality,
}

impl KeepGood {
    pub(super) fn new(settings: &Settings) -> Self {
        let mut rules = match settings.profile {
            QualityProfile::SftFr => Quality::sft_fr(),
            QualityProfile::Fineweb2Fr => Quality::fineweb2_fr(),
            QualityProfile::Gopher => Quality::gopher(Words::Uax29),
            QualityProfile::C4 => Quality::c4(Words::SpacyFr),
            QualityProfile::None => Quality::none(Words::Uax29),
        };
        if let Some(words) = settings.words {
            rules.words = match words {
                WordKind::Whitespace => Words::Whitespace,
                WordKind::Uax29 => Words::Uax29,
                WordKind::SpacyFr => Words::SpacyFr,
            };
        }
        for threshold in &settings.thresholds {
            set(&mut rules, *threshold);
        }
        Self { settings: settings.clone(), rules }
    }

    fn judge_one(&self, item: Item) -> Verdict {
        let roles = &self.settings.roles;
        if let Some(finding) = texts(item.row(), roles).iter().find_map(|text| self.rules.judge(text)) {
            return Verdict::Drop(item, why(finding));
        }
        match self.rules.c4.as_ref().filter(|_| self.settings.rewrite) {
            Some(c4) => {
                let keep = |text: &str| c4.keep(text, self.rules.words).unwrap_or_else(|_| text.to_owned());
                item.rewritten(|role| role.is_none_or(|role| hears(roles, role)), keep)
            }
            None => Verdict::Keep(item),
        }
    }
}

fn why(Finding { rule, value, limit }: Finding) -> Why {
    let reason = format!("{rule}: {} where the limit is {}", rounded(value), rounded(limit));
    Why::of_rule(rule, reason)
}

/// Three digits behind the point are enough for a person, and the same on every machine.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// A family of rules in which nothing is asked yet.
fn gopher(rules: &mut Quality) -> &mut Gopher {
    rules.gopher.get_or_insert_with(|| Gopher {
        min_words: None,
        max_words: None,
        min_mean_length: None,
        max_mean_length: None,
        max_symbols: None,
        max_bullet_lines: None,
        max_ellipsis_lines: None,
        min_alpha_words: None,
        min_stop_words: None,
        stop_words: crate::text::quality::FRENCH_STOP_WORDS.iter().map(|word| (*word).to_owned()).collect(),
        stop_words_from: 0,
    })
}

fn repetition(rules: &mut Quality) -> &mut Repetition {
    rules.repetition.get_or_insert_with(|| Repetition {
        dup_para_frac: None,
        dup_para_char_frac: None,
        dup_line_frac: None,
        dup_line_char_frac: None,
        top_n_grams: Vec::new(),
        dup_n_grams: Vec::new(),
        ..Repetition::default()
    })
}

fn fineweb(rules: &mut Quality) -> &mut FineWeb {
    rules.fineweb.get_or_insert_with(|| FineWeb {
        min_line_punct: None,
        max_short_lines: None,
        max_char_dup: None,
        max_new_lines: None,
        ..FineWeb::default()
    })
}

/// C4's rules, which come together.
fn c4(rules: &mut Quality) -> &mut C4 {
    rules.c4.get_or_insert_with(C4::french)
}

fn set(rules: &mut Quality, Threshold { rule, value }: Threshold) {
    let limit = Some(value).filter(|value| *value > 0.0);
    let count = limit.map(|value| value as usize);
    match rule {
        QualityRule::MinWords => gopher(rules).min_words = count,
        QualityRule::MaxWords => gopher(rules).max_words = count,
        QualityRule::MinMeanLength => gopher(rules).min_mean_length = limit,
        QualityRule::MaxMeanLength => gopher(rules).max_mean_length = limit,
        QualityRule::MaxSymbols => gopher(rules).max_symbols = limit,
        QualityRule::MaxBulletLines => gopher(rules).max_bullet_lines = limit,
        QualityRule::MaxEllipsisLines => gopher(rules).max_ellipsis_lines = limit,
        QualityRule::MinAlphaWords => gopher(rules).min_alpha_words = limit,
        QualityRule::MinStopWords => gopher(rules).min_stop_words = count,
        QualityRule::DupParaFrac => repetition(rules).dup_para_frac = limit,
        QualityRule::DupParaCharFrac => repetition(rules).dup_para_char_frac = limit,
        QualityRule::DupLineFrac => repetition(rules).dup_line_frac = limit,
        QualityRule::DupLineCharFrac => repetition(rules).dup_line_char_frac = limit,
        QualityRule::Top2Gram => set_top(rules, 2, limit),
        QualityRule::Top3Gram => set_top(rules, 3, limit),
        QualityRule::Top4Gram => set_top(rules, 4, limit),
        QualityRule::DupNGrams => {
            repetition(rules).dup_n_grams =
                limit.map(|limit| (5..=10).map(|n| (n, limit)).collect()).unwrap_or_default();
        }
        QualityRule::MinLinePunct => fineweb(rules).min_line_punct = limit,
        QualityRule::MaxShortLines => fineweb(rules).max_short_lines = limit,
        QualityRule::MaxCharDup => fineweb(rules).max_char_dup = limit,
        QualityRule::MaxNewLines => fineweb(rules).max_new_lines = limit,
        QualityRule::MinSentences => c4(rules).min_sentences = count,
        QualityRule::MinWordsPerLine => c4(rules).min_words_per_line = count,
        QualityRule::MinParagraphs => {
            rules.c4_paragraphs =
                count.map(|min_paragraphs| C4Paragraphs { min_paragraphs, ..C4Paragraphs::default() });
        }
    }
}

fn set_top(rules: &mut Quality, n: usize, limit: Option<f64>) {
    let tops = &mut repetition(rules).top_n_grams;
    tops.retain(|(words, _)| *words != n);
    tops.extend(limit.map(|limit| (n, limit)));
    tops.sort_by_key(|(words, _)| *words);
}

impl Step for KeepGood {
    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        Ok(each(items, |item| self.judge_one(item)))
    }
}
