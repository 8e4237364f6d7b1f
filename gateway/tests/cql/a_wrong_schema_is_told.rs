//! Without its tables a node does not start, and says what is missing and what to do; `carillon schema` makes them.

use carillon_devservers::Cql;
use tempfile::TempDir;

use crate::harness::new_keyspace;
use crate::process::{Gateway, complaint_of, run, stdout_of};

#[test]
fn until_it_is_applied() {
    let (server, keyspace, data) = (Cql::shared().unwrap(), new_keyspace(), TempDir::new().unwrap());
    let flags = ["--cql", &server, "--cql-keyspace", &keyspace];
    let schema = |task| run(&[&["schema", task][..], &flags].concat());
    let missing =
        format!("the store refuses: there is no table {keyspace}.archived; run `carillon schema apply`");
    assert_eq!(complaint_of(schema("check"), 1), missing);
    let serve =
        ["serve", "--listen", "127.0.0.1:0", "--store", "cql", "--data", data.path().to_str().unwrap()];
    assert_eq!(complaint_of(run(&[&serve[..], &flags].concat()), 1), missing);

    for task in ["apply", "apply", "check"] {
        assert_eq!(
            stdout_of(schema(task)),
            format!("The tables of keyspace {keyspace} are as they should be.\n")
        );
    }
    let gateway = Gateway::start_with(&data, &[&["--store", "cql"][..], &flags].concat());
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let nobody = run(&["schema", "check", "--cql", "127.0.0.1:1"]);
    assert!(complaint_of(nobody, 1).contains("no CQL server answers at 127.0.0.1:1"));
    assert!(complaint_of(run(&["schema", "check"]), 1).contains("set cql to the address of one"));
}

#[test]
fn it_is_printed_for_any_keyspace() {
    let printed = stdout_of(run(&["schema", "print", "--cql-keyspace", "chat", "--replicas", "3"]));
    assert!(printed.contains("CREATE TABLE IF NOT EXISTS chat.messages ("), "{printed}");
    assert!(printed.contains("'replication_factor': 3}"), "{printed}");
    let as_it_is = stdout_of(run(&["schema", "print"]));
    assert_eq!(as_it_is, include_str!("../../../schema.cql"));
}
