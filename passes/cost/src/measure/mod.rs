//! How long models take, how sure that is, and where the time goes.

pub mod clock;
pub mod disturbance;
pub mod inputs;
pub mod interleave;
pub mod load;
pub mod pin;
pub mod profile;
pub mod reference;
pub mod self_test;
pub mod sequential;
pub mod statistics;
pub mod trace;
pub mod verdict;
