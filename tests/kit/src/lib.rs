//! What tests share: goldens, numeric checks, seeded samples.

pub mod compare;
pub mod drawn;
pub mod golden;
pub mod inputs;
pub mod instance;
pub mod observer;
pub mod stored;
