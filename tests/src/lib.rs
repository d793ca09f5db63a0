//! What the end-to-end, conformance and interop tests share.
