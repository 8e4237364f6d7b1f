//! Any bytes as a request: granted, waited for within its bound, or refused with an answer that is HTTP; and what was
//! said of a head does not change with what follows it.
#![no_main]

use carillon_gateway::transport::http::{Asked, HEAD_BYTES_MAX, parse, write_upgrade};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match parse(bytes, &[]) {
        Ok(Some(Asked::Upgrade(upgrade))) => {
            assert!(upgrade.head_bytes <= bytes.len().min(HEAD_BYTES_MAX));
            let mut answer = Vec::new();
            write_upgrade(&mut answer, &upgrade);
            check_answer(&answer, 101);
            let head = &bytes[..upgrade.head_bytes];
            assert_eq!(parse(head, &[]), Ok(Some(Asked::Upgrade(upgrade))));
            assert_eq!(parse(&head[..head.len() - 1], &[]), Ok(None), "it was whole too early");
        }
        Ok(Some(Asked::Get { target, .. })) => assert!(target.len() < HEAD_BYTES_MAX),
        Ok(None) => assert!(bytes.len() <= HEAD_BYTES_MAX),
        Err(refusal) => check_answer(&refusal.response(), refusal.status),
    }
});

/// A head of an answer with that status, and no more headers than there are.
fn check_answer(answer: &[u8], status: u16) {
    let answer = std::str::from_utf8(answer).expect("answers are text");
    let (head, _) = answer.split_once("\r\n\r\n").expect("a head ends");
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    assert!(first.starts_with(&format!("HTTP/1.1 {status} ")) && first.len() > 13, "{first}");
    assert!(lines.all(|line| line.contains(": ")), "{head}");
}
