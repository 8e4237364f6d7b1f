//! Keys: files that say in their name what they are, and a development key where there are none.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use carillon_protocol::UserId;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};

use super::claims::Minted;
use crate::config::Config;

/// Shortest secret: what HS256 needs to be as strong as its hash (RFC 7518, 3.2).
pub const SECRET_BYTES_MIN: usize = 32;

/// Where the development key is kept, in the data folder.
const DEVELOPMENT_KEY: &str = "keys/dev.hs256";

/// The keys that tokens may be signed with, and what else tokens must say.
pub struct Keys {
    keys: Vec<Key>,
    expected: Expected,
    development: Option<Development>,
}

/// Whether the development key was there already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Development {
    Found,
    Made,
}

/// What a token must say apart from who somebody is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Expected {
    /// What `aud` must name.
    pub audience: Option<String>,
    /// What `iss` must be.
    pub issuer: Option<String>,
    /// How far clocks may differ.
    pub leeway_s: u64,
}

pub(super) struct Key {
    pub(super) id: String,
    pub(super) algorithm: Algorithm,
    pub(super) public: DecodingKey,
    /// Only a shared secret can also sign.
    secret: Option<EncodingKey>,
}

/// Why keys cannot be used. Its text is one line.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A key file or folder cannot be read.
    #[error("cannot read the key {}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file's name does not say what it is.
    #[error("the key {} must be called NAME.hs256 (a secret) or NAME.ed25519 (a public key)", .0.display())]
    UnknownKind(PathBuf),
    /// A folder without keys.
    #[error("the folder {} has no key: no file is called NAME.hs256 or NAME.ed25519", .0.display())]
    NoKeys(PathBuf),
    /// A secret that could be guessed.
    #[error("the secret \"{0}\" is too short: {SECRET_BYTES_MIN} bytes are the least")]
    ShortSecret(String),
    /// Not an Ed25519 public key.
    #[error(
        "the key \"{0}\" is not an Ed25519 public key in PEM, as `openssl pkey -in FILE -pubout` prints it"
    )]
    NotAPublicKey(String),
    /// The development key cannot be made.
    #[error("cannot make the development key {}: {source}", path.display())]
    CannotMake {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is nothing to sign with.
    #[error("only public keys are configured: tokens come from whoever has the private ones")]
    NoSecret,
}

impl Keys {
    /// No keys yet: every token is refused.
    pub fn new(expected: Expected) -> Self {
        // What jsonwebtoken chooses by itself depends on the features that other crates ask of it.
        // An error only means that it was installed before.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        Self { keys: Vec::new(), expected, development: None }
    }

    /// The keys in `config`. Where there are none, the development key, which is made if it is missing.
    pub fn open(config: &Config) -> Result<Self, KeyError> {
        let mut keys = Self::new(Expected {
            audience: config.token_audience.clone(),
            issuer: config.token_issuer.clone(),
            leeway_s: config.token_leeway_s,
        });
        for path in &config.token_keys {
            keys.add_path(path)?;
        }
        if config.token_keys.is_empty() {
            keys.add_development(&config.data)?;
        }
        Ok(keys)
    }

    /// Whether tokens are signed with a key made on first start: good for trying things out, not for
    /// strangers.
    pub fn is_development(&self) -> bool {
        self.development.is_some()
    }

    /// Whether the development key was made just now, so that no running gateway knows it yet.
    pub fn is_development_key_new(&self) -> bool {
        self.development == Some(Development::Made)
    }

    /// Takes a shared secret for HS256.
    pub fn add_secret(&mut self, id: &str, secret: &[u8]) -> Result<(), KeyError> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(KeyError::ShortSecret(id.to_owned()));
        }
        self.add(
            id,
            Algorithm::HS256,
            DecodingKey::from_secret(secret),
            Some(EncodingKey::from_secret(secret)),
        );
        Ok(())
    }

    /// Takes an Ed25519 public key in PEM for EdDSA.
    pub fn add_public(&mut self, id: &str, pem: &[u8]) -> Result<(), KeyError> {
        let key = DecodingKey::from_ed_pem(pem).map_err(|_| KeyError::NotAPublicKey(id.to_owned()))?;
        self.add(id, Algorithm::EdDSA, key, None);
        Ok(())
    }

    /// A token for `user`, good for `ttl_s` seconds from `now_s` on, signed with the first secret, with the
    /// audience and the issuer that are expected here.
    pub fn mint(&self, user: UserId, ttl_s: u64, now_s: u64) -> Result<String, KeyError> {
        let signing = self.keys.iter().find_map(|key| Some((key, key.secret.as_ref()?)));
        let (key, secret) = signing.ok_or(KeyError::NoSecret)?;
        let header = Header { kid: Some(key.id.clone()), ..Header::new(key.algorithm) };
        let claims = Minted {
            sub: user.to_string(),
            iat: now_s,
            exp: now_s.saturating_add(ttl_s),
            aud: self.expected.audience.as_deref(),
            iss: self.expected.issuer.as_deref(),
        };
        jsonwebtoken::encode(&header, &claims, secret).map_err(|_| KeyError::NoSecret)
    }

    pub(super) fn for_algorithm(&self, algorithm: Algorithm) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(move |key| key.algorithm == algorithm)
    }

    pub(super) fn expected(&self) -> &Expected {
        &self.expected
    }

    fn add(&mut self, id: &str, algorithm: Algorithm, public: DecodingKey, secret: Option<EncodingKey>) {
        self.keys.push(Key { id: id.to_owned(), algorithm, public, secret });
    }

    fn add_path(&mut self, path: &Path) -> Result<(), KeyError> {
        let unreadable = |source| KeyError::Unreadable { path: path.to_owned(), source };
        if !fs::metadata(path).map_err(unreadable)?.is_dir() {
            return self.add_file(path);
        }
        let mut files = Vec::new();
        for entry in fs::read_dir(path).map_err(unreadable)? {
            files.push(entry.map_err(unreadable)?.path());
        }
        files.retain(|file| kind(file).is_some());
        if files.is_empty() {
            return Err(KeyError::NoKeys(path.to_owned()));
        }
        files.sort();
        files.iter().try_for_each(|file| self.add_file(file))
    }

    fn add_file(&mut self, path: &Path) -> Result<(), KeyError> {
        let (id, kind) = kind(path).ok_or_else(|| KeyError::UnknownKind(path.to_owned()))?;
        let content =
            fs::read(path).map_err(|source| KeyError::Unreadable { path: path.to_owned(), source })?;
        match kind {
            Kind::Secret => self.add_secret(id, without_line_end(&content)),
            Kind::Public => self.add_public(id, &content),
        }
    }

    fn add_development(&mut self, data: &Path) -> Result<(), KeyError> {
        let path = data.join(DEVELOPMENT_KEY);
        self.development = Some(Development::Found);
        if !path.exists() {
            make_development_key(&path)
                .map_err(|source| KeyError::CannotMake { path: path.clone(), source })?;
            self.development = Some(Development::Made);
        }
        self.add_file(&path)
    }
}

enum Kind {
    Secret,
    Public,
}

/// What a key file's name says: its id and what it holds.
fn kind(path: &Path) -> Option<(&str, Kind)> {
    let id = path.file_stem()?.to_str()?;
    match path.extension()?.to_str()? {
        "hs256" => Some((id, Kind::Secret)),
        "ed25519" => Some((id, Kind::Public)),
        _ => None,
    }
}

/// Editors and `echo` end a file with a line break that nobody means to be part of the secret.
fn without_line_end(content: &[u8]) -> &[u8] {
    let content = content.strip_suffix(b"\n").unwrap_or(content);
    content.strip_suffix(b"\r").unwrap_or(content)
}

/// Writes a random secret that only this user can read. When another process makes one at the same time, one
/// of both stays, whole.
fn make_development_key(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut secret = [0; SECRET_BYTES_MIN];
    aws_lc_rs::rand::fill(&mut secret).map_err(|_| io::Error::other("no randomness to be had"))?;
    // Temporary files are readable by their owner alone.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    for byte in secret {
        write!(file, "{byte:02x}")?;
    }
    writeln!(file)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
        _ => Ok(()),
    }
}
