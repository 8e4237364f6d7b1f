//! Kinds of values a setting may have: how each is read from a file, a variable or a flag, and written back.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use carillon_storage::{Consistency, is_keyspace_name};
use toml::de::DeValue;
use tracing_subscriber::filter::{LevelFilter, Targets};

/// A value as somebody gave it.
pub enum Given<'a> {
    /// A whole number of a TOML file.
    Number(u64),
    /// A string of a TOML file.
    Text(&'a str),
    /// An array of strings of a TOML file.
    List(Vec<&'a str>),
    /// The text of a variable or a flag, whatever kind it is meant to be. Lists are separated by commas.
    Bare(&'a str),
}

impl<'a> Given<'a> {
    /// The value of a TOML file, or nothing where no setting is of such a kind.
    pub(super) fn from_toml(value: &'a DeValue<'_>) -> Option<Self> {
        match value {
            DeValue::Integer(number) => {
                u64::from_str_radix(number.as_str(), number.radix()).ok().map(Given::Number)
            }
            DeValue::String(text) => Some(Given::Text(text)),
            DeValue::Array(items) => {
                items.iter().map(|item| item.get_ref().as_str()).collect::<Option<_>>().map(Given::List)
            }
            _ => None,
        }
    }

    fn number(&self) -> Option<u64> {
        match self {
            Given::Number(number) => Some(*number),
            Given::Bare(text) => text.replace('_', "").parse().ok(),
            _ => None,
        }
    }

    fn text(&self) -> Option<&'a str> {
        match self {
            Given::Text(text) | Given::Bare(text) => Some(text),
            _ => None,
        }
    }

    fn list(&self) -> Option<Cow<'_, [&'a str]>> {
        match self {
            Given::List(items) => Some(Cow::Borrowed(items)),
            Given::Bare("") => Some(Cow::Borrowed(&[])),
            Given::Bare(text) => Some(text.split(',').map(str::trim).collect()),
            _ => None,
        }
    }
}

/// A setting's value, whatever its type.
pub trait Value {
    /// What a good value is, to end a sentence that begins with "expected".
    fn expected(&self) -> &'static str;

    /// A word for its kind, for help.
    fn kind(&self) -> &'static str;

    /// Takes what was given, or nothing where that is not a good value.
    fn set(&mut self, given: &Given<'_>) -> Option<()>;

    /// The value as TOML.
    fn to_toml(&self) -> String;

    /// The value as a number, where it is one.
    fn number(&self) -> Option<u64> {
        None
    }
}

macro_rules! number_values {
    ($($type:ty),+) => {$(
        impl Value for $type {
            fn expected(&self) -> &'static str {
                "a whole number"
            }

            fn kind(&self) -> &'static str {
                "NUMBER"
            }

            fn set(&mut self, given: &Given<'_>) -> Option<()> {
                *self = given.number()?.try_into().ok()?;
                Some(())
            }

            fn to_toml(&self) -> String {
                with_underscores(*self as u64)
            }

            fn number(&self) -> Option<u64> {
                Some(*self as u64)
            }
        }
    )+};
}

number_values!(u16, u64, usize);

/// The number in groups of three digits, as TOML allows.
pub(crate) fn with_underscores(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('_');
        }
        grouped.push(digit);
    }
    grouped
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A value that is one piece of text.
trait Word: Sized {
    const KIND: &'static str;
    const ONE: &'static str;
    const MANY: &'static str = "";

    fn read(text: &str) -> Option<Self>;
    fn write(&self) -> String;
}

macro_rules! word_values {
    ($($type:ty),+) => {$(
        impl Value for $type {
            fn expected(&self) -> &'static str {
                <$type as Word>::ONE
            }

            fn kind(&self) -> &'static str {
                <$type as Word>::KIND
            }

            fn set(&mut self, given: &Given<'_>) -> Option<()> {
                *self = Word::read(given.text()?)?;
                Some(())
            }

            fn to_toml(&self) -> String {
                quoted(&self.write())
            }
        }
    )+};
}

word_values!(SocketAddr, PathBuf, NodeName, LogFormat, LogLevel, StoreKind, Keyspace, Consistency);

/// What may be left out; empty stands for that.
impl<T: Word> Value for Option<T> {
    fn expected(&self) -> &'static str {
        T::ONE
    }

    fn kind(&self) -> &'static str {
        T::KIND
    }

    fn set(&mut self, given: &Given<'_>) -> Option<()> {
        let text = given.text()?;
        *self = if text.is_empty() { None } else { Some(T::read(text)?) };
        Some(())
    }

    fn to_toml(&self) -> String {
        quoted(&self.as_ref().map_or(String::new(), T::write))
    }
}

impl<T: Word> Value for Vec<T> {
    fn expected(&self) -> &'static str {
        T::MANY
    }

    fn kind(&self) -> &'static str {
        T::KIND
    }

    fn set(&mut self, given: &Given<'_>) -> Option<()> {
        *self = given.list()?.iter().map(|item| T::read(item)).collect::<Option<_>>()?;
        Some(())
    }

    fn to_toml(&self) -> String {
        let items: Vec<_> = self.iter().map(|item| quoted(&item.write())).collect();
        format!("[{}]", items.join(", "))
    }
}

impl Word for SocketAddr {
    const KIND: &'static str = "ADDR:PORT";
    const ONE: &'static str = "an IP address and a port, such as 127.0.0.1:8080 or [::]:8080";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Word for PathBuf {
    const KIND: &'static str = "PATH";
    const ONE: &'static str = "a path";
    const MANY: &'static str = "a list of paths";

    fn read(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| PathBuf::from(text))
    }

    fn write(&self) -> String {
        self.display().to_string()
    }
}

impl Word for String {
    const KIND: &'static str = "TEXT";
    const ONE: &'static str = "a text";

    fn read(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn write(&self) -> String {
        self.clone()
    }
}

/// A node's name: up to 64 letters, digits, `-` and `_`, so that it may be part of a file name or a subject.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct NodeName(String);

impl NodeName {
    /// The name of the machine, or `node` where it cannot be had or is no such name.
    pub(super) fn of_host() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let first_label = host.trim().split('.').next().unwrap_or_default();
        match Self::read(first_label) {
            Some(name) if !name.is_empty() => name,
            _ => Self("node".to_owned()),
        }
    }

    /// What a cluster is called that has no name.
    pub(super) fn of_cluster() -> Self {
        Self("carillon".to_owned())
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it was left open.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Word for NodeName {
    const KIND: &'static str = "NAME";
    const ONE: &'static str = "up to 64 letters, digits, - and _";

    fn read(text: &str) -> Option<Self> {
        let fits = text.len() <= 64
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        fits.then(|| Self(text.to_owned()))
    }

    fn write(&self) -> String {
        self.0.clone()
    }
}

/// Scheme, host and port of a web page, as a browser sends them in `Origin`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct WebOrigin(String);

impl WebOrigin {
    /// The origin as a browser writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Word for WebOrigin {
    const KIND: &'static str = "ORIGIN";
    const ONE: &'static str = "an origin such as https://chat.example.com, without a path";
    const MANY: &'static str = "a list of origins such as https://chat.example.com, without a path";

    fn read(text: &str) -> Option<Self> {
        let (scheme, host) = text.split_once("://")?;
        let whole = !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '?', '#', ' ', '*']);
        // Browsers write scheme and host in small letters.
        whole.then(|| Self(text.to_ascii_lowercase()))
    }

    fn write(&self) -> String {
        self.0.clone()
    }
}

/// The URL of a NATS server.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct NatsServer(String);

impl NatsServer {
    /// The URL as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Word for NatsServer {
    const KIND: &'static str = "URL";
    const ONE: &'static str = "a NATS server such as nats://nats.example.com:4222";
    const MANY: &'static str = "a list of NATS servers such as nats://nats.example.com:4222";

    fn read(text: &str) -> Option<Self> {
        let (scheme, host) = text.split_once("://")?;
        let whole =
            matches!(scheme, "nats" | "tls") && !host.is_empty() && !host.contains(['/', '?', '#', ' ']);
        whole.then(|| Self(text.to_owned()))
    }

    fn write(&self) -> String {
        self.0.clone()
    }
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Word for LogFormat {
    const KIND: &'static str = "FORMAT";
    const ONE: &'static str = "text or json";

    fn read(text: &str) -> Option<Self> {
        match text {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    fn write(&self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Json => "json".to_owned(),
        }
    }
}

/// Which store has the long-term tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreKind {
    /// On this node's disk.
    Embedded,
    /// In ScyllaDB or Apache Cassandra.
    Cql,
}

impl Word for StoreKind {
    const KIND: &'static str = "STORE";
    const ONE: &'static str = "embedded or cql";

    fn read(text: &str) -> Option<Self> {
        match text {
            "embedded" => Some(Self::Embedded),
            "cql" => Some(Self::Cql),
            _ => None,
        }
    }

    fn write(&self) -> String {
        match self {
            Self::Embedded => "embedded".to_owned(),
            Self::Cql => "cql".to_owned(),
        }
    }
}

/// A server by its name or address, and a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostPort(String);

impl HostPort {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for HostPort {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::read(text).ok_or(Self::ONE)
    }
}

impl Word for HostPort {
    const KIND: &'static str = "HOST:PORT";
    const ONE: &'static str = "a host and a port, such as db1.example.com:9042";
    const MANY: &'static str =
        "a list of hosts with ports, such as db1.example.com:9042,db2.example.com:9042";

    fn read(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let is_whole = !host.is_empty() && !host.contains(['/', ' ']) && port.parse::<u16>().is_ok();
        is_whole.then(|| Self(text.to_owned()))
    }

    fn write(&self) -> String {
        self.0.clone()
    }
}

/// The name of a keyspace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keyspace(String);

impl Keyspace {
    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Keyspace {
    fn default() -> Self {
        Self("carillon".to_owned())
    }
}

impl std::str::FromStr for Keyspace {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::read(text).ok_or(Self::ONE)
    }
}

impl Word for Keyspace {
    const KIND: &'static str = "NAME";
    const ONE: &'static str = "up to 39 small letters, digits and _, a letter first";

    fn read(text: &str) -> Option<Self> {
        is_keyspace_name(text).then(|| Self(text.to_owned()))
    }

    fn write(&self) -> String {
        self.0.clone()
    }
}

const CONSISTENCIES: [(&str, Consistency); 5] = [
    ("local_quorum", Consistency::LocalQuorum),
    ("quorum", Consistency::Quorum),
    ("one", Consistency::One),
    ("local_one", Consistency::LocalOne),
    ("all", Consistency::All),
];

impl Word for Consistency {
    const KIND: &'static str = "LEVEL";
    const ONE: &'static str = "local_quorum, quorum, one, local_one or all";

    fn read(text: &str) -> Option<Self> {
        CONSISTENCIES.iter().find(|(name, _)| *name == text).map(|&(_, level)| level)
    }

    fn write(&self) -> String {
        let named = CONSISTENCIES.iter().find(|(_, level)| level == self);
        named.map_or_else(String::new, |(name, _)| (*name).to_owned())
    }
}

/// What the stores call the lines of what they are made of.
const STORE_TARGETS: [&str; 3] = ["fjall", "lsm_tree", "scylla"];

/// From which level on lines are logged, for all or for parts of the program.
#[derive(Clone, PartialEq, Debug)]
pub struct LogLevel {
    text: String,
    targets: Targets,
}

impl LogLevel {
    /// The same as a filter. Of the stores' own lines only warnings, unless it is named: what it does is not
    /// what an operator of this program looks for.
    pub fn targets(&self) -> Targets {
        let quiet = STORE_TARGETS.iter().filter(|name| !self.text.contains(**name));
        quiet.fold(self.targets.clone(), |targets, name| {
            let level = targets.default_level().unwrap_or(LevelFilter::OFF).min(LevelFilter::WARN);
            targets.with_target(*name, level)
        })
    }
}

impl Default for LogLevel {
    fn default() -> Self {
        Self { text: "info".to_owned(), targets: Targets::new().with_default(LevelFilter::INFO) }
    }
}

impl Word for LogLevel {
    const KIND: &'static str = "LEVEL";
    const ONE: &'static str =
        "off, error, warn, info, debug or trace, or a list such as info,carillon_gateway::log=debug";

    fn read(text: &str) -> Option<Self> {
        // `Targets` alone would take a misspelt level for the name of a module.
        let mut targets = Targets::new();
        for part in text.split(',') {
            if part.trim().is_empty() || part.trim().ends_with('=') {
                return None;
            }
            targets = match part.trim().split_once('=') {
                Some((module, level)) => targets.with_target(module, level.parse::<LevelFilter>().ok()?),
                None => targets.with_default(part.trim().parse::<LevelFilter>().ok()?),
            };
        }
        Some(Self { text: text.to_owned(), targets })
    }

    fn write(&self) -> String {
        self.text.clone()
    }
}
