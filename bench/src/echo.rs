//! What the echo servers of other crates have in common: one thread, and a task for each connection.

use std::io;

use tokio::net::{TcpListener, TcpStream};

/// Listens at the address that is the program's first argument, says on a line of its own where that is, and serves each
/// connection in a task of its own.
pub fn listen<T: Future<Output = ()> + Send + 'static>(serve: impl Fn(TcpStream) -> T) -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
        let listener = TcpListener::bind(address).await?;
        announce(&listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(serve(stream));
        }
    })
}

#[expect(clippy::print_stdout, reason = "who starts it on a free port is told which")]
fn announce(listener: &TcpListener) -> io::Result<()> {
    println!("listens on {}", listener.local_addr()?);
    Ok(())
}
