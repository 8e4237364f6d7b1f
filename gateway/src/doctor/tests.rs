use std::fs;

use super::*;

/// A machine with room for everything, in a folder.
struct Fake {
    dir: tempfile::TempDir,
    machine: Machine,
}

const PLENTY: [(&str, &str); 7] = [
    ("proc/sys/fs/nr_open", "1073741816\n"),
    ("proc/sys/fs/file-max", "9223372036854775807\n"),
    ("proc/meminfo", "MemTotal: 99999999 kB\nMemAvailable:   67108864 kB\n"),
    ("proc/sys/net/ipv4/tcp_mem", "1500000\t2000000\t3000000\n"),
    ("proc/sys/net/core/somaxconn", "4096\n"),
    ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
    ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n"),
];

impl Fake {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine {
            proc: dir.path().join("proc"),
            sys: dir.path().join("sys"),
            descriptors: Descriptors { now: Some(1024), most: Some(2_000_000) },
            cores: 4,
        };
        let fake = Self { dir, machine };
        PLENTY.iter().for_each(|(file, text)| fake.set(file, text));
        fake
    }

    fn set(&self, file: &str, text: &str) {
        let path = self.dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn examine(&self) -> Findings {
        examine(&self.machine, &Config { data: self.dir.path().join("data/none"), ..Config::default() })
    }

    fn check(&self, name: &str) -> Check {
        self.examine().checks.into_iter().find(|check| check.name == name).unwrap()
    }

    /// At how many connections that check says it limits, and what it advises.
    fn limit(&self, name: &str) -> (Option<u64>, String) {
        match self.check(name).verdict {
            Verdict::Limits { connections, advice } => (connections, advice),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn with_plenty_of_everything_nothing_limits() {
    let findings = Fake::new().examine();
    assert_eq!(findings.first_limit(), None, "{findings}");
    assert!(findings.to_string().contains("Nothing here holds fewer than the 1,000,000 connections"));
}

#[test]
fn each_limit_is_found_with_what_it_allows_and_what_to_set() {
    let mut fake = Fake::new();
    fake.machine.descriptors.most = Some(20_000);
    let (connections, advice) = fake.limit("open files of the process");
    assert_eq!(connections, Some(19_700));
    assert!(advice.contains("LimitNOFILE=1000300"), "{advice}");

    fake.set("proc/sys/fs/nr_open", "1048");
    assert_eq!(fake.limit("open files of the system").0, Some(748));

    fake.set("proc/meminfo", "MemAvailable: 1048576 kB\n");
    let (connections, _) = fake.limit("memory");
    assert_eq!(connections, Some((768 << 20) / (NODE_BYTES_PER_SESSION + KERNEL_BYTES_PER_CONNECTION)));

    fake.set("proc/sys/net/ipv4/tcp_mem", "1 2 30000");
    assert_eq!(
        fake.limit("socket memory"),
        (Some(30_000), "sysctl -w net.ipv4.tcp_mem=\"500000 750000 1000000\"".into())
    );

    fake.set("proc/sys/net/core/somaxconn", "128");
    assert!(fake.limit("accept queue").1.contains("net.core.somaxconn="));

    fake.set("proc/sys/net/netfilter/nf_conntrack_max", "65536");
    fake.set("proc/sys/net/netfilter/nf_conntrack_count", "36");
    assert_eq!(fake.limit("tracked connections").0, Some(65_500));

    fake.set("sys/fs/cgroup/cpu.max", "150000 100000");
    assert!(fake.limit("cores").1.starts_with("shards = 2"));

    fake.set("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
    assert!(fake.limit("cpu governor").1.contains("performance"));

    let findings = fake.examine();
    let (check, connections) = findings.first_limit().unwrap();
    assert_eq!((check.name, connections), ("open files of the system", 748));
    assert!(
        findings.to_string().contains("The first limit is open files of the system: about 748 connections.")
    );
}

#[test]
fn a_container_has_what_its_limit_leaves() {
    let fake = Fake::new();
    fake.set("sys/fs/cgroup/memory.max", &(2_u64 << 30).to_string());
    fake.set("sys/fs/cgroup/memory.current", &(1_u64 << 30).to_string());
    assert!(fake.check("memory").found.starts_with("1,024 MiB free"));
    fake.set("sys/fs/cgroup/memory.max", "max\n");
    assert!(fake.check("memory").found.starts_with("65,536 MiB free"));
}

#[test]
fn what_cannot_be_read_is_unknown() {
    let fake = Fake::new();
    fs::remove_dir_all(&fake.machine.proc).unwrap();
    for name in ["open files of the system", "memory", "socket memory", "accept queue", "local ports"] {
        assert_eq!(fake.check(name).verdict, Verdict::Unknown, "{name}");
    }
}

#[test]
fn the_disk_is_timed_and_nothing_is_left_on_it() {
    let fake = Fake::new();
    let before = fs::read_dir(fake.dir.path()).unwrap().count();
    let found = fake.check("disk").found;
    assert!(found.starts_with("fdatasync of 4 KiB in ") && found.contains("(200 writes)"), "{found}");
    assert_eq!(fs::read_dir(fake.dir.path()).unwrap().count(), before);
}

#[test]
fn a_certificate_is_looked_at_where_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let config =
        Config { tls_certificate: Some(cert.clone()), tls_key: Some(key.clone()), ..Config::default() };
    let check = || checks::certificate(&config).unwrap();
    assert!(matches!(check().verdict, Verdict::Limits { connections: None, .. }), "there is none");
    let made = |days: u64| {
        let pair = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let end = std::time::SystemTime::now() + std::time::Duration::from_secs(days * 24 * 3600 + 3600);
        params.not_after = end.into();
        fs::write(&cert, params.self_signed(&pair).unwrap().pem()).unwrap();
        fs::write(&key, pair.serialize_pem()).unwrap();
    };
    made(90);
    assert_eq!(check(), Check::good("TLS certificate", "good for 90 days"));
    made(13);
    assert!(matches!(check().verdict, Verdict::Limits { connections: None, .. }), "it ends soon");
    assert_eq!(checks::certificate(&Config::default()), None);
}
