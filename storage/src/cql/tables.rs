//! The tables that a schema's text defines: what is compared with those that are there.
//!
//! It reads what `schema.cql` is written in, not all of CQL; a test reads that file.

use std::collections::BTreeMap;

/// A table: by its keyspace and name.
pub(super) type Tables = BTreeMap<(String, String), Table>;

/// What must be the same for a statement to do the same.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Table {
    /// By name.
    pub(super) columns: BTreeMap<String, Column>,
    /// After so many seconds a row goes by itself; 0 for never.
    pub(super) ttl_s: i32,
}

/// A column of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Column {
    pub(super) cql_type: String,
    pub(super) place: Place,
}

/// What a column is in its table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// The so-manyth part of the partition key.
    Partition(i32),
    /// The so-manyth clustering column, ascending.
    Clustering(i32),
    /// The same, descending.
    ClusteringDescending(i32),
    /// Neither.
    Regular,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Partition(at) => write!(f, "number {} of the partition key", at + 1),
            Place::Clustering(at) => write!(f, "clustering column {}", at + 1),
            Place::ClusteringDescending(at) => write!(f, "clustering column {}, descending", at + 1),
            Place::Regular => f.write_str("no part of the key"),
        }
    }
}

/// The statements of a schema's text. Lines that begin with `marker` count as what stands behind it; other comments do not count.
pub(super) fn statements(text: &str, marker: Option<&str>) -> Vec<String> {
    let line = |line: &str| match marker.and_then(|marker| line.strip_prefix(marker)) {
        Some(marked) => marked.to_owned(),
        None if line.trim_start().starts_with("--") => String::new(),
        None => line.to_owned(),
    };
    let text: Vec<String> = text.lines().map(line).collect();
    let statements = text.join("\n");
    statements
        .split(';')
        .map(str::trim)
        .filter(|statement| !statement.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The table that a statement makes, if it makes one.
pub(super) fn table(statement: &str) -> Option<((String, String), Table)> {
    let rest = statement.strip_prefix("CREATE TABLE IF NOT EXISTS ")?;
    let (name, rest) = rest.split_once('(')?;
    let (keyspace, name) = name.trim().split_once('.')?;
    let (body, options) = rest.split_at(end_of_group(rest)?);
    let mut table = Table { ttl_s: ttl(options), ..Table::default() };
    let (mut partition, mut clustering) = (Vec::new(), Vec::new());
    for part in split(body) {
        if let Some(key) = part.strip_prefix("PRIMARY KEY") {
            (partition, clustering) = key_columns(key)?;
        } else {
            let (name, cql_type) = part.split_once(char::is_whitespace)?;
            let column = Column { cql_type: cql_type.trim().to_owned(), place: Place::Regular };
            table.columns.insert(name.to_owned(), column);
        }
    }
    for (at, name) in partition.iter().enumerate() {
        table.columns.get_mut(name)?.place = Place::Partition(at as i32);
    }
    for (at, name) in clustering.iter().enumerate() {
        let is_descending = options.contains(&format!("{name} DESC"));
        let place = if is_descending { Place::ClusteringDescending } else { Place::Clustering };
        table.columns.get_mut(name)?.place = place(at as i32);
    }
    Some(((keyspace.to_owned(), name.to_owned()), table))
}

/// Names of the partition key's columns and of the clustering columns, from `(a)`, `((a, b), c)` and the like.
fn key_columns(key: &str) -> Option<(Vec<String>, Vec<String>)> {
    let inside = key.trim().strip_prefix('(')?.strip_suffix(')')?;
    let mut parts = split(inside).into_iter();
    let first = parts.next()?;
    let partition = match first.strip_prefix('(') {
        Some(several) => split(several.strip_suffix(')')?),
        None => vec![first],
    };
    Some((partition, parts.collect()))
}

/// Where the bracket closes that was opened just before.
fn end_of_group(text: &str) -> Option<usize> {
    let mut depth = 1;
    text.char_indices().find_map(|(at, c)| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        (depth == 0).then_some(at)
    })
}

/// What stands between the commas that are in no bracket.
fn split(text: &str) -> Vec<String> {
    let mut depth = 0;
    let parts = text.split(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    });
    parts.map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

fn ttl(options: &str) -> i32 {
    let value = options.split_once("default_time_to_live =").map(|(_, rest)| rest.split_whitespace().next());
    value.flatten().and_then(|value| value.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_with_its_keys() {
        let (name, table) = table(
            "CREATE TABLE IF NOT EXISTS k.t (\n a uuid,\n b bigint,\n c int,\n d text,\n PRIMARY KEY ((a, b), c)\n) \
             WITH CLUSTERING ORDER BY (c DESC) AND default_time_to_live = 7 AND x = {'y': 1}",
        )
        .unwrap();
        assert_eq!(name, ("k".to_owned(), "t".to_owned()));
        assert_eq!(table.ttl_s, 7);
        let places: Vec<_> = table.columns.values().map(|column| column.place).collect();
        use Place::*;
        assert_eq!(places, [Partition(0), Partition(1), ClusteringDescending(0), Regular]);
        assert_eq!(table.columns["d"].cql_type, "text");
    }

    #[test]
    fn marked_lines_count_where_they_should() {
        let text = "-- a comment; with a semicolon\nCREATE a\n--tablets AND b\n;\nCREATE c;";
        assert_eq!(statements(text, None), ["CREATE a", "CREATE c"]);
        assert_eq!(statements(text, Some("--tablets")), ["CREATE a\n AND b", "CREATE c"]);
    }
}
