//! A gateway that could not show its certificate says why in one line, and does not start.
#![allow(clippy::unwrap_used, reason = "a test panics where its fact does not hold")]

mod process;

use std::fs;
use std::path::Path;

use process::{Gateway, complaint_of, run};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tempfile::TempDir;

/// A folder with `cert.pem` and `key.pem`, good until the end of that year.
fn certificate(last_year: i32) -> TempDir {
    let folder = TempDir::new().unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(last_year, 12, 31));
    fs::write(folder.path().join("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
    folder
}

fn flags(certificate: &Path, key: &Path) -> [String; 3] {
    [
        "--tls-listen=127.0.0.1:0".to_owned(),
        format!("--tls-certificate={}", certificate.display()),
        format!("--tls-key={}", key.display()),
    ]
}

fn complaint(certificate: &Path, key: &Path) -> String {
    let data = TempDir::new().unwrap();
    let [listen, certificate, key] = flags(certificate, key);
    let data = data.path().display().to_string();
    complaint_of(run(&["--listen=127.0.0.1:0", "--data", &data, &listen, &certificate, &key]), 1)
}

#[test]
fn a_good_one_is_no_complaint() {
    let (data, files) = (TempDir::new().unwrap(), certificate(2100));
    let [listen, certificate, key] = flags(&files.path().join("cert.pem"), &files.path().join("key.pem"));
    let gateway = Gateway::start_with(&data, &[&listen, &certificate, &key]);
    let address = gateway.said("over TLS on");
    std::net::TcpStream::connect(address).expect("it listens where it says");
    assert_eq!(gateway.said("open"), format!("https://{address}/"));
}

#[test]
fn a_file_that_is_missing_is_named() {
    let files = certificate(2100);
    let (cert, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
    let missing = files.path().join("none.pem");
    let line = format!(
        "cannot read {}: No such file or directory (os error 2); tls_certificate and tls_key name files in PEM",
        missing.display()
    );
    assert_eq!(complaint(&missing, &key), line);
    assert_eq!(complaint(&cert, &missing), line);
}

#[test]
fn a_file_of_something_else_is_named() {
    let files = certificate(2100);
    let (cert, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
    let line = complaint(&key, &key);
    assert!(line.starts_with(&format!("there is no certificate in {}", key.display())), "{line}");
    let line = complaint(&cert, &cert);
    assert!(line.starts_with(&format!("there is no private key in {}", cert.display())), "{line}");
    let half = files.path().join("half.pem");
    fs::write(&half, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let line = complaint(&half, &key);
    assert!(line.contains("half.pem cannot be used"), "{line}");
}

#[test]
fn anothers_key_is_told() {
    let (files, others) = (certificate(2100), certificate(2100));
    let (cert, key) = (files.path().join("cert.pem"), others.path().join("key.pem"));
    let line = format!(
        "the key in {} (tls_key) is not that of the certificate in {} (tls_certificate)",
        key.display(),
        cert.display()
    );
    assert_eq!(complaint(&cert, &key), line);
}

#[test]
fn one_that_has_expired_is_told() {
    let files = certificate(2023);
    let line = complaint(&files.path().join("cert.pem"), &files.path().join("key.pem"));
    assert!(line.contains("cert.pem expired") && line.contains("days ago"), "{line}");
}

#[test]
fn all_three_settings_are_set_or_none() {
    let data = TempDir::new().unwrap();
    let data = format!("--data={}", data.path().display());
    let complaint = |flag| complaint_of(run(&["--listen=127.0.0.1:0", &data, flag]), 1);
    let needs = "TLS needs tls_listen, tls_certificate and tls_key";
    assert_eq!(complaint("--tls-listen=127.0.0.1:0"), format!("tls_certificate is not set: {needs}"));
    assert_eq!(complaint("--tls-key=key.pem"), format!("tls_listen is not set: {needs}"));
}

#[test]
fn a_port_in_use_is_named_with_the_way_to_another() {
    let (data, files) = (TempDir::new().unwrap(), certificate(2100));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let [_, certificate, key] = flags(&files.path().join("cert.pem"), &files.path().join("key.pem"));
    let (data, listen) = (data.path().display().to_string(), format!("--tls-listen={address}"));
    let line = complaint_of(run(&["--listen=127.0.0.1:0", "--data", &data, &listen, &certificate, &key]), 1);
    assert!(line.starts_with(&format!("cannot listen on {address}: the port is in use")), "{line}");
    assert!(line.contains("--tls-listen 127.0.0.1:0"), "{line}");
}
