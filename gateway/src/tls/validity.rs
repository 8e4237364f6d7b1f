//! Until when a certificate is good: the one field of it that an operator must not miss.

use x509_parser::prelude::{FromDer, X509Certificate};

/// From when to when, in seconds since 1970; nothing where it is no certificate (RFC 5280, 4.1), or one of before 1970.
pub(super) fn of(certificate: &[u8]) -> Option<(u64, u64)> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let validity = certificate.validity();
    let seconds = |timestamp: i64| u64::try_from(timestamp).ok();
    Some((seconds(validity.not_before.timestamp())?, seconds(validity.not_after.timestamp())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    #[test]
    fn is_read_from_either_form_of_time() {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2024, 2, 29);
        // From 2050 on, years have four digits.
        params.not_after = date_time_ymd(2051, 3, 1);
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        // `date -u -d 2024-02-29 +%s` and `date -u -d 2051-03-01 +%s`.
        assert_eq!(of(made.der()), Some((1_709_164_800, 2_561_241_600)));
    }

    #[test]
    fn is_in_no_part_of_a_certificate() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let whole = made.cert.der().to_vec();
        assert!(of(&whole).is_some());
        for len in 0..whole.len() {
            assert_eq!(of(&whole[..len]), None);
        }
    }
}
