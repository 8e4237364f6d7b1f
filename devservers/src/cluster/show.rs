//! What a person sees: on a terminal one picture that is drawn anew as it changes, elsewhere a line for each change.

use std::fmt::{Arguments, Write as _};
use std::io::Write as _;

use super::Cluster;
use super::watch::{Row, State, Watch, ranges};

/// From the upper left corner, on an empty screen.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(crate) struct Screen {
    is_terminal: bool,
    introduction: String,
    shown: Vec<Row>,
    has_shown: bool,
}

impl Screen {
    pub(crate) fn new(is_terminal: bool) -> Self {
        Self { is_terminal, introduction: String::new(), shown: Vec::new(), has_shown: false }
    }

    /// A line of its own.
    pub(crate) fn say(&mut self, what: Arguments<'_>) {
        // A reader that has gone is no reason to leave servers running.
        _ = writeln!(std::io::stdout(), "{what}");
    }

    /// Where everything is, and what can be done with it.
    pub(super) fn introduce(&mut self, cluster: &Cluster) {
        let Some(first) = cluster.gateways.first() else { return };
        let (folder, program) = (cluster.folder.path().display(), cluster.program.display());
        let mut text = String::new();
        _ = writeln!(text, "open           {}   (and another node's in a second tab)", first.url());
        _ = writeln!(
            text,
            "a token        {program} token --user 1 --data {}   (good at every node)",
            first.data().display()
        );
        _ = writeln!(text, "NATS           {}", cluster.nats.urls().join(","));
        _ = writeln!(text, "logs and data  {folder}");
        _ = writeln!(text, "try            kill -9 a PID, kill -STOP and -CONT it; Ctrl-C stops everything");
        self.introduction = text;
        if !self.is_terminal {
            self.say(format_args!("{}", self.introduction.clone().trim_end()));
        }
    }

    /// Shows what changed, if anything did.
    pub(crate) fn show(&mut self, watch: &mut Watch) {
        // How it came to be is of interest to who sees it move, not to who reads it afterwards.
        let is_quiet = !self.is_terminal && watch.was_never_settled();
        if is_quiet || (self.has_shown && watch.news == 0 && self.shown == watch.rows) {
            return;
        }
        if self.is_terminal {
            let mut text = format!("{CLEAR}{}\n{}\n", self.introduction, table(&watch.rows));
            watch.events.iter().for_each(|event| _ = writeln!(text, "{event}"));
            _ = std::io::stdout().write_all(text.as_bytes());
            _ = std::io::stdout().flush();
        } else {
            let old = watch.events.len() - watch.news;
            watch.events.iter().skip(old).for_each(|event| self.say(format_args!("{event}")));
            let was = |row: &&Row| !self.shown.contains(row) && row.state != State::Starting;
            let changed: Vec<String> = watch.rows.iter().filter(was).map(line).collect();
            changed.iter().for_each(|line| self.say(format_args!("{line}")));
        }
        watch.news = 0;
        self.shown.clone_from(&watch.rows);
        self.has_shown = true;
    }

    /// What comes now stands below the picture.
    pub(crate) fn end(&mut self) {
        self.say(format_args!("stopping …"));
    }
}

fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    _ = writeln!(
        text,
        "{:<10} {:<9} {:<25} {:>8} {:>6} {:>12} {:>6}  home of",
        "node", "", "URL", "PID", "homes", "connections", "users"
    );
    for row in rows {
        let pid = row.pid.map_or("-".to_owned(), |pid| pid.to_string());
        let moving = if row.moving > 0 { format!(" ({} on the move)", row.moving) } else { String::new() };
        _ = writeln!(
            text,
            "{:<10} {:<9} {:<25} {pid:>8} {:>6} {:>12} {:>6}  {}{moving}",
            row.name,
            state(row),
            row.url,
            row.partitions.len(),
            row.connections,
            row.users,
            ranges(&row.partitions),
        );
    }
    text
}

fn line(row: &Row) -> String {
    let pid = row.pid.map_or("-".to_owned(), |pid| pid.to_string());
    format!(
        "{} {} {} pid {pid}: home of {}: {}; {} on the move, {} connections, {} users",
        row.name,
        state(row),
        row.url,
        row.partitions.len(),
        ranges(&row.partitions),
        row.moving,
        row.connections,
        row.users
    )
}

fn state(row: &Row) -> &'static str {
    match row.state {
        State::Starting => "starting",
        State::Up => "up",
        State::Degraded => "degraded",
        State::Silent => "silent",
        State::Gone(_) => "gone",
    }
}
