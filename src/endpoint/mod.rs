//! Answers from outside: a server with OpenAI's chat interface, and a store in which no answer is paid for twice.
//!
//! Requests are plain blocking calls on a bounded number of threads, each of which tries again where that may help and
//! waits where the server says so. What comes back is kept by what was asked ([`Request::key`]) the moment it is there,
//! so that whatever ends the process loses only what was under way. Nothing here knows rows, nodes or templates.

mod client;
mod error;
mod pace;
mod reply;
mod request;
mod store;

pub use client::{Account, Client, Settings};
pub use error::{EndpointError, Trouble};
pub use pace::Limits;
pub use reply::Reply;
pub use request::Request;
pub use store::Store;
