//! Answers from outside: a server with OpenAI's chat interface, and a store in which no answer is paid for twice.
