//! Which metric fits which request, and which settings fit which metric: said before anything is asked.

use super::answer::{Exact, Kind};
use super::{Fault, How, Judged};
use crate::metrics::ifeval::Rules;
use crate::metrics::maths::{self, Language};
use crate::metrics::pattern::Pattern;
use crate::metrics::text::choice::Weight;
use crate::metrics::text::exact::{Overlook, Part};
use crate::spec::params::{Generate, Ignore, JudgeRules, Metric, MetricName, Profile, Request, Take, TaskDefinition};

use MetricName as M;

/// Makes a metric ready.
pub(super) fn judged(definition: &TaskDefinition, metric: &Metric, profile: Profile) -> Result<Judged, Fault> {
    settings(metric)?;
    let how = match &definition.request {
        Request::Choices(choices) => {
            // A choice is as long as its own text; lighteval counts the space before it, too.
            let before = if profile == Profile::Luth { "" } else { &choices.delimiter };
            if metric.metric == M::AccMutualInfo && choices.unconditioned.is_none() {
                let help = "give `unconditioned` in `choices`, the question that says nothing";
                return Err(Fault::new("nothing says how likely the choices are by themselves", help));
            }
            match (metric.metric, weight(metric.metric)) {
                (_, Some(weight)) => Some(How::Choice(weight, before.to_owned())),
                (M::Share, _) => Some(How::Share),
                (M::Brier, _) => Some(How::Brier),
                _ => None,
            }
        }
        Request::Pair(_) => weight(metric.metric).filter(|_| metric.metric != M::AccMutualInfo).map(How::Pair),
        Request::Text(_) => {
            matches!(metric.metric, M::BitsPerByte | M::BytePerplexity | M::WordPerplexity).then_some(How::Text)
        }
        Request::Generate(generate) => written(generate, metric, profile)?,
    };
    let how = how.ok_or_else(|| {
        let (request, help) = fitting(&definition.request);
        Fault::new(format!("it cannot be told from {request}"), format!("{help} are for these"))
    })?;
    let (name, pass_at, maj_at) = (metric.name().to_owned(), metric.pass_at, metric.maj_at);
    Ok(Judged { metric: metric.metric, name, how, pass_at, maj_at })
}

fn fitting(request: &Request) -> (&'static str, &'static str) {
    match request {
        Request::Choices(_) => ("the likelihoods of choices", "`acc` and its kin, `share` and `brier`"),
        Request::Pair(_) => ("the likelihoods of two texts", "`acc`, `acc_norm`, `acc_token` and `acc_bytes`"),
        Request::Text(_) => ("the likelihood of a text", "`bits_per_byte`, `byte_perplexity` and `word_perplexity`"),
        Request::Generate(_) => (
            "an answer in words",
            "`em`, `pem`, `qem`, `pqem`, `exact_match`, `f1`, `bleu`, `chrf`, `maths`, `letter` and `ifeval`",
        ),
    }
}

fn weight(metric: MetricName) -> Option<Weight> {
    Some(match metric {
        M::Acc => Weight::Sum,
        M::AccNorm => Weight::Characters,
        M::AccNormNospace => Weight::CharactersNoSpace,
        M::AccToken => Weight::Tokens,
        M::AccBytes => Weight::Bytes,
        M::AccMutualInfo => Weight::MutualInformation,
        _ => return None,
    })
}

/// Settings that the metric does not know are mistakes, not decoration.
fn settings(metric: &Metric) -> Result<(), Fault> {
    let exact = metric.metric == M::ExactMatch;
    let worded = matches!(metric.metric, M::Maths | M::Letter | M::F1 | M::Qem | M::Pqem);
    let right = matches!(metric.metric, M::Em | M::Pem | M::Qem | M::Pqem | M::ExactMatch | M::Maths | M::Letter);
    let taken = right || matches!(metric.metric, M::F1 | M::Bleu | M::Chrf);
    let unknown = [
        ("ignore", !metric.ignore.is_empty() && !exact, "it is for `exact_match`"),
        ("ignore_patterns", !metric.ignore_patterns.is_empty() && !exact, "it is for `exact_match`"),
        (
            "rules",
            metric.rules.is_some() && !matches!(metric.metric, M::Maths | M::Ifeval),
            "`maths` and `ifeval` have them",
        ),
        ("language", metric.language.is_some() && !worded, "`maths`, `letter`, `f1`, `qem` and `pqem` have one"),
        ("extract", metric.extract.is_some() && !taken, "it is for answers that are compared with a reference"),
        ("pass_at", metric.pass_at.is_some() && !right, "it is for answers that are right or wrong"),
        ("maj_at", metric.maj_at.is_some() && !right, "it is for answers that are right or wrong"),
    ];
    if let Some((field, _, help)) = unknown.iter().find(|(_, is, _)| *is) {
        return Err(Fault::new(format!("it has no `{field}`"), *help));
    }
    if metric.pass_at == Some(0) || metric.maj_at == Some(0) {
        return Err(Fault::new("of 0 answers none is judged", "set `pass_at` and `maj_at` to 1 or more"));
    }
    if metric.pass_at.is_some() && metric.maj_at.is_some() {
        let help = "list the metric twice, each with its own `name`";
        return Err(Fault::new("it has both `pass_at` and `maj_at`", help));
    }
    language(metric).map(|_| ())
}

fn language(metric: &Metric) -> Result<Language, Fault> {
    match metric.language.as_deref() {
        None | Some("en") => Ok(Language::English),
        Some("fr") => Ok(Language::French),
        Some(other) => Err(Fault::new(format!("no answer is read in `{other}`"), "the languages are `en` and `fr`")),
    }
}

fn written(generate: &Generate, metric: &Metric, profile: Profile) -> Result<Option<How>, Fault> {
    if generate.gold.is_none() && metric.metric != M::Ifeval && weight(metric.metric).is_none() {
        return Err(Fault::new("nothing says what is right", "give the reference as `gold` in `generate`"));
    }
    let extract = match &metric.extract {
        Some(extract) => Some((compiled("extract", &extract.pattern)?, extract.take == Take::Last)),
        None => None,
    };
    let (language, native) = (language(metric)?, profile == Profile::Native);
    let kind = match metric.metric {
        M::Em => Kind::Stripped(Part::Full),
        M::Pem => Kind::Stripped(Part::Prefix),
        M::Qem => Kind::Form { part: Part::Full, language, native },
        M::Pqem => Kind::Form { part: Part::Prefix, language, native },
        M::ExactMatch => Kind::Exact(exact(metric, native)?),
        M::F1 => Kind::Words { language, profile },
        M::Maths => maths(metric, profile, language),
        M::Letter => Kind::Letter(language),
        M::Bleu | M::Chrf => return Ok(Some(How::Corpus(extract))),
        M::Ifeval => return instructions(metric.rules, profile).map(Some),
        _ => return Ok(None),
    };
    Ok(Some(How::Answer(extract, kind)))
}

fn compiled(field: &str, pattern: &str) -> Result<Pattern, Fault> {
    Pattern::new(pattern).map_err(|why| {
        let message = format!("`{field}` has `{pattern}`, which is not a regular expression: {why}");
        Fault::new(message, "write it as for Python's `re`")
    })
}

fn exact(metric: &Metric, native: bool) -> Result<Exact, Fault> {
    let patterns = metric.ignore_patterns.iter().map(|pattern| compiled("ignore_patterns", pattern));
    let has = |ignore: Ignore| metric.ignore.contains(&ignore);
    let overlook = Overlook {
        patterns: patterns.collect::<Result<_, _>>()?,
        case: has(Ignore::Case),
        punctuation: has(Ignore::Punctuation),
        numbers: has(Ignore::Numbers),
    };
    Ok(Exact { overlook, stripped: native })
}

fn maths(metric: &Metric, profile: Profile, language: Language) -> Kind {
    let rules = metric.rules.unwrap_or(match profile {
        Profile::Native => JudgeRules::Native,
        Profile::Luth => JudgeRules::Luth,
        Profile::LmEval => JudgeRules::MathVerify,
    });
    Kind::Maths(
        language,
        match rules {
            JudgeRules::Native => maths::Profile::Native,
            JudgeRules::Luth => maths::Profile::Luth,
            JudgeRules::Lighteval => maths::Profile::Lighteval,
            JudgeRules::MathVerify => maths::Profile::MathVerify,
            JudgeRules::Hendrycks => return Kind::Hendrycks,
            JudgeRules::Minerva => return Kind::Minerva,
        },
    )
}

fn instructions(rules: Option<JudgeRules>, profile: Profile) -> Result<How, Fault> {
    Ok(How::Instructions(match (rules, profile) {
        (Some(JudgeRules::Native), _) | (None, Profile::Native) => Rules::Native,
        (Some(JudgeRules::Hendrycks | JudgeRules::Minerva), _) => {
            return Err(Fault::new("these rules are of mathematics", "the rules are `native` and `luth`"));
        }
        _ => Rules::Reference,
    }))
}
