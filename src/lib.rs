//! spaceevo.

pub mod samples;
