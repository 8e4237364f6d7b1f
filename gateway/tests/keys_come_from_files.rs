//! A key file's name says its id and its kind; a folder gives all its keys; and without any, a development
//! key is made.

mod tokens;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use carillon_gateway::auth::{KeyError, Keys};
use carillon_gateway::config::Config;
use carillon_protocol::UserId;
use tempfile::TempDir;
use tokens::{Ed25519, NOW_S, SECRET, claims, hs256};

fn config(folder: &TempDir, token_keys: &[&str]) -> Config {
    let token_keys = token_keys.iter().map(|name| folder.path().join(name)).collect();
    Config { data: folder.path().join("data"), token_keys, ..Config::default() }
}

fn error(config: &Config) -> String {
    let message = Keys::open(config).err().expect("no keys").to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

#[test]
fn files_and_folders_may_be_mixed() {
    let folder = TempDir::new().unwrap();
    let (first, second) = (Ed25519::generate(), Ed25519::generate());
    fs::create_dir(folder.path().join("more")).unwrap();
    fs::write(folder.path().join("app.hs256"), [SECRET, b"\n"].concat()).unwrap();
    fs::write(folder.path().join("more/first.ed25519"), first.public_pem()).unwrap();
    fs::write(folder.path().join("more/second.ed25519"), second.public_pem()).unwrap();
    fs::write(folder.path().join("more/README"), "not a key").unwrap();

    let keys = Keys::open(&config(&folder, &["app.hs256", "more"])).unwrap();
    assert!(!keys.is_development());
    for token in [hs256(&claims()), first.sign(&claims()), second.sign(&claims())] {
        assert_eq!(keys.verify(&token, NOW_S).unwrap().user.get(), 42);
    }
    assert!(!folder.path().join("data").exists(), "no development key beside real ones");
}

#[test]
fn what_is_no_key_is_named() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).unwrap();
    write("short.hs256", &SECRET[..31]);
    write("secret.txt", SECRET);
    write("broken.ed25519", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n");
    write("text.ed25519", b"hello");
    fs::create_dir(folder.path().join("empty")).unwrap();

    assert!(error(&config(&folder, &["short.hs256"])).contains("\"short\" is too short: 32 bytes"));
    assert!(error(&config(&folder, &["secret.txt"])).contains("must be called NAME.hs256"));
    assert!(error(&config(&folder, &["broken.ed25519"])).contains("\"broken\" is not an Ed25519 public key"));
    assert!(error(&config(&folder, &["text.ed25519"])).contains("\"text\" is not an Ed25519 public key"));
    assert!(error(&config(&folder, &["empty"])).contains("has no key"));
    assert!(error(&config(&folder, &["missing.hs256"])).contains("cannot read the key"));
}

#[test]
fn a_private_key_in_place_of_the_public_one_is_refused() {
    // openssl genpkey -algorithm ed25519
    let private = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("k.ed25519"), private).unwrap();
    assert!(error(&config(&folder, &["k.ed25519"])).contains("not an Ed25519 public key"));
}

#[test]
fn a_development_key_is_made_once_and_for_its_owner_alone() {
    let folder = TempDir::new().unwrap();
    let config = config(&folder, &[]);
    let first = Keys::open(&config).unwrap();
    let second = Keys::open(&config).unwrap();
    assert!(first.is_development() && second.is_development());

    let token = first.mint(UserId::new(42).unwrap(), 60, NOW_S).unwrap();
    assert!(second.verify(&token, NOW_S).is_ok(), "the second start uses the same key");

    let mode = fs::metadata(config.data.join("keys/dev.hs256")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn two_data_folders_have_different_development_keys() {
    let (one, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let token = Keys::open(&config(&one, &[])).unwrap().mint(UserId::MAX, 60, NOW_S).unwrap();
    assert!(Keys::open(&config(&other, &[])).unwrap().verify(&token, NOW_S).is_err());
}

#[test]
fn processes_that_start_at_once_agree_on_one_development_key() {
    let folder = TempDir::new().unwrap();
    let config = config(&folder, &[]);
    let open = || Keys::open(&config).unwrap();
    let keys: Vec<_> = std::thread::scope(|threads| {
        let started: Vec<_> = (0..8).map(|_| threads.spawn(open)).collect();
        started.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let token = keys[0].mint(UserId::MAX, 60, NOW_S).unwrap();
    assert!(keys.iter().all(|keys| keys.verify(&token, NOW_S).is_ok()));
}

#[test]
fn where_no_development_key_can_be_made_the_reason_is_told() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let config = Config { data: folder.path().join("file"), ..Config::default() };
    assert!(error(&config).contains("cannot make the development key"));
}

#[test]
fn public_keys_alone_cannot_sign() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("k.ed25519"), Ed25519::generate().public_pem()).unwrap();
    let keys = Keys::open(&config(&folder, &["k.ed25519"])).unwrap();
    assert!(matches!(keys.mint(UserId::MAX, 60, NOW_S), Err(KeyError::NoSecret)));
}
