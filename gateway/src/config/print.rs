//! Settings as a TOML file that explains itself: `carillon config`, and with defaults alone
//! `docs/gateway.toml`.

use std::fmt::{self, Write};

use super::value::with_underscores;
use super::{Config, Origin, Setting, Settings};

const HEAD: &str = "\
# Carillon's settings, each with its default. `carillon config` prints this file with the values in use.
#
# To change one, remove the # in front of its name, or set it as a variable or a flag: `text_bytes_max` here
# is CARILLON_TEXT_BYTES_MAX in the environment and --text-bytes-max on the command line. A flag wins over a
# variable, a variable over this file. Lists are separated by commas there. The file is named with
# --config FILE or CARILLON_CONFIG.
";

/// Columns a comment may take.
const COLUMNS: usize = 110;

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEAD)?;
        let mut group = "";
        for setting in Config::SETTINGS {
            if setting.group != group {
                group = setting.group;
                write!(f, "\n\n# ----- {group} -----\n")?;
            }
            self.print(setting, f)?;
        }
        Ok(())
    }
}

impl Settings {
    fn print(&self, setting: &Setting, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Config::default();
        writeln!(f)?;
        comment(f, &setting.description())?;
        if let Some(bounds) = &setting.bounds {
            let (least, most) = (with_underscores(*bounds.start()), with_underscores(*bounds.end()));
            comment(f, &format!("From {least} to {most}."))?;
        }
        let value = setting.value(&self.config).to_toml();
        match self.origin(setting) {
            Origin::Default => writeln!(f, "#{} = {value}", setting.name),
            origin => {
                let default = setting.value(&default).to_toml();
                comment(f, &format!("Set by {origin}; the default is {default}."))?;
                writeln!(f, "{} = {value}", setting.name)
            }
        }
    }
}

/// Writes `text` as comment lines of at most [`COLUMNS`] columns, where its words allow.
fn comment(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let mut column = 0;
    for word in text.split_whitespace() {
        let width = word.chars().count() + 1;
        if column == 0 || column + width > COLUMNS {
            f.write_str(if column == 0 { "#" } else { "\n#" })?;
            column = 1;
        }
        write!(f, " {word}")?;
        column += width;
    }
    f.write_char('\n')
}
