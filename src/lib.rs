//! spaceevo.
