//! An echo server on tokio-tungstenite, to stand beside `carillon-gateway`'s: `carillon-loadtest echo` starts both. As the
//! crate's own example is, on one thread.
//!
//! `echo_tungstenite 127.0.0.1:0` says where it listens.

use std::io;

use carillon_bench::echo;
use futures_util::{StreamExt, TryStreamExt, future};
use tokio::net::TcpStream;
use tungstenite::Error;

fn main() -> io::Result<()> {
    echo::listen(|stream| async {
        // Whoever goes away ends a connection; that is no news.
        let _ = serve(stream).await;
    })
}

async fn serve(stream: TcpStream) -> Result<(), Error> {
    let (write, read) = tokio_tungstenite::accept_async(stream).await?.split();
    read.try_filter(|message| future::ready(message.is_text() || message.is_binary())).forward(write).await
}
