//! Files from outside: a model hub, or any server that speaks HTTPS. Listing, fetching, checking; nothing is trusted.
//!
//! What a node brings in is known by content before a byte of it is here: a hub gives the digest of every file of a
//! commit ([`Listing`]), and an `https://` address comes with one. So keys can be computed without downloading, and what
//! is downloaded ([`fetch`]) is compared with what was asked for.
//!
//! Of `hf-hub` only the addresses are used. Its downloads know no digests and no listing, begin anew after a kill, and
//! look at the environment; here the caller hands in what the environment says ([`Access`]).

mod access;
mod address;
mod choose;
mod client;
mod content;
mod error;
mod fetch;
mod listing;
mod sha1;

pub use access::Access;
pub use address::{Address, Place, RepoKind, no_digest};
pub use choose::{Choice, choose, path_of};
pub use client::Client;
pub use content::Content;
pub use error::HubError;
pub use fetch::{Wanted, fetch};
pub use listing::{Listed, Listing, commit_of, known_listing, list, name_of_url};
