//! `carillon config` prints every setting with its description, as a file that can be used;
//! `docs/gateway.toml` is what it prints.

mod process;

use std::path::Path;

use carillon_gateway::config::{Config, Settings, Sources};
use process::{carillon, run, stdout_of};
use tempfile::TempDir;

fn load(text: &str) -> Settings {
    Settings::load(&Sources { file: Some((Path::new("carillon.toml"), text)), ..Sources::default() })
        .expect("good settings")
}

/// The file with every setting switched on.
fn uncommented(text: &str) -> String {
    let switched_on = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => rest.to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(|line| switched_on(line) + "\n").collect()
}

#[test]
fn the_documented_settings_are_those_of_the_program() {
    let printed = stdout_of(run(&["config", "--defaults"]));
    let documented = include_str!("../../docs/gateway.toml");
    assert_eq!(printed, documented, "run: cargo run -- config --defaults > docs/gateway.toml");
}

#[test]
fn it_shows_every_setting_with_its_description() {
    let printed = stdout_of(run(&["config"]));
    let words: String = printed.replace("\n#", "").split_whitespace().collect();
    for setting in Config::SETTINGS {
        let default = setting.value(&Config::default()).to_toml();
        assert!(printed.contains(&format!("\n#{} = {default}\n", setting.name)), "{}", setting.name);
        let description: String = setting.description().split_whitespace().collect();
        assert!(words.contains(&description), "{}", setting.name);
    }
}

#[test]
fn what_it_prints_can_be_read_back() {
    let printed = stdout_of(run(&["config"]));
    assert_eq!(load(&printed).config, Config::default());
    let all = load(&uncommented(&printed));
    assert_eq!(all.config, Config::default());
    for setting in Config::SETTINGS {
        assert!(all.origin(setting).to_string().starts_with("carillon.toml:"), "{}", setting.name);
    }
}

#[test]
fn it_says_where_a_value_comes_from() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("my.toml");
    std::fs::write(&file, "shards = 2\nlog_level = \"warn\"\n").unwrap();
    let mut command = carillon(&["config", "--log-level", "debug"]);
    let printed =
        stdout_of(command.env("CARILLON_CONFIG", &file).env("CARILLON_PARTITIONS", "8").output().unwrap());

    assert!(
        printed.contains("default is 64.\npartitions = 8\n")
            && printed.contains("# Set by CARILLON_PARTITIONS;")
    );
    assert!(printed.contains("# Set by --log-level; the default is \"info\".\nlog_level = \"debug\"\n"));
    assert!(printed.contains("my.toml:1; the default is 0.\nshards = 2\n"), "{printed}");
    let settings = load(&printed).config;
    assert_eq!((settings.shards, settings.partitions), (2, 8), "it can be read back");
}

#[test]
fn serve_help_names_every_setting_with_flag_variable_and_description() {
    let help = stdout_of(run(&["serve", "--help"]));
    let words: String = help.split_whitespace().collect();
    for setting in Config::SETTINGS {
        assert!(help.contains(&format!("--{} <", setting.flag())), "{}", setting.name);
        assert!(help.contains(&format!("[env: {}]", setting.variable())), "{}", setting.name);
        let description: String = setting.description().split_whitespace().collect();
        assert!(words.contains(&description), "{}", setting.name);
    }
}
