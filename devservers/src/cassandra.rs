//! Apache Cassandra from its Maven artifacts: the jars, fetched once, and how a server of them is started.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use crate::cql::CqlConfig;
use crate::find;
use crate::process::Spec;

/// The version that is fetched. `cassandra-jars.txt` is what it needs.
pub(crate) const VERSION: &str = "5.0.6";

/// Where jars are fetched from when there is no `mvn`, which knows that itself.
const REPOSITORY_VARIABLE: &str = "MAVEN_REPOSITORY";
const REPOSITORY: &str = "https://repo1.maven.org/maven2";

/// group:artifact:version, and a classifier where there is one, a line each.
const JARS: &str = include_str!("cassandra-jars.txt");

/// What Java 17 has to open to it: Cassandra's own `jvm17-server.options`.
const EXPORTS: [&str; 9] = [
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.base/java.lang.ref",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "jdk.unsupported/sun.misc",
];
const OPENS: [&str; 16] = [
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.lang.reflect",
    "java.base/java.io",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "jdk.management/com.sun.management.internal",
];

/// Ports of one server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) cql: u16,
    pub(crate) storage: u16,
    pub(crate) tls_storage: u16,
}

/// A server in `folder`.
pub(crate) fn spec(folder: &Path, ports: Ports, config: &CqlConfig) -> anyhow::Result<Spec> {
    let heap_mib = config.heap_mib;
    let program = find::program("JAVA", "java", "Java 17, for example Debian's openjdk-17-jre-headless")?;
    let jars = jars()?;
    let conf = folder.join("conf");
    fs::create_dir_all(&conf)?;
    fs::write(conf.join("cassandra.yaml"), configuration(folder, ports, config))?;
    fs::write(conf.join("logback.xml"), LOGBACK)?;
    let mut args: Vec<OsString> = vec![
        format!("-Xms{heap_mib}M").into(),
        format!("-Xmx{heap_mib}M").into(),
        "-Djdk.attach.allowAttachSelf=true".into(),
    ];
    let open = |flag: &str, module: &str| [flag.into(), format!("{module}=ALL-UNNAMED").into()];
    args.extend(EXPORTS.iter().flat_map(|module| open("--add-exports", module)));
    args.extend(OPENS.iter().flat_map(|module| open("--add-opens", module)));
    args.extend([
        "-cp".into(),
        format!("{}:{}/*", conf.display(), jars.display()).into(),
        format!("-Dcassandra.config=file://{}", conf.join("cassandra.yaml").display()).into(),
        format!("-Dcassandra.storagedir={}", folder.display()).into(),
        // There is nobody to gossip with.
        "-Dcassandra.skip_wait_for_gossip_to_settle=0".into(),
        "-Dcassandra.ring_delay_ms=100".into(),
        // The first user is made as soon as there is a server, and not ten seconds later.
        "-Dcassandra.superuser_setup_delay_ms=0".into(),
        "org.apache.cassandra.service.CassandraDaemon".into(),
    ]);
    Ok(Spec { name: "cassandra".into(), program, args, env: Vec::new(), folder: folder.to_owned() })
}

const LOGBACK: &str = r#"<configuration>
  <appender name="out" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%level %d %logger{0} %msg%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="out"/></root>
</configuration>
"#;

fn configuration(folder: &Path, ports: Ports, config: &CqlConfig) -> String {
    let Ports { cql, storage, tls_storage } = ports;
    let (folder, more) = (folder.display(), &config.cassandra_yaml);
    let sync = if config.syncs_before_it_acknowledges {
        "commitlog_sync: batch"
    } else {
        "commitlog_sync: periodic\ncommitlog_sync_period: 10000ms"
    };
    let authenticator = if config.asks_for_login { "PasswordAuthenticator" } else { "AllowAllAuthenticator" };
    format!(
        "cluster_name: carillon\n\
         num_tokens: 16\n\
         partitioner: org.apache.cassandra.dht.Murmur3Partitioner\n\
         data_file_directories: [\"{folder}/data\"]\n\
         commitlog_directory: \"{folder}/commitlog\"\n\
         saved_caches_directory: \"{folder}/caches\"\n\
         hints_directory: \"{folder}/hints\"\n\
         cdc_raw_directory: \"{folder}/cdc\"\n\
         {sync}\n\
         listen_address: 127.0.0.1\n\
         rpc_address: 127.0.0.1\n\
         native_transport_port: {cql}\n\
         storage_port: {storage}\n\
         ssl_storage_port: {tls_storage}\n\
         endpoint_snitch: SimpleSnitch\n\
         authenticator: {authenticator}\n\
         authorizer: AllowAllAuthorizer\n\
         seed_provider:\n  - class_name: org.apache.cassandra.locator.SimpleSeedProvider\n    parameters:\n      - seeds: \"127.0.0.1:{storage}\"\n\
         {more}"
    )
}

/// The folder of the jars: what `CASSANDRA_LIB` names, or one beside the builds, filled the first time. Several processes may
/// ask at once: each fetches for itself, and the first to finish is the one that counts.
pub(crate) fn jars() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os("CASSANDRA_LIB").filter(|named| !named.is_empty()) {
        return Ok(named.into());
    }
    let folder = find::tools().join(format!("cassandra-{VERSION}"));
    if folder.is_dir() {
        return Ok(folder);
    }
    fs::create_dir_all(find::tools())?;
    let fetched = tempfile::Builder::new().prefix("cassandra-").tempdir_in(find::tools())?;
    let lib = fetched.path().join("lib");
    fs::create_dir(&lib)?;
    match find::program("MVN", "mvn", "Maven") {
        Ok(mvn) => fetch_with_maven(&mvn, fetched.path(), &lib)?,
        Err(_) => fetch_with_curl(&lib)?,
    }
    match fs::rename(&lib, &folder) {
        Err(_) if folder.is_dir() => {}
        renamed => renamed?,
    }
    Ok(folder)
}

fn fetch_with_maven(mvn: &Path, folder: &Path, lib: &Path) -> anyhow::Result<()> {
    let project = format!(
        "<project><modelVersion>4.0.0</modelVersion><groupId>carillon</groupId><artifactId>cassandra</artifactId>\
         <version>1</version><dependencies><dependency><groupId>org.apache.cassandra</groupId>\
         <artifactId>cassandra-all</artifactId><version>{VERSION}</version></dependency></dependencies></project>"
    );
    fs::write(folder.join("pom.xml"), project)?;
    let mut command = Command::new(mvn);
    command.args(["-q", "-B", "dependency:copy-dependencies"]).current_dir(folder);
    run(command.arg(format!("-DoutputDirectory={}", lib.display())))
}

fn fetch_with_curl(lib: &Path) -> anyhow::Result<()> {
    let curl = find::program("CURL", "curl", "Maven or curl, to fetch Cassandra with")?;
    let repository = std::env::var(REPOSITORY_VARIABLE).unwrap_or_else(|_| REPOSITORY.to_owned());
    let mut command = Command::new(curl);
    command.args(["--fail", "--silent", "--show-error", "--location", "--retry", "3", "--parallel"]);
    for line in JARS.lines() {
        let parts: Vec<_> = line.split(':').collect();
        let name = jar_name(&parts)?;
        let [group, artifact, version, ..] = parts[..] else { bail!("not a jar: {line}") };
        let group = group.replace('.', "/");
        command.arg("--output").arg(lib.join(&name));
        command.arg(format!("{}/{group}/{artifact}/{version}/{name}", repository.trim_end_matches('/')));
    }
    run(&mut command)
}

fn jar_name(parts: &[&str]) -> anyhow::Result<String> {
    match parts {
        [_, artifact, version] => Ok(format!("{artifact}-{version}.jar")),
        [_, artifact, version, classifier] => Ok(format!("{artifact}-{version}-{classifier}.jar")),
        _ => bail!("not a jar: {parts:?}"),
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "fetching Cassandra failed: {}", String::from_utf8_lossy(&said));
    Ok(())
}
