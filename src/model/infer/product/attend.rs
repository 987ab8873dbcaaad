//! x
pub(in super::super) struct Attending;
pub(in super::super) fn attend() {}
