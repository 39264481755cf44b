//! What a graph is: the IR, its text, its laws, and a reference interpreter.

pub mod schema;
