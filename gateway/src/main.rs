//! The program `carillon`: reads what it is asked, does it, and says in one line what went wrong.

mod cli;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use carillon_gateway::auth::{KeyError, Keys};
use carillon_gateway::config::{Settings, StoreKind};
use carillon_gateway::doctor::{self, Machine};
use carillon_gateway::follow::dead_letters::DeadLetters;
use carillon_gateway::serve::{self, DEAD_LETTERS};
use carillon_gateway::startup::StartError;
use carillon_protocol::UserId;
use carillon_storage::{CountersReport, CqlStore, Schema, StoreError};
use cli::{Asked, SchemaTask};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::read().map_err(Failure::from).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("carillon: {failure}");
            failure.exit_code()
        }
    }
}

fn run(asked: Asked) -> Result<(), Failure> {
    match asked {
        Asked::Serve(settings) => Ok(serve::run(settings.config)?),
        Asked::Token { settings, user, ttl } => token(&settings, user, ttl),
        Asked::Config(settings) => print(&settings.to_string()),
        Asked::Doctor(settings) => print(&doctor::examine(&Machine::this(), &settings.config).to_string()),
        Asked::Counters { settings, mend } => counters(&settings, mend),
        Asked::DeadLetters { settings, retry } => dead_letters(&settings, retry),
        Asked::Schema { settings, task, replicas } => schema(&settings, task, replicas),
    }
}

fn token(settings: &Settings, user: UserId, ttl: Duration) -> Result<(), Failure> {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let keys = Keys::open(&settings.config)?;
    if keys.is_development_key_new() {
        eprintln!(
            "carillon: made a development key in {}; gateways with other data folders refuse the token",
            settings.config.data.display()
        );
    }
    let token = keys.mint(user, ttl.as_secs(), now_s)?;
    print(&format!("{token}\n"))
}

fn counters(settings: &Settings, mend: bool) -> Result<(), Failure> {
    let config = serve::cql_config(&settings.config)?;
    let report = runtime()?.block_on(async {
        let store = CqlStore::open(config).await?;
        store.verify_counters(settings.config.counters_members_max, mend).await
    })?;
    let CountersReport { compared, wrong, mended, .. } = report;
    print(&format!("{compared} counters compared, {wrong} wrong, {mended} mended\n"))?;
    if wrong > mended { Err(Failure::CountersWrong(wrong - mended)) } else { Ok(()) }
}

fn dead_letters(settings: &Settings, retry: bool) -> Result<(), Failure> {
    let folder = DeadLetters::new(settings.config.data.join(DEAD_LETTERS));
    let letters = folder.all().map_err(Failure::DeadLetters)?;
    if letters.is_empty() || !retry {
        return letters.iter().try_for_each(|letter| print(&format!("{letter}\n")));
    }
    if settings.config.store != StoreKind::Cql {
        return Err(Failure::RetryNeedsCql);
    }
    let config = serve::cql_config(&settings.config)?;
    let left = runtime()?.block_on(async {
        let (store, mut left) = (CqlStore::open(config).await?, 0);
        for letter in &letters {
            match folder.retry(letter, &store).await {
                Ok(()) => print(&format!("stored: {letter}\n"))?,
                Err(error) => {
                    left += 1;
                    print(&format!("not stored ({error}): {letter}\n"))?;
                }
            }
        }
        Ok::<_, Failure>(left)
    })?;
    if left > 0 { Err(Failure::DeadLettersLeft(left)) } else { Ok(()) }
}

fn runtime() -> Result<tokio::runtime::Runtime, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|source| StartError::System { what: "start the driver", source })
}

fn schema(settings: &Settings, task: SchemaTask, replicas: u16) -> Result<(), Failure> {
    if let SchemaTask::Print = task {
        let schema = Schema::new(settings.config.cql_keyspace.as_str(), replicas)?;
        return print(schema.text());
    }
    let config = serve::cql_config(&settings.config)?;
    runtime()?.block_on(async {
        match task {
            SchemaTask::Apply => carillon_storage::apply_schema(&config, replicas).await,
            SchemaTask::Check | SchemaTask::Print => carillon_storage::check_schema(&config).await,
        }
    })?;
    print(&format!("The tables of keyspace {} are as they should be.\n", config.keyspace))
}

/// Writes to stdout. A reader that has seen enough, such as `head`, is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Output(error)),
        _ => Ok(()),
    }
}

/// What can go wrong, and whose fault it is.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Usage(#[from] cli::UsageError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0} counters are wrong; `carillon counters verify --mend` sets them right")]
    CountersWrong(u64),
    #[error("cannot read what was set aside: {0}")]
    DeadLetters(io::Error),
    #[error("{0} are still refused")]
    DeadLettersLeft(u64),
    #[error("only with `--store cql` can what was set aside be brought to the store later")]
    RetryNeedsCql,
    #[error("cannot write to stdout: {0}")]
    Output(io::Error),
}

impl Failure {
    /// 2 where the caller has to ask differently, 1 for everything else.
    fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Usage(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}
