//! What is already done: artifacts, the actions that made them, and the runs that were.
//!
//! Rows and files in here stand for GPU-days, which decides most of what follows.
//!
//! - **Files are the truth, SQLite is an index over them.** A committed action is a folder in `objects/`, its listing
//!   beside it and one readable record in `actions/`. The index can be deleted at any time. If it is damaged it is moved
//!   aside and made anew from the records; if it cannot be written, the work goes on and a notice says so. So no method
//!   here fails because of SQLite, except that a cache of a newer luthflow is refused.
//! - **An artifact is whole or absent.** It is made in `staging/`, written through to the disk, and enters `objects/` by
//!   one rename of the whole folder. A store of single files would save space where artifacts share files, but nodes
//!   need real paths to map, and a folder that is linked together can be half done.
//! - **The order of a commit is artifact, record, index row**, each durable before the next, so that whatever a kill -9
//!   leaves behind is either used or swept up by the next writer.
//! - **A record counts only if its artifact is there**, every file with its size. Bytes are compared when asked
//!   (`check`, `verify`), since hashing a model on every no-op run would cost seconds.
//! - One writer at a time, by a lock that the kernel drops when the process dies, on a file that is never deleted.
//!   Readers take no lock, need no write permission and work beside the writer.
//!
//! Left out until somebody needs it: garbage collection, sharing between machines, resuming a half-made artifact.
//! Keys and their parts are opaque in here. This is the only module that names rusqlite.

mod action;
mod audit;
mod commit;
mod error;
mod files;
mod index;
mod layout;
mod lock;
mod mend;
mod objects;
mod platform;
mod runs;
mod schema;
mod stat;
mod store;

pub use action::{Action, NewAction, Previous};
pub use commit::Staging;
pub use error::CacheError;
pub use mend::{Damage, RepairReport, VerifyReport};
pub use runs::{RunId, RunRecord};
pub use store::{Access, Cache};
