//! The command line: `carillon serve` (also what bare `carillon` does), `carillon token`, `carillon config`,
//! `carillon doctor`, `carillon schema`,
//! `carillon counters`, `carillon dead-letters`.
//!
//! Flags for settings come from the list in `config.rs`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs, io};

use carillon_gateway::config::{CONFIG_VARIABLE, Config, Setting, SettingError, Settings, Sources};
use carillon_protocol::UserId;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

/// What the command line asks for.
pub(crate) enum Asked {
    /// Run the gateway.
    Serve(Settings),
    /// Print a token.
    Token {
        /// The settings, for keys, audience and issuer.
        settings: Settings,
        /// Whose token.
        user: UserId,
        /// How long it is good.
        ttl: Duration,
    },
    /// Print the settings.
    Config(Settings),
    /// Say what limits a node here.
    Doctor(Settings),
    /// Compare the counters of unread messages with what is exact.
    Counters {
        /// Where they are.
        settings: Settings,
        /// Whether to set right what is wrong.
        mend: bool,
    },
    /// Say what could not be archived.
    DeadLetters {
        /// Where that is, and the store.
        settings: Settings,
        /// Whether to bring it to the store once more.
        retry: bool,
    },
    /// Something about the store's tables.
    Schema {
        /// Where they are.
        settings: Settings,
        /// What about them.
        task: SchemaTask,
        /// How many copies of each row are kept.
        replicas: u16,
    },
}

/// What can be done with the tables of `schema.cql`.
#[derive(Clone, Copy)]
pub(crate) enum SchemaTask {
    Print,
    Apply,
    Check,
}

/// Why what was asked cannot be understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsageError {
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error("cannot read the settings file {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
}

/// Reads the process's arguments, environment and settings file. Help, the version and mistakes in flags are
/// printed right here, and end the process.
pub(crate) fn read() -> Result<Asked, UsageError> {
    let matches = command().get_matches();
    match matches.subcommand() {
        Some(("token", token)) => Ok(Asked::Token {
            settings: settings(token)?,
            user: *token.get_one("user").expect("clap requires it"),
            ttl: *token.get_one("ttl").expect("clap has a default for it"),
        }),
        Some(("config", config)) if config.get_flag("defaults") => Ok(Asked::Config(Settings::default())),
        Some(("config", config)) => Ok(Asked::Config(settings(config)?)),
        Some(("doctor", doctor)) => Ok(Asked::Doctor(settings(doctor)?)),
        Some(("counters", counters)) => {
            let (_, verify) = counters.subcommand().expect("clap requires one");
            Ok(Asked::Counters { settings: settings(verify)?, mend: verify.get_flag("mend") })
        }
        Some(("dead-letters", letters)) => {
            Ok(Asked::DeadLetters { settings: settings(letters)?, retry: letters.get_flag("retry") })
        }
        Some(("schema", schema)) => read_schema(schema),
        Some((_, serve)) => Ok(Asked::Serve(settings(serve)?)),
        None => Ok(Asked::Serve(settings(&matches)?)),
    }
}

fn read_schema(matches: &ArgMatches) -> Result<Asked, UsageError> {
    let (name, matches) = matches.subcommand().expect("clap requires one");
    let task = match name {
        "apply" => SchemaTask::Apply,
        "check" => SchemaTask::Check,
        _ => SchemaTask::Print,
    };
    let replicas = matches.try_get_one("replicas").ok().flatten().copied().unwrap_or(1);
    Ok(Asked::Schema { settings: settings(matches)?, task, replicas })
}

fn settings(matches: &ArgMatches) -> Result<Settings, UsageError> {
    let path = matches
        .get_one::<PathBuf>("config")
        .cloned()
        .or_else(|| env::var_os(CONFIG_VARIABLE).map(PathBuf::from));
    let text = path.as_deref().map(read_file).transpose()?;
    let file = path.as_deref().zip(text.as_deref());
    Ok(Settings::load(&Sources { file, environment: env::vars_os().collect(), flags: flags(matches) })?)
}

fn read_file(path: &Path) -> Result<String, UsageError> {
    fs::read_to_string(path).map_err(|source| UsageError::File { path: path.to_owned(), source })
}

/// The settings that were given as flags.
fn flags(matches: &ArgMatches) -> Vec<(&'static str, OsString)> {
    let given = |setting: &'static Setting| {
        let value = matches.try_get_one::<OsString>(setting.name).ok()??;
        Some((setting.name, value.clone()))
    };
    Config::SETTINGS.iter().filter_map(given).collect()
}

fn command() -> Command {
    let hidden = setting_args().map(|arg| arg.hide(true));
    Command::new("carillon")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Carillon, a real-time messaging backend.")
        .long_about(
            "Carillon, a real-time messaging backend. Without a command it serves, with the flags of \
             `carillon serve`.",
        )
        .after_help(EXAMPLES)
        .args_conflicts_with_subcommands(true)
        .arg(config_arg())
        .args(hidden)
        .subcommand(serve_command())
        .subcommand(token_command())
        .subcommand(config_command())
        .subcommand(doctor_command())
        .subcommand(schema_command())
        .subcommand(counters_command())
        .subcommand(dead_letters_command())
        .disable_help_subcommand(true)
}

const EXAMPLES: &str = "\
Examples:
  carillon                                          serve on 127.0.0.1:8080, data in ./carillon-data
  carillon serve --listen 0.0.0.0:80 --data /srv/c  serve others
  carillon serve --listen 127.0.0.1:0 --data two    a second node on this machine, on a free port
  carillon token --user 42                          a token to try things out with
  carillon config > carillon.toml                   every setting, explained
  carillon doctor                                   what limits a node on this machine
  carillon schema apply --cql 127.0.0.1:9042        the tables for --store cql";

fn serve_command() -> Command {
    Command::new("serve")
        .about("Serve until SIGTERM or SIGINT")
        .long_about(
            "Serve until SIGTERM or SIGINT. Every flag can also be set as a variable (--data is CARILLON_DATA) \
             or in the settings file (data); flags win over variables, variables over the file.",
        )
        .after_help("`carillon config` prints every setting with its whole description.")
        .arg(config_arg())
        .args(setting_args())
}

fn token_command() -> Command {
    const NEEDED: [&str; 4] = ["data", "token_keys", "token_audience", "token_issuer"];
    Command::new("token")
        .about("Print a token for a user")
        .long_about(
            "Print a token for a user, signed with the first shared secret among the keys: without any \
             configured, the development key of the data folder. Nothing else goes to stdout.",
        )
        .after_help("Example:\n  curl -H \"Authorization: Bearer $(carillon token --user 42)\" …")
        .arg(
            Arg::new("user")
                .long("user")
                .value_name("ID")
                .required(true)
                .value_parser(parse_user)
                .help("The user's id, a number from 1 to 2^53 - 1"),
        )
        .arg(
            Arg::new("ttl")
                .long("ttl")
                .value_name("TIME")
                .default_value("24h")
                .value_parser(parse_duration)
                .help("How long the token is good, such as 90s, 15m, 24h or 30d"),
        )
        .arg(config_arg())
        .args(setting_args().filter(|arg| NEEDED.contains(&arg.get_id().as_str())))
}

fn config_command() -> Command {
    Command::new("config")
        .about("Print every setting, explained, as a settings file")
        .long_about(
            "Print every setting with its description and its value in use, as a settings file. What is not \
             the default says where it was set.",
        )
        .arg(
            Arg::new("defaults")
                .long("defaults")
                .action(ArgAction::SetTrue)
                .help("Show the defaults, whatever is set"),
        )
        .arg(config_arg())
        .args(setting_args().map(|arg| arg.hide(true)))
}

fn doctor_command() -> Command {
    const NEEDED: [&str; 3] = ["data", "connections_max", "shards"];
    Command::new("doctor")
        .about("Say what limits a node on this machine, and what to set")
        .long_about(
            "Say what limits a node on this machine, and what to set: open files, memory, what the kernel gives sockets, \
             cores, and how long the disk takes to make a write durable. Changes nothing; writes one small file in the \
             data folder to time the disk, and removes it.",
        )
        .after_help(
            "Run it as the user and in the place (container, unit) the node will run in: limits differ.\n\n\
             Example:\n  carillon doctor --data /srv/carillon --connections-max 200000",
        )
        .arg(config_arg())
        .args(setting_args().filter(|arg| NEEDED.contains(&arg.get_id().as_str())))
}

fn schema_command() -> Command {
    let replicas = || {
        Arg::new("replicas")
            .long("replicas")
            .value_name("NUMBER")
            .default_value("1")
            .value_parser(value_parser!(u16).range(1..=9))
            .help(
                "Copies of each row, on as many servers: 3 in production. Counts when the keyspaces are made",
            )
    };
    let settings = || setting_args().filter(|arg| arg.get_id().as_str().starts_with("cql"));
    let keyspace = settings().filter(|arg| arg.get_id() == "cql_keyspace");
    let print = Command::new("print").about("Print schema.cql, for that keyspace and so many replicas");
    let apply =
        Command::new("apply").about("Make keyspaces, tables and columns that are missing; repeat it at will");
    let check =
        Command::new("check").about("Say what differs between the tables and schema.cql, and fail then");
    Command::new("schema")
        .about("Make and check the tables in ScyllaDB or Cassandra")
        .after_help("Example:\n  carillon schema apply --cql db1:9042,db2:9042 --replicas 3")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommand(print.arg(replicas()).arg(config_arg()).args(keyspace))
        .subcommand(apply.arg(replicas()).arg(config_arg()).args(settings()))
        .subcommand(check.arg(config_arg()).args(settings()))
}

fn counters_command() -> Command {
    let settings = setting_args().filter(|arg| {
        let name = arg.get_id().as_str();
        name.starts_with("cql") || name == "counters_members_max"
    });
    let verify = Command::new("verify")
        .about("Compare every counter of unread messages with heads and markers")
        .long_about(
            "Compare every counter of unread messages with heads and markers, from which the exact number follows. Reads all \
             rooms, members and counters. While nodes are running, what was just sent may count as wrong.",
        )
        .arg(Arg::new("mend").long("mend").action(ArgAction::SetTrue).help("Set right what is wrong"))
        .arg(config_arg())
        .args(settings);
    Command::new("counters")
        .about("Check the counters of unread messages in ScyllaDB or Cassandra")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommand(verify)
}

fn dead_letters_command() -> Command {
    let settings = setting_args().filter(|arg| {
        let name = arg.get_id().as_str();
        name.starts_with("cql") || name == "data" || name == "store"
    });
    Command::new("dead-letters")
        .about("List what could not be archived, and why; bring it to the store once more")
        .long_about(
            "List what could not be archived, and why: each event that nobody can read, or that the store refuses for what is in it, \
             is in the data folder of the node that archived it. Once the reason is gone, --retry brings each to ScyllaDB or \
             Cassandra, nodes running or not, and deletes it here.",
        )
        .arg(Arg::new("retry").long("retry").action(ArgAction::SetTrue).help("Bring each to the store once more"))
        .arg(config_arg())
        .args(settings)
}

fn config_arg() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help(format!("Settings file in TOML, as `carillon config` prints it [env: {CONFIG_VARIABLE}]"))
}

/// A flag for each setting. What is said twice counts as it is said last.
fn setting_args() -> impl Iterator<Item = Arg> {
    let defaults = Config::default();
    Config::SETTINGS.iter().map(move |setting| {
        let default = match setting.value(&defaults).to_toml().as_str() {
            r#""""# | "[]" => String::new(),
            value => format!(" [default: {}]", value.trim_matches('"')),
        };
        Arg::new(setting.name)
            .long(setting.flag())
            .value_name(setting.value(&defaults).kind())
            .value_parser(value_parser!(OsString))
            .overrides_with(setting.name)
            .help_heading(setting.group)
            .help(format!("{}{default}", setting.summary()))
            .long_help(format!("{}{default} [env: {}]", setting.description(), setting.variable()))
    })
}

fn parse_user(text: &str) -> Result<UserId, String> {
    let id = text.parse().ok().and_then(UserId::new);
    id.ok_or_else(|| "expected a whole number from 1 to 2^53 - 1".to_owned())
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let unit_s = |unit| match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3_600),
        'd' => Some(86_400),
        _ => None,
    };
    let mut chars = text.chars();
    let seconds = chars.next_back().and_then(unit_s).zip(chars.as_str().parse::<u64>().ok());
    let seconds = seconds.and_then(|(unit_s, count)| count.checked_mul(unit_s));
    seconds.map(Duration::from_secs).ok_or_else(|| "expected a time such as 90s, 15m, 24h or 30d".to_owned())
}
