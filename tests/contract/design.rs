//! `docs/design.md`: the map is the territory. Who uses whom, how large files and folders are, and where `unsafe` is.

use std::collections::{BTreeMap, BTreeSet};

use super::{files, section, text};

/// `a ▸ b, c` for each part of the crate, as the page has it.
fn drawn() -> BTreeMap<String, BTreeSet<String>> {
    let design = text("docs/design.md");
    let lines = section(&design, "## The tree");
    let arrows = lines.iter().filter_map(|line| line.split_once(" ▸ "));
    let names =
        |names: &str| names.split(',').map(|name| name.trim().to_owned()).filter(|name| name != "nothing").collect();
    arrows.map(|(part, uses)| (part.trim().to_owned(), names(uses))).collect()
}

/// The part that a file belongs to: a folder of `src`, or a file there.
fn part(file: &str) -> String {
    let rest = file.strip_prefix("src/").unwrap();
    rest.split_once('/').map_or_else(|| rest.trim_end_matches(".rs").to_owned(), |(folder, _)| folder.to_owned())
}

/// The code of a file that is no test.
fn code(file: &str) -> String {
    let whole = text(file);
    let code = whole.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
    let code = code.split("\n#[cfg(test)]\n#[cfg(").next().unwrap();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn is_test(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap();
    ["tests.rs", "check_loom.rs", "check_shuttle.rs"].contains(&name)
        || ["src/vm/model.rs", "src/table/model.rs"].contains(&file)
        || file.contains("/tests/")
}

#[test]
fn who_uses_whom_is_as_drawn() {
    let drawn = drawn();
    let sources: Vec<String> = files("src", ".rs").iter().map(|path| path.to_str().unwrap().to_owned()).collect();
    let parts: BTreeSet<String> =
        sources.iter().map(|file| part(file)).filter(|part| part != "lib" && part != "main").collect();
    let mut used: BTreeMap<String, BTreeSet<String>> =
        parts.iter().map(|part| (part.clone(), BTreeSet::new())).collect();
    for file in sources.iter().filter(|file| !is_test(file) && part(file) != "lib" && part(file) != "main") {
        let (from, code) = (part(file), code(file));
        for after in code.split("crate::").skip(1) {
            let to: String = after.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            if parts.contains(&to) && to != from {
                used.get_mut(&from).unwrap().insert(to);
            }
        }
    }
    // Builders for tests may use anything.
    used.remove("testkit");
    assert_eq!(used, drawn, "left: as it is; right: as docs/design.md draws it");
    // No arrow runs in a circle: taking away again and again who uses nobody leaves nobody.
    let mut left = used;
    while let Some(leaf) = left.iter().find(|(_, uses)| uses.is_empty()).map(|(part, _)| part.clone()) {
        left.remove(&leaf);
        left.values_mut().for_each(|uses| _ = uses.remove(&leaf));
    }
    assert_eq!(left, BTreeMap::new(), "these use each other");
}

#[test]
fn every_part_of_the_crate_is_on_the_map() {
    let design = text("docs/design.md");
    let tree = section(&design, "## The tree");
    for part in drawn().keys() {
        let named = |line: &&str| {
            line.starts_with("  ")
                && line.split_whitespace().any(|word| word.trim_end_matches('/').trim_end_matches(".rs") == part)
        };
        assert!(tree.iter().any(named), "{part} has a line in the tree");
    }
}

#[test]
fn files_are_short_and_no_folder_is_half_the_house() {
    const LINES_MAX: usize = 500;
    let (mut all, mut folders) = (0, BTreeMap::<String, usize>::new());
    for file in files("src", ".rs") {
        let file = file.to_str().unwrap();
        let lines = text(file).lines().count();
        assert!(lines <= LINES_MAX, "{file} has {lines} lines: it is two ideas");
        all += lines;
        *folders.entry(part(file)).or_default() += lines;
    }
    for (folder, ending) in [("dpdk", ".rs"), ("tests", ".rs"), ("bench", ".rs"), ("tests", ".py"), ("bench", ".py")] {
        // What is built does not count.
        for file in
            files(folder, ending).iter().filter(|file| !file.components().any(|part| part.as_os_str() == "target"))
        {
            let lines = text(file.to_str().unwrap()).lines().count();
            assert!(lines <= LINES_MAX, "{} has {lines} lines: it is two ideas", file.display());
        }
    }
    for (folder, lines) in folders {
        assert!(lines * 4 <= all, "{folder} has {lines} of {all} lines: more than a quarter");
    }
}

#[test]
fn unsafe_code_is_where_the_map_says() {
    for file in files("src", ".rs").iter().filter(|file| !file.ends_with("cpu.rs")) {
        let found = code(file.to_str().unwrap()).lines().any(|line| {
            ["unsafe {", "unsafe fn", "unsafe impl", "allow(unsafe_code)"].iter().any(|what| line.contains(what))
        });
        assert!(!found, "{}", file.display());
    }
}
