//! A token must name a user and an end, and its times, its audience and its issuer must fit; each refusal
//! says which does not.

mod tokens;

use carillon_gateway::auth::{Claims, Expected, Refusal};
use serde_json::{Value, json};
use tokens::{NOW_S, claims, hs256, keys, keys_expecting};

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().expect("claims are an object").remove(name);
    claims
}

fn verify(claims: &Value) -> Result<Claims, Refusal> {
    keys().verify(&hs256(claims), NOW_S)
}

#[test]
fn sub_is_a_user_id_as_number_or_string() {
    const MAX: u64 = (1 << 53) - 1;
    for (sub, user) in [(json!(7), 7), (json!("7"), 7), (json!(MAX), MAX), (json!(MAX.to_string()), MAX)] {
        assert_eq!(verify(&with("sub", sub)).unwrap().user.get(), user);
    }
}

#[test]
fn sub_is_refused_where_it_is_no_user_id() {
    let wrong = [
        json!(0),
        json!("0"),
        json!(-1),
        json!(1.5),
        json!(1u64 << 53),
        json!((1u64 << 53).to_string()),
        json!("+7"),
        json!("007"),
        json!(" 7"),
        json!("7 "),
        json!(""),
        json!("alice"),
        json!("१"),
        json!("99999999999999999999"),
        json!(true),
        json!([7]),
        json!({"id": 7}),
    ];
    for sub in wrong {
        assert_eq!(verify(&with("sub", sub.clone())), Err(Refusal::Subject), "{sub}");
    }
    assert_eq!(verify(&without("sub")), Err(Refusal::ClaimMissing("sub")));
    assert_eq!(verify(&with("sub", Value::Null)), Err(Refusal::ClaimMissing("sub")));
}

#[test]
fn a_token_without_an_end_is_refused() {
    assert_eq!(verify(&without("exp")), Err(Refusal::ClaimMissing("exp")));
    for exp in [json!("soon"), json!(true), json!([1])] {
        assert_eq!(verify(&with("exp", exp)), Err(Refusal::NotATime("exp")));
    }
}

#[test]
fn it_ends_at_exp_plus_leeway() {
    let keys = keys_expecting(Expected { leeway_s: 30, ..Expected::default() });
    let token = hs256(&claims());
    assert_eq!(keys.verify(&token, NOW_S + 89).unwrap().expires_s, NOW_S + 60);
    assert_eq!(keys.verify(&token, NOW_S + 90), Err(Refusal::Expired(30)));
    assert_eq!(keys.verify(&token, u64::MAX), Err(Refusal::Expired(u64::MAX - NOW_S - 60)));
}

#[test]
fn it_begins_at_nbf_less_leeway() {
    let keys = keys_expecting(Expected { leeway_s: 30, ..Expected::default() });
    let token = hs256(&with("nbf", json!(NOW_S)));
    assert!(keys.verify(&token, NOW_S - 30).is_ok());
    assert_eq!(keys.verify(&token, NOW_S - 31), Err(Refusal::NotYet(31)));
    assert_eq!(verify(&with("nbf", json!("now"))), Err(Refusal::NotATime("nbf")));
}

#[test]
fn times_may_have_fractions_and_any_size() {
    assert_eq!(verify(&with("exp", json!(NOW_S as f64 + 1.9))).unwrap().expires_s, NOW_S + 1);
    assert_eq!(verify(&with("exp", json!(-1))), Err(Refusal::Expired(NOW_S)));
    for exp in [json!(u64::MAX), json!(1e300)] {
        let expires_s = verify(&with("exp", exp)).unwrap().expires_s;
        assert!(expires_s * 1000 < 1 << 53, "milliseconds must stay exact in JSON");
    }
}

#[test]
fn aud_must_name_the_audience_where_one_is_set() {
    let keys = keys_expecting(Expected { audience: Some("chat".into()), ..Expected::default() });
    let verify = |claims| keys.verify(&hs256(&claims), NOW_S);
    assert!(verify(with("aud", json!("chat"))).is_ok());
    assert!(verify(with("aud", json!(["mail", "chat"]))).is_ok());
    for aud in
        [json!("mail"), json!(["mail"]), json!([]), json!(""), json!("Chat"), json!(7), json!({"chat": 1})]
    {
        assert_eq!(verify(with("aud", aud)), Err(Refusal::Audience));
    }
    assert_eq!(verify(claims()), Err(Refusal::ClaimMissing("aud")));
}

#[test]
fn iss_must_be_the_issuer_where_one_is_set() {
    let keys =
        keys_expecting(Expected { issuer: Some("https://login.example".into()), ..Expected::default() });
    let verify = |claims| keys.verify(&hs256(&claims), NOW_S);
    assert!(verify(with("iss", json!("https://login.example"))).is_ok());
    for iss in [json!("https://login.example/"), json!("other"), json!(["https://login.example"]), json!(1)] {
        assert_eq!(verify(with("iss", iss)), Err(Refusal::Issuer));
    }
    assert_eq!(verify(claims()), Err(Refusal::ClaimMissing("iss")));
}

#[test]
fn aud_and_iss_are_not_looked_at_where_none_is_set() {
    assert!(verify(&with("aud", json!("anything"))).is_ok());
    assert!(verify(&with("iss", json!(["anyone"]))).is_ok());
}

#[test]
fn a_refusal_says_what_is_wrong() {
    assert_eq!(verify(&without("exp")).unwrap_err().to_string(), "the token has no \"exp\"");
    assert_eq!(
        verify(&with("exp", json!(NOW_S - 9))).unwrap_err().to_string(),
        "the token expired 9 seconds ago"
    );
}
