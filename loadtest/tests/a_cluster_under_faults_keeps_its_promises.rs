//! Gateways and NATS servers of a cluster are killed, frozen and cut off while clients send: afterwards everything that was
//! acknowledged is there once, in one order, on every gateway. Few faults here; `carillon-loadtest faults` does as many as it is
//! told. `NATS_SERVER` says where nats-server is.

mod heavy {
    use std::path::Path;
    use std::process::Command;

    use serde_json::Value;

    const LOADTEST: &str = env!("CARGO_BIN_EXE_carillon-loadtest");

    #[test]
    fn a_cluster_under_faults_keeps_its_promises() {
        let gateway = Path::new(LOADTEST).with_file_name("carillon");
        assert!(gateway.exists(), "{} is missing: cargo build -p carillon-gateway", gateway.display());
        let folder = tempfile::tempdir().expect("a temporary folder");
        let json = folder.path().join("figures.json");
        let size = ["--faults", "5", "--clients", "12", "--rooms", "20", "--large-rooms", "1"];
        let output = Command::new(LOADTEST)
            .args(["faults", "--sends-per-second", "60", "--seed", "5"])
            .args(size)
            // With twelve in it, the room is a large one.
            .arg("--flag=--inbox-limit=8")
            .arg("--start")
            .arg(gateway)
            .arg("--json")
            .arg(&json)
            .output()
            .expect("the load tool starts");
        assert!(output.status.success(), "{output:?}");
        let table: Value = serde_json::from_slice(&std::fs::read(&json).expect("figures")).expect("JSON");
        let figures = table["figures"].as_array().expect("figures");
        let value = |name: &str| {
            let found = figures.iter().find(|figure| figure["name"] == name);
            found.unwrap_or_else(|| panic!("no {name} among {figures:?}"))["value"]
                .as_f64()
                .expect("a number")
        };
        assert_eq!(value("faults"), 5.0);
        assert_eq!(value("acknowledged sends lost"), 0.0);
        assert_eq!(value("duplicates"), 0.0);
        assert_eq!(value("order faults"), 0.0);
        assert_eq!(value("unread counts wrong"), 0.0);
        assert_eq!(value("last events that never reached a client"), 0.0);
        assert!(value("sends acknowledged") > 100.0);
    }
}
