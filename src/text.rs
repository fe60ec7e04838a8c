//! Words: "did you mean …?" for names that people mistype, and text fit to be printed.

/// Most bytes of a name that is compared with others: nothing is near a longer one, and comparing costs its square.
const NAME_BYTES_MAX: usize = 120;

/// For serde's "unknown field `x`, expected one of `a`, `b`": the nearest of what was expected and of `more_names`, as
/// the end of a sentence; empty when nothing is near or the message is about something else.
#[must_use]
pub fn suggestion(message: &str, more_names: &[&str]) -> String {
    let Some((_, rest)) = message.strip_prefix("unknown ").and_then(|rest| rest.split_once('`')) else {
        return String::new();
    };
    // The names that are possible come last; the unknown one may hold anything.
    match rest.rsplit_once("`, expected ").or_else(|| rest.rsplit_once("`, there are no ")) {
        Some((unknown, expected)) => {
            did_you_mean(unknown, expected.split('`').skip(1).step_by(2).chain(more_names.iter().copied()))
        }
        None => String::new(),
    }
}

/// The nearest of the `known` names, as the end of a sentence; empty when none is near. Of names equally near the one
/// that begins alike is meant.
#[must_use]
pub fn did_you_mean<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    if unknown.len() > NAME_BYTES_MAX {
        return String::new();
    }
    let nearest = known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(unknown, name), !name.starts_with(unknown), name))
        .filter(|&(distance, _, name)| distance <= 1 + name.len() / 3)
        .min();
    nearest.map_or_else(String::new, |(_, _, name)| format!("; did you mean `{name}`?"))
}

/// Whether a VM can be called that, or what belongs to one: 1 to 64 of `A-Za-z0-9._:-`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

/// Text fit to be printed on a terminal or into a log: one line, nothing that steers, the middle left out if it is
/// longer than `chars_max`.
#[must_use]
pub fn plain(text: &str, chars_max: usize) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let visible = |c: char| if steers(c) { char::REPLACEMENT_CHARACTER } else { c };
    let count = text.chars().count();
    if count <= chars_max {
        return text.chars().map(visible).collect();
    }
    let half = chars_max / 2;
    let head = text.chars().take(half).map(visible);
    head.chain(" … ".chars()).chain(text.chars().skip(count - half).map(visible)).collect()
}

/// Bytes as hexadecimal digits, two each.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Bytes from hexadecimal digits, two each; nothing if that is something else.
#[must_use]
pub fn unhex(digits: &str) -> Option<Vec<u8>> {
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let values: Option<Vec<u8>> = digits.bytes().map(value).collect();
    let (pairs, rest) = values.as_ref()?.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_are_read_as_they_are_written() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!((hex(&[0, 0x9f, 0xa0]), unhex(&hex(&bytes))), ("009fa0".into(), Some(bytes)));
        assert_eq!(unhex("0A"), Some(vec![10]));
        assert_eq!(["0", "0g", "ü", " 0"].map(unhex), [const { None }; 4]);
    }

    #[test]
    fn the_nearest_name_is_suggested() {
        assert_eq!(
            suggestion("unknown field `cors`, expected one of `cores`, `mbufs`", &[]),
            "; did you mean `cores`?"
        );
        assert_eq!(suggestion("unknown field `zebra`, expected `cores`", &[]), "");
        assert_eq!(suggestion("invalid type: string `a`", &[]), "");
        assert_eq!(did_you_mean("restrictd", ["unrestricted", "restricted"]), "; did you mean `restricted`?");
    }
}
