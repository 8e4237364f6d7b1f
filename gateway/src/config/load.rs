//! Where settings come from: a file, then the environment, then flags; the later wins.
//!
//! Everything wrong is answered with one line: where it stands, what was given, what is expected.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::value::{Given, with_underscores};
use super::{Config, RULES, Rule, Setting};

/// What settings are read from.
#[derive(Default)]
pub struct Sources<'a> {
    /// A TOML file: its path, for messages, and what it says.
    pub file: Option<(&'a Path, &'a str)>,
    /// The process's environment; what does not begin with `CARILLON_` is passed over.
    pub environment: Vec<(OsString, OsString)>,
    /// Names of settings and what the flags say of them.
    pub flags: Vec<(&'static str, OsString)>,
}

/// Values for all settings, and where they come from.
#[derive(Debug, Default)]
pub struct Settings {
    /// The values.
    pub config: Config,
    origins: HashMap<&'static str, Origin>,
}

/// Where a value comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A file, and the line there.
    File(PathBuf, usize),
    /// An environment variable.
    Variable(String),
    /// A flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("the default"),
            Origin::File(path, line) => write!(f, "{}:{line}", path.display()),
            Origin::Variable(name) => f.write_str(name),
            Origin::Flag(name) => write!(f, "--{name}"),
        }
    }
}

/// Why settings cannot be used. Its text is one line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SettingError {
    /// The file is not TOML.
    #[error("{}:{line}: {what}", path.display())]
    NotToml {
        /// Which file.
        path: PathBuf,
        /// Where it stops being TOML.
        line: usize,
        /// What is wrong there.
        what: String,
    },
    /// A name that no setting has.
    #[error(
        "{origin}: there is no setting \"{name}\"{}; `carillon config` lists them all",
        did_you_mean(closest)
    )]
    Unknown {
        /// Where it stands.
        origin: Origin,
        /// The name.
        name: String,
        /// The known name that is most like it, if any is.
        closest: Option<String>,
    },
    /// A value that its setting cannot have.
    #[error("{origin}: {name} cannot be {given}; expected {expected}")]
    BadValue {
        /// Where it stands.
        origin: Origin,
        /// The setting.
        name: &'static str,
        /// What was given.
        given: String,
        /// What is expected.
        expected: String,
    },
    /// Two values that do not go together.
    #[error("{small} needs {large} to be at least {needed}: {because}")]
    Conflict {
        /// The setting that is too large, with its value and where it comes from; or
        small: String,
        /// the setting that is too small, with the same.
        large: String,
        /// What the latter would have to be.
        needed: String,
        /// Why.
        because: &'static str,
    },
}

fn did_you_mean(closest: &Option<String>) -> String {
    closest.as_ref().map_or(String::new(), |name| format!(", did you mean \"{name}\"?"))
}

impl Settings {
    /// Reads all sources in their order and checks that the values go together.
    pub fn load(sources: &Sources<'_>) -> Result<Settings, SettingError> {
        let mut settings = Settings::default();
        if let Some((path, text)) = sources.file {
            settings.read_file(path, text)?;
        }
        for (name, value) in &sources.environment {
            settings.read_variable(name, value)?;
        }
        for (name, value) in &sources.flags {
            settings.read_flag(name, value)?;
        }
        settings.check()?;
        Ok(settings)
    }

    /// Where the value of a setting comes from.
    pub fn origin(&self, setting: &Setting) -> &Origin {
        self.origins.get(setting.name).unwrap_or(&Origin::Default)
    }

    fn read_file(&mut self, path: &Path, text: &str) -> Result<(), SettingError> {
        let table = DeTable::parse(text).map_err(|error| SettingError::NotToml {
            path: path.to_owned(),
            line: line_at(text, error.span().map_or(0, |span| span.start)),
            what: error.message().replace('\n', ", "),
        })?;
        // In the order of the file, so that the first mistake is the one that is told.
        let mut entries: Vec<_> = table.get_ref().iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let origin = Origin::File(path.to_owned(), line_at(text, key.span().start));
            let setting = find(key.get_ref(), &origin, |setting| setting.name.to_owned())?;
            let given = Given::from_toml(value.get_ref());
            self.set(setting, given, origin, text.get(value.span()).unwrap_or_default())?;
        }
        Ok(())
    }

    fn read_variable(&mut self, name: &OsStr, value: &OsStr) -> Result<(), SettingError> {
        let name = name.to_string_lossy();
        if !name.starts_with("CARILLON_") || name == CONFIG_VARIABLE || is_service_link(&name, value) {
            return Ok(());
        }
        let origin = Origin::Variable(name.to_string());
        let setting = find(&name, &origin, Setting::variable)?;
        self.set_bare(setting, value, origin)
    }

    fn read_flag(&mut self, name: &str, value: &OsStr) -> Result<(), SettingError> {
        let origin = Origin::Flag(name.replace('_', "-"));
        let setting = find(name, &origin, |setting| setting.name.to_owned())?;
        self.set_bare(setting, value, origin)
    }

    fn set_bare(
        &mut self,
        setting: &'static Setting,
        value: &OsStr,
        origin: Origin,
    ) -> Result<(), SettingError> {
        let given = value.to_str().map(Given::Bare);
        self.set(setting, given, origin, &format!("{:?}", value.to_string_lossy()))
    }

    fn set(
        &mut self,
        setting: &'static Setting,
        given: Option<Given<'_>>,
        origin: Origin,
        shown: &str,
    ) -> Result<(), SettingError> {
        let taken = given.and_then(|given| (setting.field_mut)(&mut self.config).set(&given));
        let number = setting.value(&self.config).number();
        let in_bounds = match (&setting.bounds, number) {
            (Some(bounds), Some(number)) => bounds.contains(&number),
            _ => true,
        };
        if taken.is_none() || !in_bounds {
            return Err(SettingError::BadValue {
                origin,
                name: setting.name,
                given: one_line(shown),
                expected: setting.expected(),
            });
        }
        self.origins.insert(setting.name, origin);
        Ok(())
    }

    fn check(&self) -> Result<(), SettingError> {
        RULES.iter().try_for_each(|rule| self.check_rule(rule))
    }

    fn check_rule(&self, rule: &Rule) -> Result<(), SettingError> {
        let (Some(small), Some(large)) = (Setting::named(rule.small), Setting::named(rule.large)) else {
            return Ok(());
        };
        let number = |setting: &Setting| setting.value(&self.config).number().unwrap_or_default();
        let needed = number(small) * rule.times + rule.plus;
        if number(large) >= needed {
            return Ok(());
        }
        Err(SettingError::Conflict {
            small: self.described(small),
            large: self.described(large),
            needed: with_underscores(needed),
            because: rule.because,
        })
    }

    /// Name and value, and who says so.
    fn described(&self, setting: &Setting) -> String {
        let value = setting.value(&self.config).to_toml();
        match self.origin(setting) {
            Origin::Default => format!("{} = {value} (the default)", setting.name),
            origin => format!("{} = {value} (from {origin})", setting.name),
        }
    }
}

/// Names the file; not a setting itself.
pub const CONFIG_VARIABLE: &str = "CARILLON_CONFIG";

/// Kubernetes sets variables like `CARILLON_SERVICE_HOST` and `CARILLON_PORT_8080_TCP` in every pod beside a
/// service of that name. They are nobody's mistake.
fn is_service_link(name: &str, value: &OsStr) -> bool {
    let value = value.to_string_lossy();
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || value.starts_with("tcp://")
        || value.starts_with("udp://")
        || ["_TCP_PROTO", "_TCP_PORT", "_TCP_ADDR", "_UDP_PROTO", "_UDP_PORT", "_UDP_ADDR"]
            .iter()
            .any(|end| name.ends_with(end))
}

/// The setting that `called` names it, or an error with the one that is most like it.
fn find(
    name: &str,
    origin: &Origin,
    called: impl Fn(&Setting) -> String,
) -> Result<&'static Setting, SettingError> {
    if let Some(setting) = Config::SETTINGS.iter().find(|setting| called(setting) == name) {
        return Ok(setting);
    }
    let closest = Config::SETTINGS
        .iter()
        .map(|setting| (likeness(&called(setting), name), called(setting)))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(likeness, _)| *likeness > 0.8);
    Err(SettingError::Unknown {
        origin: origin.clone(),
        name: one_line(name),
        closest: closest.map(|(_, name)| name),
    })
}

/// How like two names are: more than 1 where a slip or two of the fingers make one of the other; else up to 1.
fn likeness(called: &str, name: &str) -> f64 {
    let likeness = strsim::jaro_winkler(called, name);
    match strsim::damerau_levenshtein(called, name) {
        slips @ 0..=2 => likeness + 3.0 - slips as f64,
        _ => likeness,
    }
}

/// The line, counted from 1, on which a byte of `text` stands.
fn line_at(text: &str, byte: usize) -> usize {
    1 + text.bytes().take(byte).filter(|byte| *byte == b'\n').count()
}

/// What somebody wrote, short and without line breaks.
fn one_line(text: &str) -> String {
    const CHARS_SHOWN: usize = 80;
    let mut line: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(CHARS_SHOWN).collect();
    if text.chars().nth(CHARS_SHOWN).is_some() {
        line.push('…');
    }
    line
}
