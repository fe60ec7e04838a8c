//! "Did you mean …?" for names that people mistype.

/// For serde's "unknown field `x`, expected one of `a`, `b`": the nearest of what was expected, as the end of a sentence;
/// empty when nothing is near or the message is about something else.
#[must_use]
pub fn suggestion(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    match quoted.next() {
        Some(unknown) if message.contains("unknown ") => did_you_mean(unknown, quoted),
        _ => String::new(),
    }
}

/// The nearest of the `known` names, as the end of a sentence; empty when none is near.
#[must_use]
pub fn did_you_mean<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let nearest = known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(unknown, name), !name.starts_with(unknown), name))
        .filter(|&(distance, _, name)| distance <= 1 + name.len() / 3)
        .min();
    nearest.map_or_else(String::new, |(_, _, name)| format!("; did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested() {
        assert_eq!(suggestion("unknown field `cors`, expected one of `cores`, `mbufs`"), "; did you mean `cores`?");
        assert_eq!(suggestion("unknown field `zebra`, expected `cores`"), "");
        assert_eq!(suggestion("invalid type: string `a`"), "");
        assert_eq!(did_you_mean("restrictd", ["unrestricted", "restricted"]), "; did you mean `restricted`?");
    }
}
