//! One server's process.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a server may take to end by itself; then it is killed.
const STOPPING: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct Spec {
    /// What it is called in messages; its log is `<name>.log`.
    pub name: String,
    /// Its program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// What is added to the environment.
    pub env: Vec<(OsString, OsString)>,
    /// Where it runs, and where its log is.
    pub folder: PathBuf,
}

/// A server that was started here. Dropped, it is stopped; should this process be killed, it is killed with it.
#[derive(Debug)]
pub struct Server {
    spec: Spec,
    child: Child,
    has_ended: bool,
}

impl Server {
    /// Starts it. What it prints goes to its log.
    pub fn start(spec: Spec) -> anyhow::Result<Self> {
        let child = spawn(&spec)?;
        Ok(Self { spec, child, has_ended: false })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it writes what it prints.
    pub fn log(&self) -> PathBuf {
        self.spec.log()
    }

    /// The last lines of its log.
    pub fn last_words(&self) -> String {
        let log = std::fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let ended = self.child.try_wait()?;
        self.has_ended |= ended.is_some();
        Ok(ended)
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)?;
        self.wait()
    }

    /// Freezes it (SIGSTOP): its connections stay open and nothing is answered.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a frozen one go on (SIGCONT).
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Stops it: politely, and when that takes too long by `kill -9`.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        // A frozen process does not hear that it should end.
        self.resume()?;
        self.signal(Signal::TERM)?;
        let deadline = Instant::now() + STOPPING;
        while self.ended()?.is_none() {
            if Instant::now() > deadline {
                return self.kill();
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Starts it again, with the same arguments and on the same data, after it was stopped or killed.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        if self.ended()?.is_none() {
            bail!("{} is running", self.spec.name);
        }
        (self.child, self.has_ended) = (spawn(&self.spec)?, false);
        Ok(())
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        // Once it was waited for, its process id may be another's.
        if self.has_ended {
            return Ok(());
        }
        let pid = Pid::from_raw(self.child.id().try_into()?).context("a process without an id")?;
        kill_process(pid, signal).with_context(|| format!("cannot signal {}", self.spec.name))
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        self.child.wait()?;
        self.has_ended = true;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.stop().is_err() {
            _ = self.child.kill();
            _ = self.child.wait();
        }
    }
}

impl Spec {
    fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    fn command(&self) -> anyhow::Result<Command> {
        let log = open_log(&self.log())?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .envs(self.env.iter().cloned())
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C in a terminal is for who started the servers, who then stops them in order.
            .process_group(0);
        // SAFETY: what runs between fork and exec is one system call, which allocates nothing and takes no lock.
        #[cfg(target_os = "linux")]
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        Ok(command)
    }
}

fn open_log(path: &Path) -> anyhow::Result<File> {
    let log = File::options().create(true).append(true).open(path);
    log.with_context(|| format!("cannot write {}", path.display()))
}

type Birth = (Command, Sender<std::io::Result<Child>>);

/// A process that is to die with its parent dies with the *thread* that started it. So a thread that lives as long as
/// this process starts them all.
static NURSERY: LazyLock<std::io::Result<Sender<Birth>>> = LazyLock::new(|| {
    let (sender, births) = mpsc::channel::<Birth>();
    std::thread::Builder::new().name("servers".to_owned()).spawn(move || {
        for (mut command, born) in births {
            _ = born.send(command.spawn());
        }
    })?;
    Ok(sender)
});

fn spawn(spec: &Spec) -> anyhow::Result<Child> {
    let nursery = NURSERY.as_ref().map_err(|error| anyhow::anyhow!("no thread for servers: {error}"))?;
    let (sender, born) = mpsc::channel();
    nursery.send((spec.command()?, sender)).ok().context("the thread that starts servers has ended")?;
    born.recv()?.with_context(|| format!("cannot start {}", spec.program.display()))
}
