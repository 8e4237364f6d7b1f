//! Connecting: addresses, login, TLS, and how every request is made unless it says otherwise.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::Consistency as CqlConsistency;
use tokio::runtime::{Builder, Runtime};

use super::{Consistency, CqlConfig, THREADS};
use crate::{StoreError, StoreResult};

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn runtime() -> StoreResult<Runtime> {
    let runtime = Builder::new_multi_thread().worker_threads(THREADS).thread_name("cql").enable_all().build();
    runtime.map_err(|e| StoreError::Unavailable(format!("no threads for the driver: {e}")))
}

pub(super) async fn connect(config: &CqlConfig) -> StoreResult<Session> {
    if config.contact_points.is_empty() {
        return Err(StoreError::Refused("no CQL server is named; set cql to the address of one".into()));
    }
    let profile = ExecutionProfile::builder()
        .consistency(consistency(config.consistency))
        .request_timeout(Some(config.timeout))
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&config.contact_points)
        .connection_timeout(CONNECT_TIMEOUT)
        // Without the keyspaces' replication the driver cannot tell which server has a partition.
        .keyspaces_to_fetch([config.keyspace.clone(), format!("{}_counters", config.keyspace)])
        .fetch_full_schema_metadata(false)
        .default_execution_profile_handle(profile.into_handle());
    if let Some(datacenter) = &config.datacenter {
        builder = builder.prefer_datacenter(datacenter.clone());
    }
    if let Some((user, password)) = &config.login {
        builder = builder.user(user, password);
    }
    if let Some(path) = &config.tls_ca {
        builder = builder.tls_context(Some(Arc::new(tls(path)?)));
    }
    let session = builder.build().await;
    session.map_err(|e| {
        StoreError::Unavailable(format!("no CQL server answers at {}: {e}", config.contact_points.join(", ")))
    })
}

fn consistency(wanted: Consistency) -> CqlConsistency {
    match wanted {
        Consistency::One => CqlConsistency::One,
        Consistency::LocalOne => CqlConsistency::LocalOne,
        Consistency::Quorum => CqlConsistency::Quorum,
        Consistency::LocalQuorum => CqlConsistency::LocalQuorum,
        Consistency::All => CqlConsistency::All,
    }
}

fn tls(path: &Path) -> StoreResult<ClientConfig> {
    let refused = |what: String| StoreError::Refused(format!("{}: {what}", path.display()));
    let file = File::open(path).map_err(|e| refused(e.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_reader_iter(BufReader::new(file)) {
        let certificate = certificate.map_err(|e| refused(e.to_string()))?;
        roots.add(certificate).map_err(|e| refused(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(refused("there is no certificate in it".into()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| refused(e.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
