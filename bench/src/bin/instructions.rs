//! Counts the instructions of `benches/instructions.rs` and says what has moved since that was recorded.
//!
//! `cargo run -p carillon-bench --bin instructions` ends with 1 where a bench rose by more than 3 % (`--limit PERCENT`)
//! or is gone. `-- --record` records the counts anew, in `bench/baseline.json`. Needs valgrind and gungraun's runner.
#![allow(clippy::print_stdout, reason = "it prints a measurement")]

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use carillon_bench::baseline::{Baseline, Instructions, compare, read_counts};

/// The runner has to be of the version of the library that the benches are built with.
const GUNGRAUN_VERSION: &str = "0.20.0";
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/baseline.json");
const LIMIT_PERCENT: f64 = 3.0;

fn main() -> ExitCode {
    match asked().and_then(run) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::from(2)
        }
    }
}

struct Asked {
    record: bool,
    limit_percent: f64,
}

fn asked() -> Result<Asked, String> {
    let mut asked = Asked { record: false, limit_percent: LIMIT_PERCENT };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--record" => asked.record = true,
            "--limit" => {
                let limit = args.next().and_then(|limit| limit.parse().ok());
                asked.limit_percent = limit.ok_or("--limit needs a number of percent")?;
            }
            _ => return Err(format!("there is no {arg}; there are --record and --limit PERCENT")),
        }
    }
    Ok(asked)
}

/// Whether nothing is bad.
fn run(asked: Asked) -> Result<bool, String> {
    let now = Baseline { made_with: made_with()?, instructions: count()? };
    if asked.record {
        return record(&now).map(|()| true);
    }
    let before = recorded()?;
    if before.made_with != now.made_with {
        println!("Recorded with {}; counted with {}.", before.made_with.join(", "), now.made_with.join(", "));
    }
    Ok(report(&before.instructions, &now.instructions, asked.limit_percent))
}

/// What counts depend on besides the code; says what is missing.
fn made_with() -> Result<Vec<String>, String> {
    let runner = version("gungraun-runner").unwrap_or_default();
    if runner != format!("gungraun-runner {GUNGRAUN_VERSION}") {
        let found = if runner.is_empty() { "it is missing" } else { &runner };
        return Err(format!(
            "gungraun-runner {GUNGRAUN_VERSION} is needed ({found}): cargo install --locked gungraun-runner@{GUNGRAUN_VERSION}"
        ));
    }
    let valgrind = version("valgrind").ok_or("valgrind is needed: apt-get install valgrind")?;
    let rustc = version("rustc").ok_or("rustc does not say its version")?;
    Ok(vec![rustc, valgrind])
}

fn version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn count() -> Result<Instructions, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let mut bench = Command::new(cargo);
    bench.args(["bench", "--locked", "--package", "carillon-bench", "--bench", "instructions"]);
    bench.args(["--", "--output-format=json"]).stderr(Stdio::inherit());
    let output = bench.output().map_err(|error| format!("cargo bench cannot be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("the benches did not run: {}", output.status));
    }
    let counts = read_counts(&String::from_utf8_lossy(&output.stdout))?;
    if counts.is_empty() { Err("the benches counted nothing".to_owned()) } else { Ok(counts) }
}

fn record(now: &Baseline) -> Result<(), String> {
    let json = serde_json::to_string_pretty(now).map_err(|error| error.to_string())?;
    fs::write(BASELINE, json + "\n").map_err(|error| format!("cannot write {BASELINE}: {error}"))?;
    println!("{} benches are recorded in {}", now.instructions.len(), Path::new(BASELINE).display());
    Ok(())
}

fn recorded() -> Result<Baseline, String> {
    let json = fs::read_to_string(BASELINE)
        .map_err(|error| format!("cannot read {BASELINE}: {error}; record one with --record"))?;
    serde_json::from_str(&json).map_err(|error| format!("{BASELINE} is no baseline: {error}"))
}

/// Prints the table; says whether nothing in it is bad.
fn report(before: &Instructions, now: &Instructions, limit_percent: f64) -> bool {
    let changes = compare(before, now);
    println!("{:<36} {:>12} {:>12} {:>10}", "instructions of", "before", "now", "moved");
    changes.iter().for_each(|change| println!("{change}"));
    let bad = changes.iter().filter(|change| change.is_bad(limit_percent)).count();
    match bad {
        0 => println!("None rose by more than {limit_percent} %."),
        _ => println!(
            "{bad} rose by more than {limit_percent} % or are gone; if that is meant, record anew with --record."
        ),
    }
    bad == 0
}
