//! What tests share: goldens, numeric checks, random graphs.

pub mod compare;
pub mod golden;
pub mod inputs;
pub mod samples;
