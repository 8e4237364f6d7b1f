//! Whatever is wrong with settings is answered with one line: where, what was given, what is expected, what
//! was probably meant.

use std::path::Path;

use carillon_gateway::config::{Config, Settings, Sources};
use proptest::prelude::*;

fn in_file(text: &str) -> String {
    one_line(&Sources { file: Some((Path::new("carillon.toml"), text)), ..Sources::default() })
}

fn in_variable(name: &str, value: &str) -> String {
    one_line(&Sources { environment: vec![(name.into(), value.into())], ..Sources::default() })
}

fn in_flag(name: &'static str, value: &str) -> String {
    one_line(&Sources { flags: vec![(name, value.into())], ..Sources::default() })
}

fn one_line(sources: &Sources<'_>) -> String {
    let message = Settings::load(sources).expect_err("a mistake").to_string();
    assert!(!message.contains('\n') && message.len() < 400, "{message}");
    message
}

#[test]
fn a_misspelt_name_is_answered_with_the_likely_one() {
    assert_eq!(
        in_file("shards = 1\n\nlisten_adr = \"[::]:80\"\n"),
        "carillon.toml:3: there is no setting \"listen_adr\", did you mean \"listen\"?; \
         `carillon config` lists them all"
    );
    assert!(
        in_variable("CARILLON_FRAME_BYTE_MAX", "1").contains("did you mean \"CARILLON_FRAME_BYTES_MAX\"?")
    );
}

#[test]
fn every_setting_is_found_again_with_one_letter_missing() {
    for setting in Config::SETTINGS {
        for at in 1..setting.name.len() {
            let mut name = setting.name.to_owned();
            name.remove(at);
            let message = in_file(&format!("{name} = 1"));
            assert!(message.contains(&format!("did you mean \"{}\"?", setting.name)), "{message}");
        }
    }
}

#[test]
fn a_name_like_none_gets_no_suggestion() {
    assert!(!in_file("xyzzy = 1").contains("did you mean"));
    assert!(
        in_file("[network]\nlisten = \"[::]:80\"")
            .starts_with("carillon.toml:1: there is no setting \"network\"")
    );
}

#[test]
fn a_bad_value_is_answered_with_a_good_kind() {
    assert_eq!(
        in_file("shards = \"many\""),
        "carillon.toml:1: shards cannot be \"many\"; expected a whole number from 0 to 1_024"
    );
    assert_eq!(
        in_variable("CARILLON_SHARDS", "2000"),
        "CARILLON_SHARDS: shards cannot be \"2000\"; expected a whole number from 0 to 1_024"
    );
    assert_eq!(
        in_flag("log_format", "xml"),
        "--log-format: log_format cannot be \"xml\"; expected text or json"
    );
    assert!(in_flag("listen", "localhost").contains("expected an IP address and a port"));
    assert!(in_flag("log_level", "inof").contains("expected off, error, warn, info"));
    assert!(in_flag("allowed_origins", "https://a.example/").contains("without a path"));
    assert!(in_flag("node", "a b").contains("expected up to 64 letters"));
    for value in ["-1", "1.5", "99999999999999999999", "true", "[1]", "{ a = 1 }", "2020-01-01", "\"4\""] {
        assert!(in_file(&format!("shards = {value}")).contains("expected a whole number"), "{value}");
    }
}

#[test]
fn every_number_refuses_what_is_out_of_bounds() {
    for setting in Config::SETTINGS {
        let Some(bounds) = &setting.bounds else { continue };
        let message = in_file(&format!("{} = {}", setting.name, bounds.end() + 1));
        assert!(message.contains("expected a whole number from"), "{message}");
    }
}

#[test]
fn a_file_that_is_not_toml_is_answered_with_the_line() {
    assert!(in_file("shards = 1\nlisten = \n").starts_with("carillon.toml:2: "));
    assert!(in_file("shards = 1\nshards = 2\n").starts_with("carillon.toml:2: "));
}

#[test]
fn values_that_do_not_go_together_are_both_named() {
    assert_eq!(
        in_file("text_bytes_max = 70_000"),
        "text_bytes_max = 70_000 (from carillon.toml:1) needs frame_bytes_max = 65_536 (the default) \
         to be at least 70_128: the longest message must fit in a frame"
    );
    assert!(in_flag("ping_interval_ms", "60000").contains("idle_timeout_ms"));
    assert!(in_flag("members_per_request_max", "10000").contains("at 8 bytes each"));
    assert!(in_flag("outbox_bytes_max", "50000").contains("an outbox must hold a frame"));
}

proptest! {
    #[test]
    fn no_file_and_no_value_make_it_panic(text in ".{0,200}", value in ".{0,50}") {
        let name = Config::SETTINGS[text.len() % Config::SETTINGS.len()].name;
        let _ = Settings::load(&Sources { file: Some((Path::new("f"), &text)), ..Sources::default() });
        let _ = Settings::load(&Sources { flags: vec![(name, value.into())], ..Sources::default() });
    }
}
