//! A WebSocket server that sends back what it gets, on the transport that the gateway serves with: for conformance
//! suites. `cargo run --release -p carillon-gateway --example echo -- 127.0.0.1:9001`, then point the suite at
//! `ws://127.0.0.1:9001/v1/ws`.
//!
//! A thread for each connection, since suites open few: the bytes take the way they take in a shard, the waiting does not.

use std::io::{self, Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use carillon_gateway::transport::http::{self, Asked};
use carillon_gateway::transport::websocket::{self, Opcode, Read, Takes, WebSocket};

/// Suites send messages of up to 16 MiB.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    let listener = TcpListener::bind(&address)?;
    eprintln!("echoes on ws://{}{}", listener.local_addr()?, http::WEBSOCKET_PATH);
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            if let Err(error) = serve(stream) {
                eprintln!("a connection ended: {error}");
            }
        });
    }
    Ok(())
}

/// One connection: reads, answers, and keeps what is not whole, as a shard does.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut websocket = None;
    let (mut kept, mut out, mut scratch) = (Vec::new(), Vec::new(), vec![0; 64 * 1024]);
    loop {
        let read = stream.read(&mut scratch)?;
        if read == 0 {
            return Ok(());
        }
        kept.extend_from_slice(&scratch[..read]);
        let (used, is_over) = take(&mut websocket, &mut kept, &mut out);
        kept.drain(..used);
        stream.write_all(&out)?;
        out.clear();
        if is_over {
            return stream.shutdown(std::net::Shutdown::Write);
        }
    }
}

/// Takes what is whole and appends the answers; says how much that was, and whether the connection is over.
fn take(websocket: &mut Option<WebSocket>, bytes: &mut [u8], out: &mut Vec<u8>) -> (usize, bool) {
    let mut at = 0;
    while at < bytes.len() {
        let Some(open) = websocket else {
            match http::parse(&bytes[at..], &[]) {
                Ok(None) => break,
                Ok(Some(Asked::Upgrade(upgrade))) => {
                    http::write_upgrade(out, &upgrade);
                    *websocket = Some(WebSocket::new(Takes::Both));
                    at += upgrade.head_bytes;
                    continue;
                }
                Ok(Some(Asked::Get { .. })) => return (at, true),
                Err(refusal) => {
                    out.extend_from_slice(&refusal.response());
                    return (at, true);
                }
            }
        };
        match open.read(&mut bytes[at..], MESSAGE_BYTES_MAX) {
            Ok(Read::Message { text, payload, used }) => {
                let opcode = if text { Opcode::Text } else { Opcode::Binary };
                websocket::write_header(out, opcode, payload.len());
                out.extend_from_slice(&payload);
                at += used;
            }
            Ok(Read::Ping { payload, used }) => {
                websocket::write_pong(out, payload);
                at += used;
            }
            Ok(Read::Used(used) | Read::Pong { used }) => at += used,
            Ok(Read::Incomplete) => break,
            Ok(Read::Close { code }) => {
                websocket::write_close_answer(out, code);
                return (at, true);
            }
            Err(violation) => {
                websocket::write_close(out, violation.code, violation.reason);
                return (at, true);
            }
        }
    }
    (at, false)
}
