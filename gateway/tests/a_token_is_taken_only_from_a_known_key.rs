//! Only a token that a configured key signed, with that key's own algorithm, opens a session; and whatever
//! else comes is refused with a code and a sentence, never a panic.

mod tokens;

use carillon_gateway::auth::{Expected, Keys, Refusal, TOKEN_BYTES_MAX};
use carillon_protocol::{CloseCode, ErrorCode, UserId};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use proptest::prelude::*;
use serde_json::json;
use tokens::{Ed25519, NOW_S, OTHER_SECRET, SECRET, base64url, claims, hs256, keys, signed};

#[test]
fn a_token_signed_with_the_secret_is_good() {
    let good = keys().verify(&hs256(&claims()), NOW_S).unwrap();
    assert_eq!(good.user, UserId::new(42).unwrap());
    assert_eq!(good.expires_s, NOW_S + 60);
}

#[test]
fn a_token_signed_with_the_private_half_is_good() {
    let pair = Ed25519::generate();
    let mut keys = Keys::new(Expected::default());
    keys.add_public("login", pair.public_pem().as_bytes()).unwrap();
    assert_eq!(keys.verify(&pair.sign(&claims()), NOW_S).unwrap().user.get(), 42);
    assert_eq!(keys.verify(&Ed25519::generate().sign(&claims()), NOW_S), Err(Refusal::Signature));
}

#[test]
fn a_token_made_here_is_good_here() {
    let mut keys = Keys::new(Expected {
        audience: Some("chat".into()),
        issuer: Some("https://login.example".into()),
        leeway_s: 0,
    });
    keys.add_secret("first", SECRET).unwrap();
    let user = UserId::MAX;
    let token = keys.mint(user, 60, NOW_S).unwrap();
    assert_eq!(keys.verify(&token, NOW_S + 59).unwrap().user, user);
    assert_eq!(keys.verify(&token, NOW_S + 60), Err(Refusal::Expired(0)));
}

#[test]
fn another_key_is_refused() {
    let token = signed(&Header::new(Algorithm::HS256), &claims(), &EncodingKey::from_secret(OTHER_SECRET));
    assert_eq!(keys().verify(&token, NOW_S), Err(Refusal::Signature));
}

#[test]
fn all_keys_of_the_algorithm_are_tried_where_none_is_named() {
    let mut keys = Keys::new(Expected::default());
    keys.add_secret("old", OTHER_SECRET).unwrap();
    keys.add_secret("new", SECRET).unwrap();
    assert!(keys.verify(&hs256(&claims()), NOW_S).is_ok());
}

#[test]
fn only_the_named_key_is_tried() {
    let mut keys = Keys::new(Expected::default());
    keys.add_secret("old", OTHER_SECRET).unwrap();
    keys.add_secret("new", SECRET).unwrap();
    let naming = |kid: &str| {
        let header = Header { kid: Some(kid.into()), ..Header::new(Algorithm::HS256) };
        signed(&header, &claims(), &EncodingKey::from_secret(SECRET))
    };
    assert!(keys.verify(&naming("new"), NOW_S).is_ok());
    assert_eq!(keys.verify(&naming("old"), NOW_S), Err(Refusal::Signature));
    assert_eq!(keys.verify(&naming("none"), NOW_S), Err(Refusal::UnknownKey));
}

#[test]
fn an_unsigned_token_is_refused() {
    for alg in ["none", "None", "NONE", ""] {
        let head = base64url(json!({"typ": "JWT", "alg": alg}).to_string());
        let body = base64url(claims().to_string());
        assert_eq!(keys().verify(&format!("{head}.{body}."), NOW_S), Err(Refusal::NotAToken));
    }
}

#[test]
fn the_signature_of_a_good_token_does_not_carry_other_claims() {
    let token = hs256(&claims());
    let (head, signature) = (token.split('.').next().unwrap(), token.rsplit('.').next().unwrap());
    let mut other = claims();
    other["sub"] = json!("43");
    let forged = format!("{head}.{}.{signature}", base64url(other.to_string()));
    assert_eq!(keys().verify(&forged, NOW_S), Err(Refusal::Signature));
    assert_eq!(
        keys().verify(&format!("{head}.{}.", base64url(other.to_string())), NOW_S),
        Err(Refusal::Signature)
    );
}

#[test]
fn a_public_key_is_never_taken_for_a_shared_secret() {
    let pair = Ed25519::generate();
    let mut keys = Keys::new(Expected::default());
    keys.add_public("login", pair.public_pem().as_bytes()).unwrap();
    let pem = pair.public_pem();
    for secret in [pair.public_bytes(), pem.as_bytes(), pem.trim_end().as_bytes()] {
        let token = signed(&Header::new(Algorithm::HS256), &claims(), &EncodingKey::from_secret(secret));
        assert_eq!(keys.verify(&token, NOW_S), Err(Refusal::Algorithm));
        // The same beside a real secret, where HS256 as such is accepted.
        let mut both = self::keys();
        both.add_public("login", pem.as_bytes()).unwrap();
        assert_eq!(both.verify(&token, NOW_S), Err(Refusal::Signature));
    }
}

#[test]
fn another_algorithm_of_the_same_family_is_refused() {
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        let token = signed(&Header::new(algorithm), &claims(), &EncodingKey::from_secret(SECRET));
        assert_eq!(keys().verify(&token, NOW_S), Err(Refusal::Algorithm));
    }
}

#[test]
fn an_extension_that_must_be_understood_is_refused() {
    let header = Header { crit: Some(vec!["b64".into()]), ..Header::new(Algorithm::HS256) };
    let token = signed(&header, &claims(), &EncodingKey::from_secret(SECRET));
    assert_eq!(keys().verify(&token, NOW_S), Err(Refusal::Extension));
}

#[test]
fn without_keys_every_token_is_refused() {
    assert_eq!(Keys::new(Expected::default()).verify(&hs256(&claims()), NOW_S), Err(Refusal::Algorithm));
}

#[test]
fn a_missing_and_an_endless_token_are_refused() {
    assert_eq!(keys().verify("", NOW_S), Err(Refusal::Missing));
    let mut endless = claims();
    endless["padding"] = json!("x".repeat(TOKEN_BYTES_MAX));
    assert_eq!(keys().verify(&hs256(&endless), NOW_S), Err(Refusal::TooLong));
}

#[test]
fn claims_that_are_no_object_are_refused() {
    for body in
        ["", "null", "42", "\"x\"", "[]", "{", "{\"exp\":1}x", "{\"sub\":\"1\",\"sub\":\"2\",\"exp\":9}"]
    {
        assert_eq!(
            keys().verify(&tokens::hs256_raw(body.as_bytes()), NOW_S),
            Err(Refusal::NotAToken),
            "{body}"
        );
    }
    let deep = format!("{{\"sub\":{}1{}}}", "[".repeat(2_000), "]".repeat(2_000));
    assert_eq!(keys().verify(&tokens::hs256_raw(deep.as_bytes()), NOW_S), Err(Refusal::NotAToken));
    assert_eq!(keys().verify(&tokens::hs256_raw(b"{\"sub\":\"\xff\"}"), NOW_S), Err(Refusal::NotAToken));
}

#[test]
fn garbage_of_every_size_is_refused() {
    let keys = keys();
    for len in 1..=512 {
        for text in [
            "a".repeat(len),
            ".".repeat(len),
            "=".repeat(len),
            "é".repeat(len),
            format!("{}.a.b", "e30".repeat(len)),
        ] {
            assert_eq!(keys.verify(&text, NOW_S), Err(Refusal::NotAToken));
        }
    }
}

#[test]
fn a_good_token_cut_or_changed_anywhere_is_refused() {
    let (keys, token) = (keys(), hs256(&claims()));
    for at in 0..token.len() {
        assert!(keys.verify(&token[..at], NOW_S).is_err());
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(keys.verify(&changed, NOW_S).is_err(), "changed at {at}");
    }
}

#[test]
fn only_an_expired_token_has_the_code_that_asks_for_a_fresh_one() {
    assert_eq!(Refusal::Expired(1).error_code(), ErrorCode::TOKEN_EXPIRED);
    assert_eq!(Refusal::Expired(1).close_code(), CloseCode::TOKEN_EXPIRED);
    for other in [Refusal::Missing, Refusal::Signature, Refusal::NotYet(1), Refusal::Audience] {
        assert_eq!(other.error_code(), ErrorCode::TOKEN_INVALID);
        assert_eq!(other.close_code(), CloseCode::UNAUTHORIZED);
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_or_is_taken(text in ".{0,300}", now_s: u64) {
        prop_assert!(keys().verify(&text, now_s).is_err());
    }

    #[test]
    fn no_header_and_no_claims_make_it_panic(head in any::<Vec<u8>>(), body in any::<Vec<u8>>(), now_s: u64) {
        let _ = keys().verify(&format!("{}.{}.e30", base64url(&head), base64url(&body)), now_s);
        prop_assert!(keys().verify(&tokens::hs256_raw(&body), now_s).is_err());
    }

    #[test]
    fn no_time_makes_it_panic(exp: u64, nbf: f64, now_s: u64, leeway_s in 0..=3_600u64) {
        let mut keys = Keys::new(Expected { leeway_s, ..Expected::default() });
        keys.add_secret("k", SECRET).unwrap();
        let _ = keys.verify(&hs256(&json!({"sub": "1", "exp": exp, "nbf": nbf})), now_s);
    }
}
