//! How a graph changes: passes, pipelines, and the manager that runs them.
