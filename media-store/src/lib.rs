//! media-store
