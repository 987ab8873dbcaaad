//! `luthflow chat`: a conversation with a model, turn by turn.
//!
//! Questions come from standard input, one a line, whether a person types them or a program sends them; answers go to
//! standard output and all else to standard error. This is the only place where a template learns what day it is.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use console::style;
use signal_hook::consts::SIGINT;

use crate::cli::args::Cli;
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::report::CliError;
use crate::cli::speech::ChatArgs;
use crate::generate::{Answer, Chat, Generator, Listener, Message, Options, Thread};

const HELP: &str = "/reset begins anew, /thinking on or off says whether the model may think, /quit ends the chat; \
Ctrl-C stops an answer; a line that begins with // is sent with one /";

pub(in crate::cli) fn run(args: &ChatArgs, cli: &Cli) -> Result<Exit, CliError> {
    let generator = args.model.load(cli, Some(chrono::Local::now().naive_local()))?;
    if !generator.tokenizer().has_template() {
        let help = "`luthflow generate` goes on from a text without one";
        return Err(CliError::user("the model has no chat template").help(help));
    }
    let options = args.sampling.options(&generator, args.max_tokens, 1)?;
    let signals = Signals::register()?;
    let terminal = console::Term::stderr().features().is_attended() && console::user_attended();
    if terminal {
        output::say(&style(HELP).for_stderr().dim().to_string());
    }
    let mut talk = Talk::new(&generator, &options, args);
    let mut lines = std::io::stdin().lock();
    loop {
        if terminal {
            output::ask("> ");
        }
        let mut line = String::new();
        signals.waits.store(true, Ordering::SeqCst);
        let read = lines.read_line(&mut line);
        signals.waits.store(false, Ordering::SeqCst);
        if read.map_err(|error| CliError::user(format!("standard input cannot be read: {error}")))? == 0 {
            return Ok(Exit::Success);
        }
        let line = line.trim_end_matches(['\r', '\n']);
        match line.strip_prefix('/') {
            _ if line.trim().is_empty() => {}
            Some(text) if text.starts_with('/') => talk.answer(text, &signals)?,
            Some("quit" | "exit") => return Ok(Exit::Success),
            Some(command) => talk.command(command.trim()),
            None => talk.answer(line, &signals)?,
        }
    }
}

/// What Ctrl-C means at the moment.
struct Signals {
    /// Set by Ctrl-C while an answer is made.
    stop: Arc<AtomicBool>,
    /// Set while a question is waited for: then Ctrl-C ends the program.
    waits: Arc<AtomicBool>,
}

impl Signals {
    fn register() -> std::io::Result<Self> {
        let (stop, waits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let code = i32::from(Exit::Interrupted.code());
        signal_hook::flag::register_conditional_shutdown(SIGINT, code, Arc::clone(&waits))?;
        signal_hook::flag::register(SIGINT, Arc::clone(&stop))?;
        Ok(Self { stop, waits })
    }
}

struct Talk<'a> {
    generator: &'a Generator,
    options: &'a Options,
    thread: Thread<'a>,
    system: Option<Message>,
    chat: Chat,
}

impl<'a> Talk<'a> {
    fn new(generator: &'a Generator, options: &'a Options, args: &ChatArgs) -> Self {
        let system = args.system.as_ref().map(|text| Message::new("system", text.as_str()));
        let chat = Chat { messages: system.iter().cloned().collect(), ..Chat::default() };
        Self { generator, options, thread: generator.thread(), system, chat }
    }

    fn command(&mut self, command: &str) {
        match command {
            "reset" => {
                self.chat.messages = self.system.iter().cloned().collect();
                output::say("the chat begins anew");
            }
            "thinking on" | "thinking off" => {
                self.chat.variables.insert("enable_thinking".into(), (command == "thinking on").into());
            }
            "help" => output::say(HELP),
            _ => output::say(&format!("there is no command /{command}; {HELP}")),
        }
    }

    fn answer(&mut self, question: &str, signals: &Signals) -> Result<(), CliError> {
        self.chat.messages.push(Message::new("user", question));
        signals.stop.store(false, Ordering::SeqCst);
        let mut shown = Shown { stop: &signals.stop, failed: None };
        let prompt = self.generator.chat_prompt(&self.chat);
        let answer = prompt.and_then(|prompt| self.thread.answer(&prompt, self.options, &mut shown));
        if let Some(error) = shown.failed {
            return Err(error);
        }
        match answer {
            Ok(answer) => {
                output::data("")?;
                self.chat.messages.push(Message::new("assistant", answer.text));
            }
            Err(error) => {
                // The question has no answer, so it is not part of the chat.
                self.chat.messages.pop();
                output::say(&format!("{error}; `/reset` begins anew"));
            }
        }
        Ok(())
    }
}

/// Prints words as they come.
struct Shown<'a> {
    stop: &'a AtomicBool,
    failed: Option<CliError>,
}

impl Listener for Shown<'_> {
    fn text(&mut self, _: usize, piece: &str) {
        if let Err(error) = output::piece(piece) {
            self.failed = Some(error);
        }
    }

    fn finished(&mut self, _: usize, _: &Answer) {}

    fn went_on(&mut self, _: usize, _: usize) {}

    fn cancelled(&self) -> bool {
        self.failed.is_some() || self.stop.load(Ordering::SeqCst)
    }
}
