//! `kind: generate`: a language model asked about every row.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Exit, Input, InputRef, InputType, Kind, Mistake, Output, Params};

/// Asks a language model about every row: to translate it, to answer it, to judge it, to take something out of it.
///
/// The model is one of the pipeline's own (`model`) or stands behind a server that speaks OpenAI's chat interface
/// (`endpoint`: vLLM, llama.cpp, a service). Every answer is kept in the cache by what was asked, so that a job that was
/// stopped goes on, and what was asked once is never asked or paid for again, by whichever node.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GenerateParams {
    /// The rows.
    #[serde(skip_serializing)]
    pub from: InputRef,
    /// Only the first rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The model of the pipeline that answers.
    #[serde(default, skip_serializing)]
    pub model: Option<InputRef>,
    /// The exit that the model of the pipeline stops at: the number of layers it runs, or `last` for all. `sft` trains exits
    /// (`early_exit`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// The server that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// What the user says, a template over the columns of the row: `"QUESTION:\n{{prompt}}"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// What the system says before `prompt`, a template too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The whole conversation instead of `prompt` and `system`, each content a template.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<PromptMessage>,
    /// The column that the answer becomes; in place of the one that is called so, if there is one.
    pub into: String,
    /// How the model answers.
    #[serde(default)]
    pub params: AnswerParams,
    /// How many answers each row gets. With more than one the column holds the list of those that are kept.
    #[serde(default = "one")]
    pub n: u32,
    /// Asks so many times and keeps the answer that was given most often (self-consistency), of equally frequent ones the
    /// one that came first. In place of `n`; `keep_if` and `keep_matching` then judge that answer alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub votes: Option<Votes>,
    /// What an answer is: `text`; `bool`, for an answer in which either `true` or `false` stands; `score`, for the first
    /// number in it; `{json_schema: {…}}`, for JSON that fits the schema, which the server is told too.
    #[serde(default)]
    pub output: AnswerForm,
    /// The least and the greatest `score`.
    #[serde(default = "score_range", skip_serializing_if = "is_score_range")]
    pub score_range: [f64; 2],
    /// Keeps an answer if this expression over the columns of the row, `answer` and `finish_reason` holds: `answer >= 4`,
    /// `language == 'fr' and not answer.errors`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_if: Option<String>,
    /// Keeps an answer if this regular expression is found in its text: `(?i)true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_matching: Option<String>,
    /// Whether answers that did not come to their end (`finish_reason` is not `stop`) are kept.
    #[serde(default)]
    pub keep_unfinished: bool,
    /// What becomes of a row to which there is no answer: none came, or none of the form that `output` asks for.
    #[serde(default)]
    pub on_error: OnError,
    /// With `on_error: drop`, the share of rows without an answer above which the node fails all the same.
    #[serde(default = "max_failed")]
    pub max_failed: f64,
    /// What a million tokens cost, for the account in `stats.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<Prices>,
    /// How the server is asked. Decides no answer.
    #[serde(default, skip_serializing)]
    pub request: RequestSettings,
}

/// How one answer is chosen of many.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Votes {
    /// How many times each row is asked. Answers that are cut off, or not of the form of `output`, are no votes.
    pub of: u32,
    /// The column for the share of all times asked that gave the answer which is kept; `INTO_share` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<String>,
    /// The least share; a row with less is left out.
    #[serde(default)]
    pub min_share: f64,
}

/// A server that speaks OpenAI's chat interface.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Where it is, up to `/v1`: `http://localhost:8000/v1`. No part of the key: another server with the same model
    /// gives the same answers.
    #[serde(skip_serializing)]
    pub url: String,
    /// The name of the model there.
    pub model: String,
    /// Which state of the model it is, in words of yours: where a name comes to mean another model, another revision asks
    /// anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The environment variable with the key of the service. The key itself stands in no setting, log or record.
    #[serde(default, skip_serializing)]
    pub key_env: Option<String>,
}

/// One message of a prompt.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptMessage {
    /// Who speaks: `system`, `user` or `assistant`.
    pub role: String,
    /// What is said: a template over the columns of the row.
    pub content: String,
}

/// How a model answers. What is left out is not sent, and the server's own default holds; of a model of the pipeline, that
/// of its `generation_config.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerParams {
    /// What logits are divided by; 0 always takes the likeliest token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Only the likeliest tokens whose probabilities add up to this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// The most tokens of an answer; for a model of the pipeline 1024 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Where randomness begins. With `n`, the second answer is asked for with the next seed, and so on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Texts that end an answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// Anything else that the server understands, sent as it is: `{chat_template_kwargs: {enable_thinking: false}}`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

/// What an answer is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnswerForm {
    /// Any text.
    #[default]
    Text,
    /// A text in which either `true` or `false` stands, in whatever case.
    Bool,
    /// A text whose first number is a score.
    Score,
    /// JSON that fits this schema.
    JsonSchema(Map<String, Value>),
}

/// What becomes of a row without an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The node fails. Answers that came are kept.
    #[default]
    Fail,
    /// The row is left out and listed in `failures.jsonl`.
    Drop,
}

/// What tokens cost, in any currency.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// A million tokens of prompts.
    pub prompt: f64,
    /// A million tokens of answers.
    pub completion: f64,
}

/// How a server is asked.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RequestSettings {
    /// Requests at once.
    pub concurrency: usize,
    /// Requests a minute at most.
    pub rpm: Option<f64>,
    /// Tokens a minute at most, of prompts and answers.
    pub tpm: Option<f64>,
    /// How long one request may take, in seconds.
    pub timeout_seconds: f64,
    /// How often a request is made again after 408, 429 and 5xx, after a time-out and a broken connection, and after
    /// an answer that is none.
    pub retries: u32,
    /// How long the first pause before that is, in seconds; each one after it is twice as long, up to a minute. A server
    /// that says how long to wait (`Retry-After`) is obeyed.
    pub backoff_seconds: f64,
    /// How often is asked anew after an answer that is not of the form of `output`.
    pub invalid_retries: u32,
    /// Where to stop spending. What was answered by then is kept.
    pub budget: Budget,
    /// Sends nothing: every answer must be in the cache.
    pub offline: bool,
}

/// What a run of the node may spend at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Requests, those that are made again included.
    pub requests: Option<u64>,
    /// Tokens of prompts and answers. What is under way when they are spent still comes.
    pub tokens: Option<u64>,
}

impl Default for RequestSettings {
    fn default() -> Self {
        Self {
            concurrency: 32,
            rpm: None,
            tpm: None,
            timeout_seconds: 120.0,
            retries: 5,
            backoff_seconds: 1.0,
            invalid_retries: 2,
            budget: Budget::default(),
            offline: false,
        }
    }
}

fn one() -> u32 {
    1
}

fn score_range() -> [f64; 2] {
    [1.0, 5.0]
}

#[expect(clippy::float_cmp, reason = "as written, or another")]
fn is_score_range(range: &[f64; 2]) -> bool {
    *range == score_range()
}

fn max_failed() -> f64 {
    0.05
}

/// More answers to one row than anybody means.
const MOST_ANSWERS: u32 = 1000;

impl GenerateParams {
    /// The word in `kind:`.
    pub const NAME: &'static str = "generate";

    /// Returns the conversation, with the field that each content stands in.
    pub fn conversation(&self) -> Vec<(String, PromptMessage)> {
        let said = |role: &str, content: &String| PromptMessage { role: role.into(), content: content.clone() };
        let system = self.system.iter().map(|content| ("system".to_owned(), said("system", content)));
        let prompt = self.prompt.iter().map(|content| ("prompt".to_owned(), said("user", content)));
        let messages = self.messages.iter().enumerate();
        let messages = messages.map(|(i, message)| (format!("messages[{i}].content"), message.clone()));
        system.chain(prompt).chain(messages).collect()
    }

    /// Returns how many answers each row is asked for.
    pub fn answers(&self) -> u32 {
        self.votes.as_ref().map_or(self.n, |votes| votes.of)
    }

    fn check_votes(&self) -> Vec<Mistake> {
        let Some(votes) = &self.votes else { return Vec::new() };
        let mut mistakes = Vec::new();
        let mut wrong = |field: &str, message: &str| mistakes.push(Mistake::new(field, message));
        if !(2..=MOST_ANSWERS).contains(&votes.of) {
            wrong("votes.of", "out of range: from 2 to 1000");
        }
        if !(0.0..=1.0).contains(&votes.min_share) {
            wrong("votes.min_share", "out of range: a share from 0 to 1");
        }
        if self.n != 1 {
            wrong("n", "`votes` says how often is asked, and one answer is kept");
        }
        if votes.share.as_ref().is_some_and(|column| *column == self.into || column.is_empty()) {
            wrong("votes.share", "the share needs a column of its own");
        }
        if self.params.temperature == Some(0.0) {
            let mistake = Mistake::new("params.temperature", "at the temperature 0 every vote is the same");
            mistakes.push(mistake.help("leave `votes` out, or set a temperature above 0"));
        }
        mistakes
    }

    fn check_model(&self) -> Option<Mistake> {
        let help = "give `endpoint: {url: http://localhost:8000/v1, model: NAME}` or `model: NODE`";
        let Some(endpoint) = &self.endpoint else {
            return self.model.is_none().then(|| Mistake::new("", "nobody is there to answer").help(help));
        };
        if self.model.is_some() {
            return Some(Mistake::new("model", "a model of the pipeline answers or a server, not both").help(help));
        }
        let http = endpoint.url.starts_with("http://") || endpoint.url.starts_with("https://");
        if !http {
            let message = format!("`{}` is no address of a server", endpoint.url);
            return Some(Mistake::new("endpoint.url", message).help("write `http://localhost:8000/v1`"));
        }
        if endpoint.url.split("//").nth(1).is_some_and(|rest| rest.split('/').next().unwrap_or("").contains('@')) {
            let help = "name the environment variable that holds it: `key_env: NAME`";
            return Some(Mistake::new("endpoint.url", "a key or password does not belong in here").help(help));
        }
        let named = |name: &String| name.is_empty() || name.contains(['=', '\0']);
        endpoint
            .key_env
            .as_ref()
            .filter(|name| named(name))
            .map(|name| Mistake::new("endpoint.key_env", format!("`{name}` is no name of an environment variable")))
    }

    fn check_prompt(&self) -> Option<Mistake> {
        match (self.prompt.is_some(), self.messages.is_empty()) {
            (false, true) => {
                Some(Mistake::new("", "there is nothing to say").help("give `prompt: \"{{text}}\"` or `messages`"))
            }
            (true, false) => Some(Mistake::new("messages", "`prompt` or `messages`, not both")),
            _ if self.system.is_some() && !self.messages.is_empty() => {
                Some(Mistake::new("system", "with `messages`, the system's message is one of them"))
            }
            _ => None,
        }
    }

    fn check_numbers(&self) -> Vec<Mistake> {
        let (request, params) = (&self.request, &self.params);
        let above = |number: f64| number > 0.0 && number.is_finite();
        let not_below = |number: f64| number >= 0.0 && number.is_finite();
        let prices = self.prices.is_none_or(|prices| not_below(prices.prompt) && not_below(prices.completion));
        let [least, most] = self.score_range;
        let day = 86_400.0;
        [
            ("n", (1..=MOST_ANSWERS).contains(&self.n), "from 1 to 1000"),
            ("into", !self.into.is_empty(), "the name of a column"),
            ("max_failed", (0.0..=1.0).contains(&self.max_failed), "a share from 0 to 1"),
            ("score_range", least.is_finite() && most.is_finite() && least < most, "the least and the greatest"),
            ("prices", prices, "not below 0"),
            ("params.temperature", params.temperature.is_none_or(not_below), "not below 0"),
            ("params.top_p", params.top_p.is_none_or(|p| (0.0..=1.0).contains(&p)), "a share from 0 to 1"),
            ("params.max_tokens", params.max_tokens != Some(0), "at least 1"),
            ("request.concurrency", (1..=4096).contains(&request.concurrency), "from 1 to 4096"),
            ("request.rpm", request.rpm.is_none_or(above), "above 0"),
            ("request.tpm", request.tpm.is_none_or(above), "above 0"),
            ("request.timeout_seconds", above(request.timeout_seconds) && request.timeout_seconds <= day, "above 0"),
            ("request.retries", request.retries <= 1000, "at most 1000"),
            ("request.invalid_retries", request.invalid_retries <= 1000, "at most 1000"),
            (
                "request.backoff_seconds",
                not_below(request.backoff_seconds) && request.backoff_seconds <= day,
                "not below 0",
            ),
        ]
        .into_iter()
        .filter(|(_, right, _)| !right)
        .map(|(field, _, what)| Mistake::new(field, format!("out of range: {what}")))
        .collect()
    }
}

/// What a request says by itself; `extra` cannot say it again.
const OWN: [&str; 9] =
    ["model", "messages", "temperature", "top_p", "max_tokens", "seed", "stop", "n", "response_format"];

impl Params for GenerateParams {
    const KIND: Kind = Kind::Generate;
    const VERSION: u32 = 1;

    fn inputs(&self) -> Vec<Input<'_>> {
        let from = Input::one("from", &self.from, InputType::Dataset);
        let model = self.model.iter().map(|model| Input::one("model", model, InputType::Model));
        std::iter::once(from).chain(model).collect()
    }

    fn outputs(&self) -> Vec<Output> {
        vec![Output { name: "".into(), path: "rows".into(), kind: InputType::Dataset }]
    }

    fn check(&self) -> Vec<Mistake> {
        let mut mistakes: Vec<Mistake> = self.check_model().into_iter().chain(self.check_prompt()).collect();
        for (i, message) in self.messages.iter().enumerate() {
            if !["system", "user", "assistant"].contains(&message.role.as_str()) {
                let message = format!("`{}` is no role", message.role);
                let mistake = Mistake::new(format!("messages[{i}].role"), message);
                mistakes.push(mistake.help("`system`, `user` or `assistant`"));
            }
        }
        for name in OWN.iter().filter(|name| self.params.extra.contains_key(**name)) {
            let field = format!("params.extra.{name}");
            mistakes.push(Mistake::new(field, format!("`{name}` has a place of its own")));
        }
        if self.params.extra.get("stream").is_some_and(|stream| stream != false) {
            mistakes.push(Mistake::new("params.extra.stream", "answers are read whole, not as a stream"));
        }
        if self.model.is_some() && !self.params.extra.is_empty() {
            mistakes.push(Mistake::new("params.extra", "a model of the pipeline understands no other settings"));
        }
        if self.exit.is_some() && self.endpoint.is_some() {
            let mistake = Mistake::new("exit", "a server knows of no exits");
            mistakes.push(mistake.help("leave `exit` out, or let a model of the pipeline answer: `model: NODE`"));
        }
        mistakes.extend(self.exit.and_then(Exit::mistake));
        mistakes.extend(self.check_numbers());
        mistakes.extend(self.check_votes());
        mistakes
    }
}
