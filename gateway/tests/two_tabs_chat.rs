//! Two browser tabs talk through this gateway, and it is killed under them.
//!
//! The scenario is `page/tests/browser/two_tabs_chat.mjs`, which drives a real Chromium. Pictures of the moments
//! that matter are left in `target/tmp/two_tabs_chat/`, or where `SCREENSHOTS_DIR` says.

use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn two_tabs_chat() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
    assert!(
        page.join("node_modules/playwright-core").exists(),
        "this test drives Chromium through playwright-core: run `npm ci` in {}, and `apt-get install -y chromium`",
        page.display(),
    );
    let scenario = Command::new("node")
        .arg(page.join("tests/browser/two_tabs_chat.mjs"))
        .args([env!("CARGO_BIN_EXE_carillon"), "serve"])
        .env("SCREENSHOTS_DIR", screenshots())
        .output()
        .expect("this test needs Node.js 20 or later (Debian: apt-get install -y nodejs npm)");
    assert!(
        scenario.status.success(),
        "the scenario stopped ({})\n{}\n{}",
        scenario.status,
        String::from_utf8_lossy(&scenario.stdout),
        String::from_utf8_lossy(&scenario.stderr),
    );
}

fn screenshots() -> PathBuf {
    std::env::var_os("SCREENSHOTS_DIR")
        .map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("two_tabs_chat"), PathBuf::from)
}
