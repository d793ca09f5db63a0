//! CDR, counters and exporters.
