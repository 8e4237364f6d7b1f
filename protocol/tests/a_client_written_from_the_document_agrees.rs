//! `tests/python/client.py` was written from `docs/protocol.md` alone. It produces, accepts and refuses the same
//! bytes as this crate, by the golden vectors.

use std::path::Path;
use std::process::Command;

#[test]
fn on_the_golden_vectors() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("python3")
        .arg(here.join("tests/python/client.py"))
        .arg("--vectors")
        .arg(here.join("vectors"))
        .output()
        .expect("python3 can be run");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("vectors hold"), "{said}");
}
