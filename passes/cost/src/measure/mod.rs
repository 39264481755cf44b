//! How long models take, how sure that is, and where the time goes.

pub mod clock;
pub mod disturbance;
pub mod inputs;
pub mod interleave;
pub mod job;
pub mod load;
mod npy;
mod owners;
pub mod pin;
pub mod profile;
pub mod reference;
pub mod regions;
pub mod report;
pub mod self_test;
pub mod sequential;
pub mod statistics;
pub mod store;
pub mod trace;
pub mod verdict;
