//! Inventories as tables: CSV with named columns → VM records.

use crate::text::did_you_mean;

/// Fields of a record, and what columns of them may be called, in any case.
const COLUMNS: [(&str, &[&str]); 9] = [
    ("id", &["id", "name", "vm"]),
    ("macs", &["macs", "mac"]),
    ("ips", &["ips", "ip", "ipv4", "ipv6", "address", "addresses"]),
    ("public_ipv4", &["public_ipv4", "public"]),
    ("scope", &["scope"]),
    ("tenant", &["tenant"]),
    ("class", &["class"]),
    ("mode", &["mode"]),
    ("note", &["note"]),
];

/// Fields that have several values, and may have several columns.
const LISTS: [&str; 2] = ["macs", "ips"];

/// Rows as JSON records, each with the number of its line, or what is wrong with it.
type Rows = Vec<(usize, Result<String, String>)>;

/// Reads a table; columns called as in `ignore` are left out.
///
/// # Errors
/// The header cannot be used.
pub(super) fn parse(text: &str, ignore: &[String]) -> Result<Rows, String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    let fields: Vec<Option<&str>> = header.iter().map(|name| field(name, ignore)).collect::<Result<_, _>>()?;
    let columns_of =
        |wanted: &'static str| header.iter().zip(&fields).filter(move |(_, field)| **field == Some(wanted));
    if columns_of("id").count() == 0 {
        return Err("no column `id` (or `name`, `vm`): every VM needs a name".into());
    }
    for (field, _) in COLUMNS.iter().filter(|(field, _)| !LISTS.contains(field)) {
        if let [(first, _), (second, _), ..] = columns_of(field).collect::<Vec<_>>()[..] {
            return Err(format!(
                "columns `{first}` and `{second}` are both a VM's `{field}`; leave one out by `--ignore`"
            ));
        }
    }
    let ends: Vec<usize> = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
    // The reader's own count leaves out what it skips: blank lines, and the LF behind a CR.
    let line = |position: Option<&csv::Position>| {
        let at = position.map_or(0, |position| usize::try_from(position.byte()).unwrap_or(text.len()));
        let skipped = text.bytes().skip(at).take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        ends.partition_point(|end| *end < at + skipped) + 1
    };
    let rows = reader.into_records().map(|row| match row {
        Ok(row) => (line(row.position()), record(&header, &fields, &row)),
        Err(error) => (line(error.position()), Err(error.to_string())),
    });
    Ok(rows.collect())
}

/// The field of a column; none of one that is left out.
fn field(name: &str, ignore: &[String]) -> Result<Option<&'static str>, String> {
    if ignore.iter().any(|ignored| ignored.eq_ignore_ascii_case(name)) {
        return Ok(None);
    }
    let lower = name.to_ascii_lowercase();
    let called = |(_, names): &&(&str, &[&str])| names.contains(&lower.as_str());
    if let Some((field, _)) = COLUMNS.iter().find(called) {
        return Ok(Some(field));
    }
    let known = COLUMNS.iter().flat_map(|(_, names)| *names).copied();
    let nearest = did_you_mean(&lower, known);
    let name = crate::text::plain(name, 64);
    let fields: Vec<&str> = COLUMNS.iter().map(|(field, _)| *field).collect();
    Err(format!("column `{name}` is none of a VM's ({}){nearest}; `--ignore {name}` leaves it out", fields.join(", ")))
}

fn record(header: &csv::StringRecord, fields: &[Option<&str>], row: &csv::StringRecord) -> Result<String, String> {
    if row.len() != fields.len() {
        return Err(format!("{} fields, but the header has {}", row.len(), fields.len()));
    }
    let mut record = serde_json::Map::new();
    for ((name, field), value) in header.iter().zip(fields).zip(row) {
        let Some(field) = field.filter(|_| !value.is_empty()) else { continue };
        match field {
            field if LISTS.contains(&field) => {
                let list = record.entry(field).or_insert_with(|| serde_json::json!([]));
                let values = value.split([' ', ';', ',', '|']).filter(|value| !value.is_empty());
                if let Some(list) = list.as_array_mut() {
                    list.extend(values.map(Into::into));
                }
            }
            "scope" => {
                let scope: u16 = value.parse().map_err(|_| {
                    format!("{name}: `{}` is no scope; write 0 to 65535", crate::text::plain(value, 64))
                })?;
                record.insert(field.into(), scope.into());
            }
            field => _ = record.insert(field.into(), value.into()),
        }
    }
    Ok(serde_json::Value::Object(record).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<(usize, Result<String, String>)> {
        parse(text, &["owner".into()]).unwrap()
    }

    #[test]
    fn columns_have_names_and_lists_have_several_values() {
        let text = "name,MAC,ipv4,ipv6,public,Owner,scope,class,mode,note\r\n\
                    web1,5254.0000.0001,10.0.0.5,2001:DB8:1::5,,bob,,,,\r\n\
                    \r\n\
                    b,\"525400000002; 525400000003\",10.0.0.6 10.0.0.7,,203.0.113.6,,7,x,monitor,\"a, b\"\r\n";
        let expected = [
            (2, r#"{"id":"web1","ips":["10.0.0.5","2001:DB8:1::5"],"macs":["5254.0000.0001"]}"#),
            (
                4,
                r#"{"class":"x","id":"b","ips":["10.0.0.6","10.0.0.7"],"macs":["525400000002","525400000003"],"mode":"monitor","note":"a, b","public_ipv4":"203.0.113.6","scope":7}"#,
            ),
        ];
        assert_eq!(rows(text), expected.map(|(line, json)| (line, Ok(json.to_owned()))));
        assert_eq!(rows("id\n"), []);
    }

    #[test]
    fn what_is_wrong_is_said_of_the_header_or_of_its_line() {
        for (text, words) in [
            ("mac\n", "no column `id`"),
            ("id,maac\n", "column `maac` is none of a VM's (id, macs, ips"),
            ("id,Name\n", "columns `id` and `Name` are both a VM's `id`"),
            ("id,maac\n", "did you mean `mac`?; `--ignore maac` leaves it out"),
        ] {
            let error = parse(text, &[]).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        let told = rows("id,scope\na,1\nb\nc,70000\nd,4\n");
        assert_eq!(told[1], (3, Err("1 fields, but the header has 2".into())));
        assert_eq!(told[2], (4, Err("scope: `70000` is no scope; write 0 to 65535".into())));
        assert!(told[0].1.is_ok() && told[3].1.is_ok());
    }
}
