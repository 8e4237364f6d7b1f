//! An echo server on fastwebsockets, to stand beside `carillon-gateway`'s: `carillon-loadtest echo` starts both. As the crate's
//! own example is (one thread, a task a connection, `unconstrained`), except that it speaks to its sockets directly and not
//! through hyper's, which is in its favour.
//!
//! `echo_fastwebsockets 127.0.0.1:0` says where it listens.

use std::io;

use carillon_bench::echo;
use fastwebsockets::{FragmentCollector, OpCode, Role, WebSocket, WebSocketError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest head of an upgrade.
const HEAD_BYTES_MAX: usize = 8 * 1024;

fn main() -> io::Result<()> {
    echo::listen(|stream| async {
        // Whoever goes away ends a connection; that is no news.
        let _ = tokio::task::unconstrained(serve(stream)).await;
    })
}

async fn serve(mut stream: TcpStream) -> Result<(), WebSocketError> {
    upgrade(&mut stream).await?;
    let mut websocket = FragmentCollector::new(WebSocket::after_handshake(stream, Role::Server));
    loop {
        let frame = websocket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => websocket.write_frame(frame).await?,
            _ => {}
        }
    }
}

/// Answers the upgrade. The load tool says nothing behind it before it has the answer.
async fn upgrade(stream: &mut TcpStream) -> Result<(), WebSocketError> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > HEAD_BYTES_MAX || stream.read_buf(&mut head).await? == 0 {
            return Err(WebSocketError::InvalidConnectionHeader);
        }
    }
    let head = String::from_utf8_lossy(&head);
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let accept = tungstenite::handshake::derive_accept_key(key.unwrap_or_default().as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    Ok(stream.write_all(answer.as_bytes()).await?)
}
