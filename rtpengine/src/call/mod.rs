//! The call model and what commands do to it.
