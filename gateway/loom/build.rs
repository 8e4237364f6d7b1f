//! Switches `mailbox.rs` to loom's atomics.

fn main() {
    println!("cargo::rustc-cfg=carillon_loom");
    println!("cargo::rerun-if-changed=build.rs");
}
