//! Everything that follows the log with a position of its own, so that a crash repeats work and never skips it.

pub mod archive;
pub mod changes;
pub mod counters;
pub mod dead_letters;
mod filling;
pub mod lag;
pub mod share;
