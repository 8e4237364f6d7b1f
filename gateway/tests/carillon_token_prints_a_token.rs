//! `$(carillon token --user 42)` is a token that the gateway with the same data folder, or the same secret,
//! accepts.

mod process;

use std::time::{SystemTime, UNIX_EPOCH};

use carillon_gateway::auth::{Claims, Keys, Refusal};
use carillon_gateway::config::Config;
use process::{carillon, complaint_of, run, stdout_of};
use tempfile::TempDir;

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_secs()
}

fn verify(config: &Config, printed: &str) -> Result<Claims, Refusal> {
    let token = printed.strip_suffix('\n').expect("one line");
    Keys::open(config).expect("keys").verify(token, now_s())
}

#[test]
fn a_gateway_with_the_same_data_folder_accepts_it() {
    let data = TempDir::new().unwrap();
    let config = Config { data: data.path().join("data"), ..Config::default() };
    let output = run(&["token", "--user", "42", "--ttl", "2h", "--data", config.data.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("made a development key"), "{output:?}");
    let before_s = now_s();

    let claims = verify(&config, &stdout_of(output)).unwrap();
    assert_eq!(claims.user.get(), 42);
    assert!(claims.expires_s <= now_s() + 2 * 3_600 && claims.expires_s + 60 > before_s + 2 * 3_600);

    let again = run(&["token", "--user", "43", "--data", config.data.to_str().unwrap()]);
    assert!(again.stderr.is_empty(), "the key is there now: {again:?}");
    assert_eq!(verify(&config, &stdout_of(again)).unwrap().user.get(), 43);
}

#[test]
fn it_has_the_audience_and_the_issuer_that_are_set() {
    let data = TempDir::new().unwrap();
    let config = Config {
        data: data.path().to_owned(),
        token_audience: Some("chat".into()),
        token_issuer: Some("me".into()),
        ..Config::default()
    };
    let mut command = carillon(&["token", "--user", "42", "--token-audience", "chat", "--data"]);
    let output = command.arg(data.path()).env("CARILLON_TOKEN_ISSUER", "me").output().unwrap();
    assert_eq!(verify(&config, &stdout_of(output)).unwrap().user.get(), 42);
}

#[test]
fn a_configured_secret_signs_it() {
    let folder = TempDir::new().unwrap();
    let secret = folder.path().join("app.hs256");
    std::fs::write(&secret, "a secret that is long enough to be one\n").unwrap();
    let config = Config { token_keys: vec![secret.clone()], ..Config::default() };
    let printed = stdout_of(run(&["token", "--user", "42", "--token-keys", secret.to_str().unwrap()]));
    assert_eq!(verify(&config, &printed).unwrap().user.get(), 42);
}

#[test]
fn without_a_key_to_sign_with_it_says_so() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let line = complaint_of(run(&["token", "--user", "42", "--data", file.to_str().unwrap()]), 1);
    assert!(line.starts_with("cannot make the development key"), "{line}");
    let line = complaint_of(run(&["token", "--user", "42", "--token-keys", "missing.hs256"]), 1);
    assert!(line.starts_with("cannot read the key missing.hs256"), "{line}");
}

#[test]
fn a_user_or_a_time_that_is_none_is_a_mistake_of_the_caller() {
    for args in [
        ["--user", "0", "--ttl", "1h"],
        ["--user", "alice", "--ttl", "1h"],
        ["--user", "1", "--ttl", "soon"],
        ["--user", "1", "--ttl", "é"],
    ] {
        let output = run(&[&["token"], &args[..]].concat());
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("expected a"), "{output:?}");
    }
}
