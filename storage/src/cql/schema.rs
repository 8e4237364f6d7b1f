//! `schema.cql`: printed, applied, and compared with what is there.

use std::collections::BTreeMap;
use std::time::Duration;

use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::serialize::row::SerializeRow;
use scylla::statement::unprepared::Statement;

use super::tables::{Column, Place, Table, Tables, statements, table};
use super::{CqlConfig, connect};
use crate::{StoreError, StoreResult};

const TEXT: &str = include_str!("../../../schema.cql");
/// The keyspace in it.
const KEYSPACE: &str = "carillon";
/// The replicas in it.
const REPLICAS: &str = "'replication_factor': 1}";
/// What begins a line for servers that know tablets.
const TABLETS: &str = "--tablets";
/// How long making a table may take.
const APPLY_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest name of a keyspace is 48; ours has a second one, with `_counters` behind it.
const NAME_MAX: usize = 48 - "_counters".len();

/// The one definition, for a keyspace and a number of replicas.
pub struct Schema {
    text: String,
    keyspace: String,
}

impl Schema {
    /// For these; fails where the keyspace cannot have that name.
    pub fn new(keyspace: &str, replicas: u16) -> StoreResult<Self> {
        if !is_keyspace_name(keyspace) {
            return Err(StoreError::Refused(format!(
                "a keyspace cannot be called `{keyspace}`: up to {NAME_MAX} small letters, digits and _, a letter first"
            )));
        }
        let replicas = format!("'replication_factor': {replicas}}}");
        let mut text = TEXT.replace(REPLICAS, &replicas);
        for (before, after) in [(".", "."), ("_counters", "_counters"), ("\n", "\n")] {
            text = text.replace(&format!("EXISTS {KEYSPACE}{before}"), &format!("EXISTS {keyspace}{after}"));
        }
        Ok(Self { text, keyspace: keyspace.to_owned() })
    }

    /// The text, with its comments.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn tables(&self) -> Tables {
        statements(&self.text, None).iter().filter_map(|statement| table(statement)).collect()
    }

    fn keyspaces(&self) -> [String; 2] {
        [self.keyspace.clone(), format!("{}_counters", self.keyspace)]
    }
}

/// Whether a keyspace can be called so: the counters' is called the same with `_counters` behind it.
pub fn is_keyspace_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Makes what is missing: keyspaces, tables, columns. Repeating it changes nothing. Fails where something is there and is
/// different, for that cannot be mended without moving data.
pub async fn apply(config: &CqlConfig, replicas: u16) -> StoreResult<()> {
    let schema = Schema::new(&config.keyspace, replicas)?;
    let session = connect::connect(config).await?;
    let marker = knows_tablets(&session).await?.then_some(TABLETS);
    for statement in statements(&schema.text, marker) {
        run(&session, statement).await?;
    }
    let there = read(&session, &schema.keyspaces()).await?;
    for (name, wanted) in schema.tables() {
        let missing = there.get(&name).map(|table| missing_columns(table, &wanted)).unwrap_or_default();
        for (column, cql_type) in missing {
            run(&session, format!("ALTER TABLE {}.{} ADD {column} {cql_type}", name.0, name.1)).await?;
        }
    }
    check_session(&session, &schema).await
}

/// Says what differs between the definition and what is there, if anything does.
pub async fn check(config: &CqlConfig) -> StoreResult<()> {
    let schema = Schema::new(&config.keyspace, 1)?;
    check_session(&connect::connect(config).await?, &schema).await
}

pub(super) async fn check_session(session: &Session, schema: &Schema) -> StoreResult<()> {
    let there = read(session, &schema.keyspaces()).await?;
    for (name, wanted) in schema.tables() {
        if let Some(difference) = difference(&name, there.get(&name), &wanted) {
            return Err(StoreError::Refused(difference));
        }
    }
    Ok(())
}

/// One sentence on the first thing that is not as it should be. What is there beside it does not matter.
fn difference((keyspace, name): &(String, String), there: Option<&Table>, wanted: &Table) -> Option<String> {
    const APPLY: &str = "run `carillon schema apply`";
    let Some(there) = there else { return Some(format!("there is no table {keyspace}.{name}; {APPLY}")) };
    for (column, wanted) in &wanted.columns {
        let Some(found) = there.columns.get(column) else {
            return Some(format!("the table {keyspace}.{name} has no column {column}; {APPLY}"));
        };
        let (is, should_be) = match () {
            () if found.cql_type != wanted.cql_type => (found.cql_type.clone(), wanted.cql_type.clone()),
            () if found.place != wanted.place => (found.place.to_string(), wanted.place.to_string()),
            () => continue,
        };
        return Some(format!(
            "the column {column} of the table {keyspace}.{name} is {is} and should be {should_be}: another \
             program's or another version's; choose another keyspace, or move the data"
        ));
    }
    let (is, should_be) = (there.ttl_s, wanted.ttl_s);
    (is != should_be).then(|| {
        format!("the table {keyspace}.{name} has default_time_to_live = {is} and should have {should_be}; alter it")
    })
}

/// Only those that can be added: not keys.
fn missing_columns(there: &Table, wanted: &Table) -> Vec<(String, String)> {
    let missing = wanted
        .columns
        .iter()
        .filter(|(name, column)| column.place == Place::Regular && !there.columns.contains_key(*name));
    missing.map(|(name, column)| (name.clone(), column.cql_type.clone())).collect()
}

async fn run(session: &Session, statement: String) -> StoreResult<()> {
    let shown = statement.lines().next().unwrap_or_default().to_owned();
    let mut statement = Statement::new(statement);
    statement.set_request_timeout(Some(APPLY_TIMEOUT));
    let done = session.query_unpaged(statement, ()).await;
    done.map(drop).map_err(|e| StoreError::Refused(format!("`{shown}`: {e}")))
}

async fn knows_tablets(session: &Session) -> StoreResult<bool> {
    let text = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = 'system' AND table_name = 'tablets'";
    Ok(!rows::<(String,)>(session, text, ()).await?.is_empty())
}

async fn read(session: &Session, keyspaces: &[String]) -> StoreResult<Tables> {
    let mut tables = BTreeMap::new();
    for keyspace in keyspaces {
        let text =
            "SELECT table_name, default_time_to_live FROM system_schema.tables WHERE keyspace_name = ?";
        for (name, ttl_s) in rows::<(String, Option<i32>)>(session, text, (keyspace,)).await? {
            let table = Table { ttl_s: ttl_s.unwrap_or(0), ..Table::default() };
            tables.insert((keyspace.clone(), name), table);
        }
        let text = "SELECT table_name, column_name, kind, position, type, clustering_order FROM system_schema.columns \
                    WHERE keyspace_name = ?";
        type Row = (String, String, String, i32, String, String);
        for (table, name, kind, position, cql_type, order) in rows::<Row>(session, text, (keyspace,)).await? {
            let place = match (kind.as_str(), order.as_str()) {
                ("partition_key", _) => Place::Partition(position),
                ("clustering", "desc") => Place::ClusteringDescending(position),
                ("clustering", _) => Place::Clustering(position),
                _ => Place::Regular,
            };
            let table: &mut Table = tables.entry((keyspace.clone(), table)).or_default();
            table.columns.insert(name, Column { cql_type, place });
        }
    }
    Ok(tables)
}

async fn rows<R>(session: &Session, text: &str, values: impl SerializeRow) -> StoreResult<Vec<R>>
where
    R: for<'f, 'm> DeserializeRow<'f, 'm>,
{
    let unexpected =
        |e: &dyn std::fmt::Display| StoreError::Unavailable(format!("cannot read the schema: {e}"));
    let result = session.query_unpaged(text, values).await.map_err(|e| unexpected(&e))?;
    let result = result.into_rows_result().map_err(|e| unexpected(&e))?;
    let rows = result.rows::<R>().map_err(|e| unexpected(&e))?;
    rows.collect::<Result<_, _>>().map_err(|e| unexpected(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_whole_and_takes_another_name() {
        let schema = Schema::new("other", 3).unwrap();
        let names: Vec<_> =
            schema.tables().into_keys().map(|(keyspace, name)| format!("{keyspace}.{name}")).collect();
        let expected =
            ["archived", "facts", "members_by_room", "messages", "rooms", "rooms_by_user", "sent_ids"];
        let expected = expected.iter().map(|name| format!("other.{name}"));
        let expected: Vec<_> = expected.chain(["other_counters.room_counters_by_user".to_owned()]).collect();
        assert_eq!(names, expected);
        assert_eq!(statements(schema.text(), None).len(), expected.len() + 2);
        assert_eq!(schema.text().matches("'replication_factor': 3}").count(), 2);
        assert_eq!(schema.text().matches("EXISTS carillon").count(), 0);
        assert_eq!(Schema::new("carillon", 1).unwrap().text(), TEXT);
    }

    #[test]
    fn a_bad_name_is_refused() {
        for name in ["", "1a", "A", "a;b", "a b", &"a".repeat(NAME_MAX + 1)] {
            assert!(matches!(Schema::new(name, 1), Err(StoreError::Refused(_))), "{name}");
        }
    }

    #[test]
    fn a_difference_names_table_and_column() {
        let (name, wanted) = Schema::new("carillon", 1).unwrap().tables().pop_first().unwrap();
        let told = |there: Option<&Table>| difference(&name, there, &wanted).unwrap();
        assert_eq!(difference(&name, Some(&wanted), &wanted), None);
        assert_eq!(told(None), "there is no table carillon.archived; run `carillon schema apply`");
        let mut there = wanted.clone();
        there.columns.remove("position");
        assert!(told(Some(&there)).starts_with("the table carillon.archived has no column position; run"));
        let column = Column { cql_type: "int".into(), place: Place::Regular };
        there.columns.insert("position".into(), column);
        assert!(
            told(Some(&there)).starts_with(
                "the column position of the table carillon.archived is int and should be bigint"
            )
        );
    }
}
