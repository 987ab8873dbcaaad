//! Questions as the text that a model reads: a chat in its template or plain, by the habits of a profile.

use serde_json::{Map, Value};

use super::super::task::Question;
use crate::data::{Chat, Ending, Joining, Message, Rendered, Seam, Start, Tokenizer};
use crate::ops::OpError;
use crate::spec::params::{EvalParams, FewShot, Profile, Request, TaskDefinition};

/// How the questions of a task become text.
#[derive(Debug, Clone)]
pub(in crate::ops::eval) struct Manner {
    profile: Profile,
    /// Whether questions are put into the chat template.
    pub(in crate::ops::eval) chat: bool,
    system: Option<String>,
    thinking: Option<bool>,
    fewshot: FewShot,
}

/// What the system says where lighteval ran for Luth.
const LUTH_SYSTEM: &str = "You are a helpful assistant.";

impl Manner {
    /// Returns the manner of a task. Chats are the rule where answers are written, if the model has a template, and in
    /// Luth's way everywhere; what a text's own likelihood is is never a chat.
    pub(in crate::ops::eval) fn new(
        params: &EvalParams,
        definition: &TaskDefinition,
        tokenizer: &Tokenizer,
    ) -> Result<Self, OpError> {
        let (choices, answers) =
            (matches!(definition.request, Request::Choices(_)), matches!(definition.request, Request::Generate(_)));
        let wanted = match (params.chat_template, params.profile) {
            (Some(wanted), _) => wanted,
            (None, Profile::Native) => answers && tokenizer.has_template(),
            (None, Profile::Luth) => true,
            (None, Profile::LmEval) => false,
        };
        let chat = wanted && (choices || answers);
        if chat && !tokenizer.has_template() {
            let help = "set `chat_template: false` to ask in plain text";
            let why = format!("the task `{}` is asked in a chat, and the model has no chat template", definition.task);
            return Err(OpError::new(why).help(help));
        }
        let own = (params.profile == Profile::Luth).then(|| LUTH_SYSTEM.to_owned());
        let system = params.system.clone().or(own).filter(|system| !system.is_empty());
        let thinking = params.thinking.or((params.profile == Profile::Luth).then_some(false));
        Ok(Self { profile: params.profile, chat, system, thinking, fewshot: definition.fewshot.clone() })
    }

    /// Returns how texts become tokens.
    pub(in crate::ops::eval) fn joining(&self) -> Joining {
        match self.profile {
            Profile::Native => Joining { seam: Seam::Offset, start: Start::Once },
            Profile::Luth => Joining { seam: Seam::Count, start: Start::Always },
            Profile::LmEval => Joining { seam: Seam::Count, start: Start::Once },
        }
    }

    /// Returns the chat in which a question is asked, up to the answer.
    pub(super) fn messages(&self, question: &Question) -> Vec<Message> {
        let instruction = question.instruction.clone().unwrap_or_default();
        let (system, lead) = match (self.profile, &self.system) {
            // lighteval joins the two without a space between; where there is no system, it goes to the user.
            (Profile::Luth, Some(system)) => (Some(format!("{system}{instruction}")), String::new()),
            (Profile::LmEval, system) => {
                let both = format!("{}{instruction}", system.clone().unwrap_or_default());
                (Some(both).filter(|both| !both.is_empty()), String::new())
            }
            (_, system) => (system.clone(), instruction),
        };
        let mut messages: Vec<Message> = system.map(|system| Message::new("system", system)).into_iter().collect();
        let mut lead = Some(lead);
        let mut user = |text: &str| Message::new("user", format!("{}{text}", lead.take().unwrap_or_default()));
        if self.fewshot.as_turns {
            for (asked, answer) in &question.shots {
                messages.push(user(asked));
                messages.push(Message::new("assistant", answer.trim_start()));
            }
            messages.push(user(&question.prompt));
        } else {
            messages.push(user(&self.plain_shots(question, &question.prompt)));
        }
        messages
    }

    /// Returns examples and a question as one text.
    fn plain_shots(&self, question: &Question, prompt: &str) -> String {
        let solved = question.shots.iter().map(|(asked, answer)| format!("{asked}{answer}"));
        let parts: Vec<String> = solved.chain([prompt.to_owned()]).collect();
        parts.join(&self.fewshot.between)
    }

    /// Returns what the model reads before it answers `prompt`, the question's own or that of one choice.
    pub(super) fn context(
        &self,
        question: &Question,
        prompt: &str,
        tokenizer: &Tokenizer,
    ) -> Result<Rendered, OpError> {
        let mut rendered = if self.chat {
            let asked = Question { prompt: prompt.to_owned(), ..question.clone() };
            self.render(self.messages(&asked), tokenizer)?
        } else {
            let system = self.system.clone().unwrap_or_default();
            let instruction = question.instruction.as_deref().unwrap_or_default();
            let text = format!("{system}{instruction}{}", self.plain_shots(question, prompt));
            // A harness reads the names of special tokens in a row as those tokens; here they are words.
            Rendered::plain(text, self.profile == Profile::Native, tokenizer)
        };
        if let Some(start) = &question.answer_start {
            rendered.push(start, tokenizer);
        }
        Ok(rendered)
    }

    /// Returns a choice as it follows the question. Behind a chat's template lm-evaluation-harness drops the space in front.
    pub(super) fn choice<'a>(&self, text: &'a str) -> &'a str {
        match self.profile {
            Profile::LmEval if self.chat => text.strip_prefix(' ').unwrap_or(text),
            _ => text,
        }
    }

    /// Returns a question that says nothing, in the manner of the others.
    pub(super) fn bare(&self, prompt: &str, tokenizer: &Tokenizer) -> Result<Rendered, OpError> {
        if self.chat {
            return self.render(vec![Message::new("user", prompt)], tokenizer);
        }
        Ok(Rendered::plain(prompt.to_owned(), self.profile == Profile::Native, tokenizer))
    }

    /// Says whether a prompt is cut so that the longest answer still fits.
    pub(super) fn keeps_room(&self) -> bool {
        self.profile != Profile::Native
    }

    /// Returns a chat as text, up to the next answer.
    pub(super) fn render(&self, messages: Vec<Message>, tokenizer: &Tokenizer) -> Result<Rendered, OpError> {
        let mut chat = Chat::from(messages);
        if let Some(thinking) = self.thinking {
            chat.variables = Map::from_iter([("enable_thinking".to_owned(), Value::Bool(thinking))]);
        }
        tokenizer
            .render_chat(&chat, Ending::Prompt)
            .map_err(|error| OpError::caused("a question cannot be put into the chat template", error))
    }
}
