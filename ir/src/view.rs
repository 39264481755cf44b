//! petgraph view and DOT output.
