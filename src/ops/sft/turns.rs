//! Which tokens of a row are learned.
//!
//! Prose is learned whole. In a chat the tokens of each turn of the assistant are known ([`crate::data::ChatTokens`]); from
//! them `train_on`, `train_on_eos` and the messages' own `train` and `weight` take some away or add the ends of others.

use std::ops::Range;

use crate::data::{Chat, ChatTokens, DataError, Ending, Message, Row, Tokenizer};
use crate::spec::params::{SftParams, TrainOn, TrainOnEos};

/// Tokens, and for each whether it is learned.
#[derive(Debug)]
pub(super) struct Marked {
    pub(super) ids: Vec<u32>,
    pub(super) trained: Vec<bool>,
}

/// Returns the tokens of a row, or why there are none.
pub(super) fn encode(
    row: &Row,
    params: &SftParams,
    tokenizer: &Tokenizer,
) -> Result<Result<Marked, &'static str>, DataError> {
    match row {
        Row::Text(text) => {
            let mut ids = vec![tokenizer.document_start()];
            ids.append(&mut tokenizer.encode(text)?);
            ids.push(tokenizer.document_end());
            let trained = vec![true; ids.len()];
            Ok(Ok(Marked { ids, trained }))
        }
        Row::Chat(chat) => match params.train_on {
            TrainOn::Assistant | TrainOn::Last => {
                let ChatTokens { ids, assistant } = tokenizer.encode_chat(chat)?;
                let trained = mask(chat, &ids, &assistant, params, tokenizer.turn_end());
                let trained = trained.map_err(|reason| DataError::Template { start: chat.beginning(), reason })?;
                Ok(Ok(Marked { ids, trained }))
            }
            TrainOn::All => {
                let ids = tokenizer.chat_ids(chat, Ending::Whole)?;
                let trained = vec![true; ids.len()];
                Ok(Ok(Marked { ids, trained }))
            }
        },
        Row::Preference(_) => Ok(Err("it holds pairs of answers, which are learned with `dpo`")),
        Row::Pair { .. } => Ok(Err("it holds minimal pairs, which are for evaluation")),
    }
}

/// Returns the tokens of a chat of which only what the assistant says after its first turns is learned.
pub(super) fn answer(chat: &Chat, turns_before: usize, tokenizer: &Tokenizer) -> Result<Marked, DataError> {
    let ChatTokens { ids, assistant } = tokenizer.encode_chat(chat)?;
    let mut trained = vec![false; ids.len()];
    for turn in runs(&assistant).into_iter().skip(turns_before) {
        trained[turn].fill(true);
    }
    Ok(Marked { ids, trained })
}

/// Returns which tokens of a chat are learned, or what is wrong with it.
fn mask(
    chat: &Chat,
    ids: &[u32],
    assistant: &[bool],
    params: &SftParams,
    turn_end: Option<u32>,
) -> Result<Vec<bool>, String> {
    let turns = runs(assistant);
    let mut trained = vec![false; ids.len()];
    let untrained = untrained_turns(chat, turns.len())?;
    for (number, turn) in turns.iter().enumerate() {
        let wanted = params.train_on != TrainOn::Last || number + 1 == turns.len();
        if wanted && !untrained.contains(&number) {
            trained[turn.clone()].fill(true);
        }
    }
    if params.train_on_eos == TrainOnEos::Turn {
        return Ok(trained);
    }
    let turn_end = turn_end.ok_or("its tokenizer has no token that ends a turn, which `train_on_eos` is about")?;
    let ends: Vec<usize> = (0..ids.len()).filter(|place| ids[*place] == turn_end).collect();
    for (number, place) in ends.iter().enumerate() {
        trained[*place] = match params.train_on_eos {
            TrainOnEos::All => true,
            TrainOnEos::Last => number + 1 == ends.len(),
            TrainOnEos::None | TrainOnEos::Turn => false,
        };
    }
    Ok(trained)
}

/// Returns the stretches of tokens that are said by the assistant. Between two turns there is always a header.
fn runs(assistant: &[bool]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for place in (0..assistant.len()).filter(|place| assistant[*place]) {
        match runs.last_mut() {
            Some(run) if run.end == place => run.end += 1,
            _ => runs.push(place..place + 1),
        }
    }
    runs
}

/// Returns the turns of the assistant that the messages themselves say are not to be learned.
fn untrained_turns(chat: &Chat, turns: usize) -> Result<Vec<usize>, String> {
    let said = chat.messages.iter().filter(|message| message.role == "assistant");
    let wanted: Vec<bool> = said.map(Message::is_trained).collect::<Result<_, _>>()?;
    if wanted.iter().all(|wanted| *wanted) {
        return Ok(Vec::new());
    }
    if wanted.len() != turns {
        return Err(format!(
            "a message says whether it is to be trained, and its template makes {turns} turns of {} messages",
            wanted.len()
        ));
    }
    Ok((0..turns).filter(|turn| !wanted[*turn]).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const END: u32 = 9;

    /// Two turns of the assistant, each of two words and the token that ends it; the user's turn ends with that token too.
    fn masked(change: &serde_json::Value, second: &serde_json::Value) -> Result<String, String> {
        let mut fields = json!({"model": "m", "data": ["d"]});
        fields.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let mut last = json!({"role": "assistant", "content": "b"});
        last.as_object_mut().unwrap().extend(second.as_object().unwrap().clone());
        let messages = [
            json!({"role": "user", "content": "q"}),
            json!({"role": "assistant", "content": "a"}),
            json!({"role": "user", "content": "q"}),
            last,
        ];
        let messages: Vec<Message> = messages.into_iter().map(|m| serde_json::from_value(m).unwrap()).collect();
        let ids = [1, 2, END, 1, 3, 4, END, 1, 2, END, 1, 5, 6, END];
        let assistant = "....aaa....aaa".chars().map(|c| c == 'a').collect::<Vec<_>>();
        let params = serde_json::from_value(fields).unwrap();
        let trained = mask(&messages.into(), &ids, &assistant, &params, Some(END))?;
        Ok(trained.iter().map(|trained| if *trained { 'x' } else { '.' }).collect())
    }

    #[test]
    fn settings_decide_which_turns_and_ends_are_learned() {
        for (settings, expected) in [
            (json!({}), "....xxx....xxx"),
            (json!({"train_on": "last"}), "...........xxx"),
            (json!({"train_on_eos": "none"}), "....xx.....xx."),
            (json!({"train_on_eos": "last"}), "....xx.....xxx"),
            (json!({"train_on_eos": "all"}), "..x.xxx..x.xxx"),
            (json!({"train_on": "last", "train_on_eos": "all"}), "..x...x..x.xxx"),
        ] {
            assert_eq!(masked(&settings, &json!({})).unwrap(), expected, "{settings}");
        }
    }

    #[test]
    fn messages_may_say_themselves_that_they_are_not_learned() {
        for flag in [json!({"train": false}), json!({"weight": 0}), json!({"weight": 0.0})] {
            assert_eq!(masked(&json!({}), &flag).unwrap(), "....xxx.......", "{flag}");
        }
        for flag in [json!({"train": true}), json!({"weight": 1}), json!({"train": null})] {
            assert_eq!(masked(&json!({}), &flag).unwrap(), "....xxx....xxx", "{flag}");
        }
        let error = masked(&json!({}), &json!({"weight": 0.5})).unwrap_err();
        assert_eq!(error, "the `weight` of a message is 0.5; it may be 0 or 1");
    }
}
