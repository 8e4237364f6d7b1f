//! The certificate a node shows: read, checked against its key and the clock, and refused with a line that says what to do.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::InconsistentKeys;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::validity;

const DAY_S: u64 = 24 * 3600;

/// Days before its end from which on a certificate is warned of.
pub const WARNED_DAYS: u64 = 14;

/// A certificate that can be shown, with its key.
pub struct Certificate {
    /// The chain and the key.
    pub key: Arc<CertifiedKey>,
    /// Whole days for which it is still good.
    pub days_left: u64,
}

/// Why a certificate cannot be shown. Its text is one line.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}; tls_certificate and tls_key name files in PEM", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file has no certificate.
    #[error("there is no certificate in {} (tls_certificate): it must hold PEM, the node's own first", .0.display())]
    NoCertificate(PathBuf),
    /// The file has no key.
    #[error("there is no private key in {} (tls_key): it must hold PEM, not encrypted", .0.display())]
    NoKey(PathBuf),
    /// The key belongs to another certificate.
    #[error("the key in {} (tls_key) is not that of the certificate in {} (tls_certificate)", key.display(), certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// It is of a kind that is not known here.
    #[error("the certificate in {} cannot be used: {what}", path.display())]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Its time is over.
    #[error("the certificate in {} expired {}; clients would refuse it", path.display(), ago(*days))]
    Expired {
        /// The certificate's file.
        path: PathBuf,
        /// Whole days ago.
        days: u64,
    },
    /// Its time has not come.
    #[error("the certificate in {} is good only in {days} days; is this machine's clock right?", path.display())]
    Early {
        /// The certificate's file.
        path: PathBuf,
        /// Days until it is, a begun one counted.
        days: u64,
    },
}

fn ago(days: u64) -> String {
    match days {
        0 => "today".to_owned(),
        1 => "yesterday".to_owned(),
        days => format!("{days} days ago"),
    }
}

impl Certificate {
    /// Reads a chain (the node's own first) and its key, and checks that they can be shown now.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, CertificateError> {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self::read_at(certificate, key, now_s)
    }

    fn read_at(certificate: &Path, key: &Path, now_s: u64) -> Result<Self, CertificateError> {
        let chain = read_chain(certificate)?;
        let path = certificate.to_owned();
        let Some((from_s, until_s)) = validity::of(&chain[0]) else {
            return Err(CertificateError::Unusable { path, what: "it is not whole".to_owned() });
        };
        let key = certified(chain, certificate, key)?;
        if now_s > until_s {
            return Err(CertificateError::Expired { path, days: (now_s - until_s) / DAY_S });
        }
        if now_s < from_s {
            return Err(CertificateError::Early { path, days: (from_s - now_s).div_ceil(DAY_S) });
        }
        Ok(Self { key: Arc::new(key), days_left: (until_s - now_s) / DAY_S })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    fs::read(path).map_err(|source| CertificateError::Unreadable { path: path.to_owned(), source })
}

/// At least one certificate.
fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let pem = read(path)?;
    match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err(CertificateError::NoCertificate(path.to_owned())),
    }
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    path: &Path,
    key_path: &Path,
) -> Result<CertifiedKey, CertificateError> {
    let key = PrivateKeyDer::from_pem_slice(&read(key_path)?)
        .map_err(|_| CertificateError::NoKey(key_path.to_owned()))?;
    CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            CertificateError::Mismatch { certificate: path.to_owned(), key: key_path.to_owned() }
        }
        error => CertificateError::Unusable { path: path.to_owned(), what: error.to_string() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    /// 2026-01-01, and a certificate that is good for that year.
    const NEW_YEAR_S: u64 = 1_767_225_600;

    fn read_on(day: u64) -> Result<u64, String> {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let pair = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2027, 1, 1));
        fs::write(&certificate, params.self_signed(&pair).unwrap().pem()).unwrap();
        fs::write(&key, pair.serialize_pem()).unwrap();
        let read = Certificate::read_at(&certificate, &key, NEW_YEAR_S - 10 * DAY_S + day * DAY_S);
        let folder = format!("{}/", folder.path().display());
        read.map(|read| read.days_left).map_err(|error| error.to_string().replace(&folder, ""))
    }

    #[test]
    fn it_is_good_from_its_first_day_to_its_last() {
        assert_eq!(read_on(10), Ok(365));
        assert_eq!(read_on(10 + 364), Ok(1));
        assert_eq!(
            read_on(7).unwrap_err(),
            "the certificate in cert.pem is good only in 3 days; is this machine's clock right?"
        );
        let expired = "the certificate in cert.pem expired 3 days ago; clients would refuse it";
        assert_eq!(read_on(10 + 365 + 3).unwrap_err(), expired);
    }
}
