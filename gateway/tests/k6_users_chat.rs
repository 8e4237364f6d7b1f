//! Users of the k6 scripts (`loadtest/k6/`) chat through this gateway, in JSON and in the binary form: everything they send
//! is acknowledged, delivered in order and in the history.
//!
//! The thresholds on times are for whoever measures; here they are off.

mod process;

use std::path::Path;
use std::process::Command;

use process::Gateway;
use serde_json::Value;
use tempfile::TempDir;

#[test]
fn in_json() {
    run("chat-json.js");
}

#[test]
fn in_the_binary_form() {
    run("chat-binary.js");
}

#[test]
fn a_gateway_that_is_not_there_is_an_error() {
    let summary = k6("chat-json.js", "http://127.0.0.1:9");
    assert_eq!(summary["errors"]["value"].as_f64(), Some(1.0), "{summary}");
}

fn run(script: &str) {
    let data = TempDir::new().expect("a temporary folder");
    let gateway = Gateway::start(&data);
    let summary = k6(script, &format!("http://{}", gateway.address()));
    let number = |metric: &str, field: &str| {
        summary[metric][field].as_f64().unwrap_or_else(|| panic!("no {metric} in {summary}"))
    };
    assert_eq!(number("errors", "value"), 0.0, "{summary}");
    assert_eq!((number("checks", "passes"), number("checks", "fails")), (4.0, 0.0), "{summary}");
    assert_eq!(number("messages_out_of_order", "count"), 0.0, "{summary}");
    // Each of four users sends some, which two or three hear.
    assert!(number("messages_delivered", "count") >= 40.0, "{summary}");
    assert_eq!(gateway.stop(), Some(0));
}

/// What k6 measured, by metric.
fn k6(script: &str, base_url: &str) -> Value {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../loadtest/k6");
    let folder = TempDir::new().expect("a temporary folder");
    let summary = folder.path().join("summary.json");
    let program = std::env::var_os("K6").unwrap_or_else(|| "k6".into());
    let output = Command::new(&program)
        .args(["run", "--quiet", "--no-thresholds", "--no-usage-report", "--address", "127.0.0.1:0"])
        .args(["-e", "VUS=4", "-e", "DURATION=2s", "-e", "EVERY_MS=100", "-e"])
        .arg(format!("BASE_URL={base_url}"))
        .arg("--summary-export")
        .arg(&summary)
        .arg(scripts.join(script))
        .output()
        .expect("this test needs k6, on the PATH or where K6 says; ./test installs it");
    let text = std::fs::read_to_string(&summary).unwrap_or_else(|_| panic!("k6 failed: {output:?}"));
    serde_json::from_str::<Value>(&text).expect("k6 writes JSON")["metrics"].take()
}
