//! Saving and restoring calls.
