//! By what a client knows its gateway over TLS.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};

use crate::{Error, Result};

/// Whom to expect, and who must vouch for them.
#[derive(Clone)]
pub(crate) struct Trust {
    /// The gateway's name, as its certificate must have it.
    pub(crate) name: ServerName<'static>,
    /// How hands are shaken. It keeps the tickets by which a later connection is made faster.
    pub(crate) config: Arc<ClientConfig>,
}

impl Trust {
    /// Expects `host`, vouched for by one of the `trusted` (PEM) or, where there are none, by whom the system trusts.
    pub(crate) fn new(host: &str, trusted: &[Vec<u8>]) -> Result<Self> {
        // A URL has an IPv6 address in brackets, a certificate has not.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| Error::Certificates(format!("none can be for `{host}`")))?;
        let roots = if trusted.is_empty() { system_roots()? } else { given_roots(trusted)? };
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(unusable)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { name, config: Arc::new(config) })
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("name", &self.name).finish_non_exhaustive()
    }
}

fn system_roots() -> Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Old stores hold some that nobody can read; the others serve.
    roots.add_parsable_certificates(found.certs);
    match (roots.is_empty(), found.errors.first()) {
        (false, _) => Ok(roots),
        (true, Some(error)) => Err(unusable(error)),
        (true, None) => Err(unusable("this system has none; give some (`trust_pem`)")),
    }
}

fn given_roots(trusted: &[Vec<u8>]) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for pem in trusted {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.map_err(unusable)?).map_err(unusable)?;
        }
    }
    if roots.is_empty() {
        return Err(unusable("what was given holds none in PEM"));
    }
    Ok(roots)
}

fn unusable(error: impl fmt::Display) -> Error {
    Error::Certificates(error.to_string())
}
