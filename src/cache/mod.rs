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
//! - **Any number of writers.** Each has a session with a staging folder of its own, publishing ends in "kept the one that
//!   is there", and the first record of a key wins. Leases say who works on what; claims and the gate keep `gc` from
//!   taking what somebody uses. All of it rests on locks of the kernel, which go with their process (`lock`).
//! - Readers take no lock, need no write permission and work beside writers.
//! - What an unfinished node needs to go on, and what nodes can compute again, lies apart (`checkpoints`): no artifact,
//!   nothing is promised of it, and it may be deleted at any time.
//!
//! Keys are opaque in here, and so are their parts, except that `gc` takes every digest in them for something the action
//! was made from.

mod action;
mod audit;
mod checkpoints;
mod commit;
mod error;
mod files;
mod gc;
mod index;
mod info;
mod layout;
mod lease;
mod lock;
mod mend;
mod objects;
mod platform;
mod publish;
mod remote;
mod roots;
mod runs;
mod schema;
mod session;
mod snapshot;
mod stat;
mod store;

pub use action::{Action, NewAction, Previous};
pub use commit::Staging;
pub use error::CacheError;
pub use gc::{Collected, GcOptions, GcReport, RUNS_KEPT};
pub use info::{Amount, CacheInfo};
pub use lease::{Lease, LeaseOutcome};
pub use lock::Gate;
pub use mend::{Damage, RepairReport, VerifyReport};
pub use remote::{PullReport, PushReport};
pub use runs::{RunId, RunRecord};
pub use snapshot::{Epoch, SeenFile, Snapshot, SnapshotInstance, SnapshotSource};
pub use store::{Access, Cache};
