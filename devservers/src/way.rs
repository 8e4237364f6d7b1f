//! A way over TCP from one process to another that can be cut, and mended: a partition of the network without the network's
//! help, between any two parties, on any machine.
//!
//! While it is cut nothing passes and nothing is closed, as where packets are lost; mended, what waited passes, as where they
//! are sent again.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How often it is looked whether a way is mended.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A way to somewhere.
#[derive(Debug)]
pub struct Way {
    /// Where it begins.
    pub address: SocketAddr,
    is_cut: Arc<AtomicBool>,
}

impl Way {
    /// A way to a port of this machine. Its threads end with their connections, and with this process.
    pub fn to(port: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let is_cut = Arc::new(AtomicBool::new(false));
        let cut = Arc::clone(&is_cut);
        thread::Builder::new().name("way".into()).spawn(move || {
            for here in listener.incoming().flatten() {
                wait_while(&cut);
                // Nobody is there: who comes is told by the end of its connection.
                let Ok(there) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                // A thread that cannot be had ends the connection, too.
                let _ = pass(here, there, &cut);
            }
        })?;
        Ok(Self { address, is_cut })
    }

    /// From now on nothing passes.
    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
    }

    /// It passes again.
    pub fn mend(&self) {
        self.is_cut.store(false, Ordering::Relaxed);
    }
}

fn pass(here: TcpStream, there: TcpStream, cut: &Arc<AtomicBool>) -> std::io::Result<()> {
    here.set_nodelay(true)?;
    there.set_nodelay(true)?;
    for (from, to) in [(here.try_clone()?, there.try_clone()?), (there, here)] {
        let cut = Arc::clone(cut);
        thread::Builder::new().name("way".into()).spawn(move || copy(from, to, &cut))?;
    }
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool) {
    let mut bytes = vec![0; 128 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        wait_while(cut);
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    // An end is not seen through a cut either.
    wait_while(cut);
    // Ended already, perhaps.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

fn wait_while(cut: &AtomicBool) {
    while cut.load(Ordering::Relaxed) {
        thread::sleep(LOOK_EVERY);
    }
}
