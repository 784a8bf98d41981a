//! The ordered steps from the running assignment to a wanted one.
