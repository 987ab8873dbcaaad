//! "Did you mean": the known name nearest to a misspelt one.

/// Returns the candidate that is close enough to `name` to be meant, if there is one.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (name.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= allowed && *distance < candidate.chars().count())
        .min()
        .map(|(_, candidate)| candidate)
}

/// Returns the help for a misspelt name: the nearest candidate, or else the list of them all.
pub fn help<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    if let Some(nearest) = nearest(name, candidates.iter().copied()) {
        return Some(format!("did you mean `{nearest}`?"));
    }
    match candidates.as_slice() {
        [] => None,
        [only] => Some(format!("the only one there is: `{only}`")),
        many if many.len() <= 24 => Some(format!("there are `{}`", many.join("`, `"))),
        many => Some(format!("there are {} others", many.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transposition_is_near_and_an_unrelated_word_is_not() {
        assert_eq!(nearest("lerning_rate", ["learning_rate", "lr_scheduler"]), Some("learning_rate"));
        assert_eq!(nearest("brutto", ["learning_rate", "epochs"]), None);
        assert_eq!(nearest("x", ["t", "ab"]), None);
    }
}
