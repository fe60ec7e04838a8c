//! Exit codes: the table of `docs/operate.md`, the command line's own list, what `--help` says, and what the unit does with them.

use std::collections::BTreeMap;

use super::{section, table, text};

/// Code and whether the unit starts the service again, as the page has it.
fn documented() -> BTreeMap<u8, bool> {
    let page = text("docs/operate.md");
    let lines = section(&page, "### Exit codes");
    let row = |cells: Vec<&str>| {
        let again = match cells[2] {
            "yes" => true,
            words if words.ends_with("no") => false,
            words => panic!("{words} is neither yes nor no"),
        };
        (cells[0].parse().unwrap(), again)
    };
    table(&lines).into_iter().map(row).collect()
}

#[test]
fn the_table_has_the_codes_that_there_are() {
    let source = text("src/cli/exit.rs");
    let list = source.split("enum Exit {").nth(1).unwrap().split('}').next().unwrap();
    let mut codes: Vec<u8> =
        list.lines().filter_map(|line| line.trim().trim_end_matches(',').split_once(" = ")?.1.parse().ok()).collect();
    codes.push(0);
    codes.sort_unstable();
    assert_eq!(documented().into_keys().collect::<Vec<_>>(), codes);
    let help = text("src/cli/mod.rs");
    let help = help.split("Exit codes: ").nth(1).unwrap().split("With --json").next().unwrap();
    for code in codes {
        assert!(help.contains(&format!("{code} ")), "{code} is not in the help: {help}");
    }
}

#[test]
fn the_unit_tries_again_what_the_table_says() {
    let unit = text("packaging/portcullis.service");
    let prevented = unit.lines().find_map(|line| line.strip_prefix("RestartPreventExitStatus=")).unwrap();
    let prevented: Vec<u8> = prevented.split(' ').map(|code| code.parse().unwrap()).collect();
    // After `systemctl stop`, which ends with 0, nothing is started whatever is said here.
    let documented: Vec<u8> =
        documented().into_iter().filter(|&(code, again)| !again && code != 0).map(|(code, _)| code).collect();
    assert_eq!(prevented, documented);
}
