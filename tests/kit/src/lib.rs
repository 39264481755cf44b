//! What tests share: goldens, numeric checks, random graphs.
