//! `docs/policy.md`: what it lists is what the code has, and what is said to be quoted from it stands there.

use portcullis::policy::{DropReason, Observed, Tally};

use super::{files, section, table, text};

/// Name and meaning of each row.
fn rows(heading: &str) -> Vec<(String, String)> {
    let policy = text("docs/policy.md");
    let cells = |row: Vec<&str>| (row[0].trim_matches('`').to_owned(), row[1].to_owned());
    table(&section(&policy, heading)).into_iter().map(cells).collect()
}

fn listed<T: Copy>(all: &[T], name: fn(T) -> &'static str, meaning: fn(T) -> &'static str) -> Vec<(String, String)> {
    all.iter().map(|&each| (name(each).to_owned(), meaning(each).to_owned())).collect()
}

#[test]
fn every_drop_reason_observation_and_tally_is_in_the_contract_as_it_is_in_the_code() {
    assert_eq!(rows("### Drop reasons"), listed(&DropReason::ALL, DropReason::name, DropReason::meaning));
    assert_eq!(rows("### Observations"), listed(&Observed::ALL, Observed::name, Observed::meaning));
    assert_eq!(rows("### Per VM"), listed(&Tally::ALL, Tally::name, Tally::meaning));
}

/// The rules of "The verdict", by number.
fn rules() -> Vec<String> {
    let policy = text("docs/policy.md");
    let numbered = section(&policy, "## The verdict")
        .into_iter()
        .filter(|line| line.split_once(". ").is_some_and(|(number, _)| number.parse::<usize>().is_ok()));
    let rules: Vec<String> = numbered.map(str::to_owned).collect();
    for (at, rule) in rules.iter().enumerate() {
        assert!(rule.starts_with(&format!("{}. ", at + 1)), "{rule}");
    }
    rules
}

/// What stands where a rule is named by its number: words of the rule, one of which stands near the number.
const RULE_WORDS: [(usize, &[&str]); 9] = [
    (1, &["runt"]),
    (2, &["strict", "guard"]),
    (3, &["neither TCP nor opaque"]),
    (4, &["relevant", "direction", "matter", "look"]),
    (5, &["identity", "closed"]),
    (6, &["relay", "exception", "excepted"]),
    (7, &["destination", "closed", "opaque"]),
    (8, &["source", "answer", "reply", "ingress", "spam", "relay"]),
    (9, &["forwarded"]),
];

#[test]
fn a_rule_that_is_named_by_its_number_says_what_is_claimed_of_it() {
    let rules = rules();
    assert_eq!(rules.len(), RULE_WORDS.len());
    for (number, words) in RULE_WORDS {
        let rule = rules[number - 1].to_lowercase();
        assert!(words.iter().any(|word| rule.contains(&word.to_lowercase())), "{rule} has none of {words:?}");
    }
    let mut named = 0;
    let sources = [("src", ".rs"), ("tests", ".rs"), ("tests/peers", ".py"), ("docs", ".md")];
    for file in sources.into_iter().flat_map(|(folder, ending)| files(folder, ending)) {
        if file.starts_with("tests/contract") {
            continue;
        }
        let text = text(file.to_str().unwrap());
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let lower = line.to_lowercase();
            let Some((_, after)) = lower.split_once("rule ").or_else(|| lower.split_once("rules ")) else { continue };
            let numbers =
                after.split(|c: char| !c.is_ascii_alphanumeric()).take(3).filter_map(|word| word.parse().ok());
            for number in numbers {
                let number: usize = number;
                let Some((_, words)) = RULE_WORDS.get(number.wrapping_sub(1)) else {
                    panic!("{}:{}: there are {} rules, not {number}: {line}", file.display(), at + 1, rules.len());
                };
                let near = lines[at.saturating_sub(2)..(at + 12).min(lines.len())].join(" ").to_lowercase();
                let says = words.iter().any(|word| near.contains(&word.to_lowercase()));
                assert!(says, "{}:{}: rule {number} is about {words:?}: {line}", file.display(), at + 1);
                named += 1;
            }
        }
    }
    assert!(named >= 5, "rules are named by number somewhere");
}

/// Without what Markdown and line breaks add.
fn plain(text: &str) -> String {
    let text: String = text.chars().map(|c| if "`*|".contains(c) { ' ' } else { c }).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The parts of a comment that stand in quotation marks and are sentences or parts of some: three words at least.
fn quotations(comment: &str) -> impl Iterator<Item = &str> {
    comment.split('"').skip(1).step_by(2).filter(|part| part.split_whitespace().count() >= 3)
}

#[test]
fn what_the_tests_of_the_policy_quote_stands_in_it() {
    let policy = plain(&text("docs/policy.md"));
    let mut quoted = 0;
    for file in files("tests/verdicts", ".rs") {
        let source = text(file.to_str().unwrap());
        // A comment of several lines is one.
        let mut comments: Vec<String> = vec![String::new()];
        for line in source.lines().map(str::trim_start) {
            match line.strip_prefix("//") {
                Some(comment) => *comments.last_mut().unwrap() += comment.trim_start_matches(['/', '!']),
                None => comments.push(String::new()),
            }
        }
        for quotation in comments.iter().flat_map(|comment| quotations(comment)) {
            assert!(policy.contains(&plain(quotation)), "{}: \"{quotation}\" is not in docs/policy.md", file.display());
            quoted += 1;
        }
    }
    assert!(quoted >= 15, "sentences are quoted: {quoted}");
}
