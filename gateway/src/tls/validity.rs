//! Until when a certificate is good: the one field of it that an operator must not miss.
//!
//! ```text
//! Certificate = SEQUENCE { tbs = SEQUENCE { [0] version?, serial, algorithm, issuer, SEQUENCE { from, until }, … }, … }
//! ```

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// From when to when, in seconds since 1970; nothing where it is no certificate (RFC 5280, 4.1).
pub(super) fn of(certificate: &[u8]) -> Option<(u64, u64)> {
    let mut certificate = Der(certificate).inside(SEQUENCE)?;
    let mut signed = certificate.inside(SEQUENCE)?;
    if signed.0.first() == Some(&VERSION) {
        signed.next()?;
    }
    // The serial number, the signature's algorithm, the issuer.
    (0..3).try_for_each(|_| signed.next().map(drop))?;
    let mut validity = signed.inside(SEQUENCE)?;
    Some((time(validity.next()?)?, time(validity.next()?)?))
}

/// Values in DER, one after another.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next value: its tag and its content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut len = usize::from(first);
        if first >= 0x80 {
            let digits;
            (digits, rest) =
                rest.split_at_checked(usize::from(first & 0x7f)).filter(|(it, _)| it.len() <= 4)?;
            len = digits.iter().fold(0, |len, &digit| len << 8 | usize::from(digit));
        }
        let (content, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// What the next value holds, if it has that tag.
    fn inside(&mut self, tag: u8) -> Option<Der<'a>> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| Der(content))
    }
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`.
fn time((tag, text): (u8, &[u8])) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z').filter(|text| text.is_ascii())?;
    let (year, rest) = text.split_at_checked(text.len().checked_sub(10)?)?;
    let year = match (tag, year.len(), year.parse::<u64>().ok()?) {
        (UTC_TIME, 2, year) => year + if year < 50 { 2000 } else { 1900 },
        (GENERALIZED_TIME, 4, year) => year,
        _ => return None,
    };
    let two = |at: usize| rest.get(at..at + 2)?.parse::<u64>().ok();
    let (month, day) = (two(0)?, two(2)?);
    let days = days_before(year, month)?.checked_add(day.checked_sub(1)?)?;
    Some(((days * 24 + two(4)?) * 60 + two(6)?) * 60 + two(8)?)
}

/// Days from 1970 to the first of that month.
fn days_before(year: u64, month: u64) -> Option<u64> {
    const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let before = BEFORE.get(usize::try_from(month.checked_sub(1)?).ok()?)?;
    // February's 29th counts from March on.
    let years = if month > 2 { year + 1 } else { year };
    let leaps = |years: u64| (years - 1) / 4 - (years - 1) / 100 + (years - 1) / 400;
    Some(year.checked_sub(1970)? * 365 + leaps(years) - leaps(1970) + before)
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

    #[test]
    fn times_that_are_none_are_none() {
        assert_eq!(time((UTC_TIME, b"700101000001Z")), Some(1));
        assert_eq!(time((GENERALIZED_TIME, b"20001231235959Z")), Some(978_307_199));
        for bad in
            [&b"Z"[..], b"", b"7001010000Z", b"701301000000Z", b"700100000000Z", b"690101000000Z", b"\xff"]
        {
            assert_eq!(time((UTC_TIME, bad)), None, "{bad:?}");
        }
    }
}
