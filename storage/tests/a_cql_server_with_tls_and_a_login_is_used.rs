//! A server that speaks TLS and asks who is there is used with its certificate and a login; with another certificate or the wrong password it is
//! not, and one line says why.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use carillon_devservers::{Cql as Server, CqlConfig as ServerConfig};
use carillon_storage::{CqlConfig, CqlStore, Store, StoreError, apply_schema};
use harness::*;

const PASSWORD: &str = "changeit";

/// A key in `keys.p12` and its certificate in `ca.pem`, made by the program that comes with Java.
fn make_certificate(folder: &Path) {
    let keytool = |args: &[&str]| {
        let output = Command::new("keytool").args(args).current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let store = ["-keystore", "keys.p12", "-storetype", "PKCS12", "-storepass", PASSWORD, "-alias", "node"];
    let names = ["-dname", "CN=localhost", "-ext", "san=ip:127.0.0.1"];
    keytool(&[&["-genkeypair", "-keyalg", "EC"][..], &store, &names].concat());
    keytool(&[&["-exportcert", "-rfc", "-file", "ca.pem"][..], &store].concat());
}

async fn refusal(config: &CqlConfig) -> String {
    match CqlStore::open(config.clone()).await {
        Ok(_) => panic!("it was let in"),
        Err(error @ (StoreError::Unavailable(_) | StoreError::Refused(_))) => error.to_string(),
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn and_no_other() {
    let (here, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make_certificate(here.path());
    make_certificate(elsewhere.path());
    let keys = here.path().join("keys.p12");
    let yaml = format!(
        "client_encryption_options:\n  enabled: true\n  optional: true\n  keystore: {}\n  keystore_password: {PASSWORD}\n  store_type: PKCS12\n",
        keys.display()
    );
    let server =
        ServerConfig { cassandra: true, cassandra_yaml: yaml, asks_for_login: true, ..Default::default() };
    let server = Server::start_as(&server).unwrap();
    let login = |password: &str| Some(("cassandra".to_owned(), password.to_owned()));
    let config = CqlConfig {
        login: login("cassandra"),
        tls_ca: Some(here.path().join("ca.pem")),
        ..keyspace_at(&server.address())
    };

    // The user is there some seconds after the server.
    for number in 0.. {
        match apply_schema(&config, 1).await {
            Ok(_) => break,
            Err(error) => assert!(number < 120, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let store = CqlStore::open(config.clone()).await.unwrap();
    store.apply(vec![event(room(1), 1)], vec![(0, 1)]).await.unwrap();
    assert_eq!(store.events(room(1), 1, 10, usize::MAX).await.unwrap().len(), 1);

    let told = refusal(&CqlConfig { login: login("carillon"), ..config.clone() }).await;
    assert!(told.contains("and/or password are incorrect") && !told.contains('\n'), "{told}");
    let told = refusal(&CqlConfig { login: None, ..config.clone() }).await;
    assert!(told.to_lowercase().contains("authentication"), "{told}");
    let told = refusal(&CqlConfig { tls_ca: Some(elsewhere.path().join("ca.pem")), ..config }).await;
    assert!(told.to_lowercase().contains("certificate"), "{told}");
}
