//! Files in and out, judged by an independent protobuf library.

mod corpus;
mod files;
mod forms;
mod hostile;
mod models;
mod oracle;
