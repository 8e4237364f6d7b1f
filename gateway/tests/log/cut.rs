//! A wire between a log and its NATS server that loses what it is told to lose.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Listens in a server's place and passes on what comes, until told otherwise.
#[derive(Clone)]
pub struct Wire {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    loses_answers: AtomicBool,
    loses_questions: AtomicBool,
    /// How many publishes to the log are yet to be answered as if the last sequence were another.
    refusals: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
}

impl Wire {
    pub fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let wire = Self { port: listener.local_addr().unwrap().port(), shared: Arc::default() };
        let shared = wire.shared.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                shared
                    .open
                    .lock()
                    .unwrap()
                    .extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                let (from_client, from_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (questions, answers) = (shared.clone(), shared.clone());
                thread::spawn(move || questions.pass_questions(from_client, server));
                thread::spawn(move || answers.pass_answers(from_server, client));
            }
        });
        wire
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// From now on nothing that the server says arrives.
    pub fn lose_answers(&self, loses: bool) {
        self.shared.loses_answers.store(loses, Ordering::SeqCst);
    }

    /// From now on nothing that the client says arrives.
    pub fn lose_questions(&self, loses: bool) {
        self.shared.loses_questions.store(loses, Ordering::SeqCst);
    }

    /// The next publishes to the log do not arrive, and are answered "wrong last sequence".
    pub fn refuse(&self, publishes: usize) {
        self.shared.refusals.store(publishes, Ordering::SeqCst);
    }

    pub fn refusals_left(&self) -> usize {
        self.shared.refusals.load(Ordering::SeqCst)
    }

    /// Breaks every connection.
    pub fn cut(&self) {
        for stream in self.shared.open.lock().unwrap().drain(..) {
            _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn pass_answers(&self, mut server: TcpStream, mut client: TcpStream) {
        let mut bytes = [0; 16 << 10];
        while let Ok(read @ 1..) = server.read(&mut bytes) {
            if !self.loses_answers.load(Ordering::SeqCst) && client.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        _ = client.shutdown(Shutdown::Both);
    }

    fn pass_questions(&self, client: TcpStream, mut server: TcpStream) {
        let mut back = client.try_clone().unwrap();
        let mut inbox = String::new();
        let mut lines = Lines { stream: client, ahead: Vec::new() };
        while let Some(command) = lines.next_command() {
            let line = String::from_utf8_lossy(&command);
            let words: Vec<_> = line.lines().next().unwrap_or_default().split(' ').collect();
            match words[..] {
                ["SUB", subject, sid] if subject.starts_with("_INBOX.") && subject.ends_with(".*") => {
                    inbox = sid.to_owned();
                }
                ["HPUB", subject, reply, ..]
                    if subject.starts_with("carillon-log.") && self.takes_refusal() =>
                {
                    let refusal =
                        r#"{"error":{"code":400,"err_code":10164,"description":"wrong last sequence"}}"#;
                    let answer = format!("MSG {reply} {inbox} {}\r\n{refusal}\r\n", refusal.len());
                    _ = back.write_all(answer.as_bytes());
                    continue;
                }
                _ => {}
            }
            if !self.loses_questions.load(Ordering::SeqCst) && server.write_all(&command).is_err() {
                break;
            }
        }
        _ = server.shutdown(Shutdown::Both);
    }

    fn takes_refusal(&self) -> bool {
        self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}

/// Reads a client's commands one by one.
struct Lines {
    stream: TcpStream,
    ahead: Vec<u8>,
}

impl Lines {
    /// The next command, with the payload behind it.
    fn next_command(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(len) = self.command_len()
                && self.ahead.len() >= len
            {
                return Some(self.ahead.drain(..len).collect());
            }
            let mut bytes = [0; 16 << 10];
            let read = self.stream.read(&mut bytes).ok().filter(|&read| read > 0)?;
            self.ahead.extend(&bytes[..read]);
        }
    }

    fn command_len(&self) -> Option<usize> {
        let line = self.ahead.windows(2).position(|two| two == b"\r\n")?;
        let text = String::from_utf8_lossy(&self.ahead[..line]);
        let payload = match text.starts_with("PUB ") || text.starts_with("HPUB ") {
            true => text.rsplit(' ').next()?.parse::<usize>().unwrap() + 2,
            false => 0,
        };
        Some(line + 2 + payload)
    }
}
