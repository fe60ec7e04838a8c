//! What EAL and its drivers report as a warning or worse though nothing is wrong with this box.
//!
//! A warning that is there at every start teaches people to read over warnings. These are still logged, at `debug`.

/// Parts of such messages, and why each may be read over.
const HARMLESS: [(&str, &str); 5] = [
    ("No legacy callbacks, legacy socket not created", "the telemetry socket of before 2020, which nobody asked for"),
    ("Specified qdisc kind is unknown", "net_tap in a kernel without `multiq`; frames pass all the same"),
    ("Could not add multiq qdisc", "the same, where the kernel says it otherwise"),
    ("failed to create multiq qdisc", "the same, in net_tap's next line"),
    ("Disabling rte flow support", "what follows from it; the box asks for no flow rules"),
];

/// Whether a message may be read over.
pub(super) fn is_harmless(message: &str) -> bool {
    HARMLESS.iter().any(|(part, _)| message.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_told_from_what_matters() {
        assert!(is_harmless("TELEMETRY: No legacy callbacks, legacy socket not created"));
        for message in ["EAL: FATAL: Cannot use IOVA as 'PA'", "eth_dev_close: legacy socket", ""] {
            assert!(!is_harmless(message), "{message}");
        }
    }
}
