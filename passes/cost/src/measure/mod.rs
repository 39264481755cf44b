//! How long models take, how sure that is, and where the time goes.

pub mod clock;
pub mod interleave;
pub mod profile;
pub mod trace;
