//! A flag wins over a variable, a variable over the file, the file over the default; and every setting can be
//! set in each.

use std::ffi::OsString;
use std::path::Path;

use carillon_gateway::config::{Config, Origin, Setting, Settings, Sources};

/// A good value of the setting that is not its default, as bare text and as TOML.
fn another(setting: &Setting) -> (String, String) {
    let default = setting.value(&Config::default()).number();
    match (setting.name, default) {
        (_, Some(number)) => (format!("{}", number + 1), format!("{}", number + 1)),
        ("listen" | "tls_listen", _) => ("[::1]:9000".into(), r#""[::1]:9000""#.into()),
        ("allowed_origins", _) => (
            "https://a.example,https://b.example:8443".into(),
            r#"["https://a.example", "https://b.example:8443"]"#.into(),
        ),
        ("token_keys", _) => {
            ("/keys/a.hs256,/keys/b.ed25519".into(), r#"["/keys/a.hs256", "/keys/b.ed25519"]"#.into())
        }
        ("store", _) => ("cql".into(), r#""cql""#.into()),
        ("cql", _) => ("db1:9042,[::1]:9042".into(), r#"["db1:9042", "[::1]:9042"]"#.into()),
        ("cql_keyspace", _) => ("chat_2".into(), r#""chat_2""#.into()),
        ("cql_consistency", _) => ("all".into(), r#""all""#.into()),
        ("nats", _) => ("nats://other:4222".into(), r#"["nats://other:4222"]"#.into()),
        ("log_format", _) => ("json".into(), r#""json""#.into()),
        ("log_level", _) => {
            ("warn,carillon_gateway::log=debug".into(), r#""warn,carillon_gateway::log=debug""#.into())
        }
        (name, None) => (name.replace('_', "-"), format!("{:?}", name.replace('_', "-"))),
    }
}

fn from_file(text: &str) -> Settings {
    Settings::load(&Sources { file: Some((Path::new("carillon.toml"), text)), ..Sources::default() })
        .expect("good settings")
}

fn from_variable(setting: &Setting, value: &str) -> Settings {
    let environment = vec![(OsString::from(setting.variable()), OsString::from(value))];
    Settings::load(&Sources { environment, ..Sources::default() }).expect("good settings")
}

fn from_flag(setting: &'static Setting, value: &str) -> Settings {
    Settings::load(&Sources { flags: vec![(setting.name, value.into())], ..Sources::default() })
        .expect("good settings")
}

#[test]
fn every_setting_can_be_set_in_file_environment_and_flags_alike() {
    for setting in Config::SETTINGS {
        let (bare, toml) = another(setting);
        let file = from_file(&format!("{} = {toml}", setting.name));
        let variable = from_variable(setting, &bare);
        let flag = from_flag(setting, &bare);

        assert_ne!(file.config, Config::default(), "{}", setting.name);
        assert_eq!(file.config, variable.config, "{}", setting.name);
        assert_eq!(file.config, flag.config, "{}", setting.name);
        assert_eq!(*file.origin(setting), Origin::File("carillon.toml".into(), 1));
        assert_eq!(*variable.origin(setting), Origin::Variable(setting.variable()));
        assert_eq!(*flag.origin(setting), Origin::Flag(setting.flag()));
    }
}

#[test]
fn the_later_source_wins() {
    let shards = Setting::named("shards").unwrap();
    let mut sources =
        Sources { file: Some((Path::new("f"), "shards = 2\npartitions = 8")), ..Sources::default() };
    assert_eq!(Settings::load(&sources).unwrap().config.shards, 2);
    sources.environment = vec![("CARILLON_SHARDS".into(), "3".into())];
    assert_eq!(Settings::load(&sources).unwrap().config.shards, 3);
    sources.flags = vec![("shards", "4".into())];
    let settings = Settings::load(&sources).unwrap();
    assert_eq!(settings.config.shards, 4);
    assert_eq!(settings.origin(shards).to_string(), "--shards");
    assert_eq!(settings.config.partitions, 8, "what only the file says stays");
}

#[test]
fn without_sources_everything_is_the_default() {
    let settings = Settings::load(&Sources::default()).unwrap();
    assert_eq!(settings.config, Config::default());
    assert!(Config::SETTINGS.iter().all(|setting| *settings.origin(setting) == Origin::Default));
}

#[test]
fn what_others_put_into_the_environment_is_passed_over() {
    let names = [
        ("PATH", "/bin"),
        ("CARILLON_CONFIG", "some.toml"),
        ("CARILLON_SERVICE_HOST", "10.0.0.1"),
        ("CARILLON_SERVICE_PORT_HTTP", "8080"),
        ("CARILLON_PORT", "tcp://10.0.0.1:8080"),
        ("CARILLON_PORT_8080_TCP_ADDR", "10.0.0.1"),
    ];
    let environment = names.map(|(name, value)| (name.into(), value.into())).to_vec();
    let settings = Settings::load(&Sources { environment, ..Sources::default() }).expect("good settings");
    assert_eq!(settings.config, Config::default());
}
