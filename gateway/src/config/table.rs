//! The table of settings, and the macro that makes it and [`Config`] from one list.

use std::ops::RangeInclusive;

use super::value::with_underscores;
use super::{Config, Value};

/// What is known about one setting, apart from its value.
pub struct Setting {
    /// Its name: the field of [`Config`] and the key in the file.
    pub name: &'static str,
    /// The heading it stands under.
    pub group: &'static str,
    /// What it is, in its first sentence; then what it costs and what happens at the bound.
    pub doc: &'static [&'static str],
    /// Between which numbers it must be, where it is one.
    pub bounds: Option<RangeInclusive<u64>>,
    pub(super) field: fn(&Config) -> &dyn Value,
    pub(super) field_mut: fn(&mut Config) -> &mut dyn Value,
}

impl Setting {
    /// The setting of that name.
    pub fn named(name: &str) -> Option<&'static Setting> {
        Config::SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// Its value in `config`.
    pub fn value<'c>(&self, config: &'c Config) -> &'c dyn Value {
        (self.field)(config)
    }

    /// Its environment variable: `CARILLON_` and the name in capitals.
    pub fn variable(&self) -> String {
        format!("CARILLON_{}", self.name.to_uppercase())
    }

    /// Its flag without the dashes in front: the name with `-` for `_`.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// Its whole description on one line.
    pub fn description(&self) -> String {
        self.doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
    }

    /// The first sentence of its description.
    pub fn summary(&self) -> String {
        let description = self.description();
        match description.split_once(". ") {
            Some((first, _)) => first.to_owned(),
            None => description.trim_end_matches('.').to_owned(),
        }
    }

    /// What a good value is, to end a sentence that begins with "expected".
    pub fn expected(&self) -> String {
        let kind = self.value(&Config::default()).expected();
        match &self.bounds {
            Some(bounds) => {
                format!(
                    "{kind} from {} to {}",
                    with_underscores(*bounds.start()),
                    with_underscores(*bounds.end())
                )
            }
            None => kind.to_owned(),
        }
    }
}

/// Makes [`Config`], its defaults and [`Config::SETTINGS`] from a list of groups of
/// `/// description` `name: type = default, within bounds;`.
macro_rules! settings {
    ($($group:literal {
        $($(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:expr $(, within $bounds:expr)?;)+
    })+) => {
        /// Every setting, with a value. What each means is also what `carillon config` says.
        #[derive(Clone, PartialEq, Debug)]
        pub struct Config {
            $($($(#[doc = $doc])+ pub $name: $type,)+)+
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($($name: $default,)+)+ }
            }
        }

        impl Config {
            /// Every setting, in the order in which people should read them.
            pub const SETTINGS: &'static [Setting] = &[$($(
                Setting {
                    name: stringify!($name),
                    group: $group,
                    doc: &[$($doc),+],
                    bounds: $crate::config::table::bounds!($($bounds)?),
                    field: |config| &config.$name,
                    field_mut: |config| &mut config.$name,
                },
            )+)+];
        }
    };
}

macro_rules! bounds {
    () => {
        None
    };
    ($bounds:expr) => {
        Some($bounds)
    };
}

pub(super) use {bounds, settings};
