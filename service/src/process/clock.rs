//! What the system knows about its clock.

/// Whether the clock follows a better one (NTP); `None` when the system does not tell.
pub fn clock_is_synchronised() -> Option<bool> {
    // SAFETY: all zeros is a valid `timex`: no mode bit is set, so that nothing is changed.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is ours and lives through the call.
    let answer = unsafe { libc::adjtimex(&raw mut state) };
    (answer >= 0).then_some(state.status & libc::STA_UNSYNC == 0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn linux_tells() {
        assert!(super::clock_is_synchronised().is_some());
    }
}
