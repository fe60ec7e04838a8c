//! `portcullis doctor` on the machine that it is tested on, whatever that is like.

use serde_json::{Value, json};

use crate::support::Lab;

/// A configuration whose store wants a folder that is not there yet.
fn config(lab: &Lab) -> String {
    let store = format!("[store]\npath = {:?}\n[table]\nvms = 1", lab.text("later/state.redb"));
    lab.write("doctor.toml", lab.config("net_null0", "net_null1").and(&store).toml())
}

#[test]
fn everything_is_looked_at_and_the_exit_code_says_what_was_found() {
    let lab = Lab::new();
    let ended = lab.run(&["doctor", "--config", &config(&lab), "--json"]);
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    let findings = document["findings"].as_array().unwrap();
    let of = |check: &str| findings.iter().find(|finding| finding["check"] == check);
    assert_eq!(of("store").unwrap()["level"], "failure", "{document}");
    for check in ["huge_pages", "isolated_cpus", "libraries"] {
        assert!(of(check).is_some(), "{check}: {document}");
    }
    let count = |level: &str| json!(findings.iter().filter(|finding| finding["level"] == level).count());
    assert_eq!((&document["failures"], &document["warnings"]), (&count("failure"), &count("warning")));
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("will not work"), "{}", ended.stderr);
}

#[test]
fn what_is_found_is_mended_by_the_command_that_it_names() {
    let lab = Lab::new();
    let config = config(&lab);
    let doctor = |more: &[&str]| lab.run(&[&["doctor", "--config", &config, "--check", "store"], more].concat());
    let found: Value = serde_json::from_str(&doctor(&["--json"]).stdout).unwrap();
    let later = lab.path("later");
    assert_eq!(found["findings"][0]["fix"], format!("install -d -m 0700 '{}'", later.display()));
    doctor(&["--fix"]).fails(64, &["--yes"]);
    assert!(!later.exists(), "nobody was asked, so nothing was done");
    let mended = doctor(&["--fix", "--yes"]).done();
    assert!(later.is_dir() && mended.stdout.contains("can be written"), "{}", mended.stdout);
    doctor(&[]).done();
    lab.run(&["doctor", "--config", "/none"]).fails(78, &["/none: No such file"]);
    lab.run(&["doctor", "--config", &config, "--check", "shop"]).fails(64, &["huge_pages"]);
}
