//! One connection's TLS: what came is decrypted, what goes out is encrypted, and neither is kept longer than it must.
//!
//! It holds no buffers of its own while nothing is under way: records are read into the shard's buffer and decrypted there, and
//! encrypted when the kernel is ready for them. What may wait here is bounded: a record or a handshake that has begun and not
//! ended, of `PARTIAL_BYTES_MAX`, on the way in; one record (`RECORD_BYTES` and what protects it) or the answers to
//! a handshake on the way out, beside what the connection's outbox holds.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{HandshakeKind, ServerConfig};

use crate::outbox::Flush;

/// What one record carries at most (RFC 8446, 5.1).
const RECORD_BYTES: usize = 16 * 1024;
/// What may have begun and not ended: more than any record, and twenty times of what browsers say to shake hands.
const PARTIAL_BYTES_MAX: usize = 32 * 1024;
/// What protects a record or closes a session takes less than that.
const OVERHEAD_BYTES: usize = 64;
/// A fatal alert before there are keys: `decode_error`.
const DECODE_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 50];

/// A TLS session, from the first byte of its handshake on.
pub struct Tls {
    session: UnbufferedServerConnection,
    /// The beginning of a record, or of a handshake's message, whose rest has not come.
    partial: Vec<u8>,
    /// Encrypted, and not with the kernel yet.
    pending: Vec<u8>,
    /// The last read took as much as there was space for.
    has_more: bool,
    /// The peer has said its last.
    has_ended: bool,
    /// Nothing can be said any more: an alert was the last.
    has_failed: bool,
    /// We have said our last.
    has_said_goodbye: bool,
    /// The handshake is done and was told of.
    is_told: bool,
}

impl Tls {
    /// Nothing has come yet.
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self {
            session: UnbufferedServerConnection::new(config)?,
            partial: Vec::new(),
            pending: Vec::new(),
            has_more: false,
            has_ended: false,
            has_failed: false,
            has_said_goodbye: false,
            is_told: false,
        })
    }

    /// Whether hands are still being shaken.
    pub fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// How hands were shaken; told once.
    pub fn news(&mut self) -> Option<HandshakeKind> {
        if self.is_handshaking() || std::mem::replace(&mut self.is_told, true) {
            return None;
        }
        self.session.handshake_kind()
    }

    /// Whether something waits for the kernel.
    pub fn wants_write(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether the socket may hold more than the last read took.
    pub fn has_more(&self) -> bool {
        self.has_more
    }

    /// Reads from the socket once, into `ciphertext`, and decrypts into `space`, which must be as large. Like a read of the
    /// socket: 0 is the end, `Interrupted` asks to read again, for what came held nothing for the connection. `InvalidData`
    /// ends the session; an alert waits to be written.
    pub fn read(
        &mut self,
        socket: &mut impl Read,
        space: &mut [u8],
        ciphertext: &mut [u8],
    ) -> io::Result<usize> {
        self.has_more = false;
        if self.has_ended || self.has_failed {
            return Ok(0);
        }
        let kept = self.partial.len();
        let read = socket.read(&mut ciphertext[kept..])?;
        if read == 0 {
            return Ok(0);
        }
        ciphertext[..kept].copy_from_slice(&self.partial);
        let bytes = &mut ciphertext[..kept + read];
        let (used, plain) = self.decrypt(bytes, space)?;
        self.keep(&bytes[used..])?;
        // What is said to the end, or to the last byte there was space for, is not all that there is.
        self.has_more = self.has_ended || kept + read == ciphertext.len();
        match plain {
            0 if self.has_ended => Ok(0),
            0 => Err(ErrorKind::Interrupted.into()),
            plain => Ok(plain),
        }
    }

    /// Decrypts whole records; says how many bytes are done with, and how many came out.
    fn decrypt(&mut self, bytes: &mut [u8], space: &mut [u8]) -> io::Result<(usize, usize)> {
        let (mut used, mut plain) = (0, 0);
        loop {
            let UnbufferedStatus { discard, state, .. } =
                self.session.process_tls_records(&mut bytes[used..]);
            let is_all = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let payload = record.map_err(io::Error::other)?.payload;
                        space[plain..plain + payload.len()].copy_from_slice(payload);
                        plain += payload.len();
                    }
                    false
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(&mut self.pending, 0, |space| data.encode(space))?;
                    false
                }
                Ok(ConnectionState::TransmitTlsData(sent)) => {
                    sent.done();
                    false
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.has_ended = true;
                    false
                }
                Ok(_) => true,
                Err(error) => return Err(self.fail(&mut bytes[used..], error)),
            };
            used += discard;
            if is_all {
                return Ok((used, plain));
            }
        }
    }

    /// What is left of what came. It must stay whole and in place: the session knows where in it pieces of handshakes are.
    fn keep(&mut self, rest: &[u8]) -> io::Result<()> {
        if rest.len() > PARTIAL_BYTES_MAX {
            if self.is_handshaking() {
                self.pending.extend_from_slice(&DECODE_ERROR);
            }
            self.has_failed = true;
            return Err(invalid("what it began to say has no end"));
        }
        if rest.is_empty() {
            self.partial = Vec::new();
        } else {
            self.partial.clear();
            self.partial.extend_from_slice(rest);
        }
        Ok(())
    }

    /// The session is over. The alert that says why is all that is taken from it; it has none where a handshake's message is
    /// too large.
    fn fail(&mut self, bytes: &mut [u8], error: rustls::Error) -> io::Error {
        self.has_failed = true;
        self.partial = Vec::new();
        let before = self.pending.len();
        while self.session.wants_write() {
            let UnbufferedStatus { state: Ok(ConnectionState::EncodeTlsData(mut data)), .. } =
                self.session.process_tls_records(bytes)
            else {
                break;
            };
            if append(&mut self.pending, 0, |space| data.encode(space)).is_err() {
                break;
            }
        }
        if self.pending.len() == before && self.is_handshaking() {
            self.pending.extend_from_slice(&DECODE_ERROR);
        }
        invalid(error)
    }

    /// The socket as something to write plain bytes to. It takes a record at a time, and the next when the kernel has it.
    pub fn over<'a, Socket: Write>(&'a mut self, socket: &'a mut Socket) -> impl Write + 'a {
        Over { tls: self, socket }
    }

    /// Writes what waits, until that is all or the kernel takes no more.
    pub fn flush(&mut self, socket: &mut impl Write) -> io::Result<Flush> {
        let mut written = 0;
        while written < self.pending.len() {
            match socket.write(&self.pending[written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(more) => written += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.pending.drain(..written);
                    return Ok(Flush::Blocked);
                }
                Err(error) => return Err(error),
            }
        }
        self.pending = Vec::new();
        Ok(Flush::Done)
    }

    /// Appends the last that a session says (`close_notify`), once. Whoever has not shaken hands gets none.
    pub fn say_goodbye(&mut self) -> io::Result<()> {
        if self.has_failed || self.is_handshaking() || std::mem::replace(&mut self.has_said_goodbye, true) {
            return Ok(());
        }
        self.say(0, |traffic, space| traffic.queue_close_notify(space))
    }

    fn encrypt(&mut self, plain: &[u8]) -> io::Result<()> {
        if self.has_failed || self.has_said_goodbye {
            return Err(ErrorKind::BrokenPipe.into());
        }
        self.say(plain.len(), |traffic, space| traffic.encrypt(plain, space))
    }

    /// Appends what `encrypt` makes, of about so many bytes, behind what the session has to say itself.
    fn say(
        &mut self,
        len: usize,
        mut encrypt: impl FnMut(&mut Traffic<'_, '_>, &mut [u8]) -> Encrypted,
    ) -> io::Result<()> {
        loop {
            // The session may point into what was kept, so it must see that, although nothing is new in it.
            let UnbufferedStatus { discard, state, .. } = self.session.process_tls_records(&mut self.partial);
            match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    return append(&mut self.pending, len, |space| encrypt(&mut traffic, space));
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(&mut self.pending, 0, |space| data.encode(space))?;
                }
                Ok(ConnectionState::TransmitTlsData(sent)) => sent.done(),
                Ok(_) => return Err(ErrorKind::NotConnected.into()),
                Err(error) => return Err(invalid(error)),
            }
            self.partial.drain(..discard);
        }
    }
}

type Traffic<'c, 'i> = rustls::unbuffered::WriteTraffic<'c, rustls::server::ServerConnectionData>;
type Encrypted = Result<usize, EncryptError>;

/// The socket of a session, for writing.
struct Over<'a, Socket> {
    tls: &'a mut Tls,
    socket: &'a mut Socket,
}

impl<Socket: Write> Write for Over<'_, Socket> {
    fn write(&mut self, plain: &[u8]) -> io::Result<usize> {
        if self.tls.flush(self.socket)? == Flush::Blocked {
            return Err(ErrorKind::WouldBlock.into());
        }
        let taken = plain.len().min(RECORD_BYTES);
        self.tls.encrypt(&plain[..taken])?;
        // What the kernel does not take of it now is written first the next time.
        self.tls.flush(self.socket)?;
        Ok(taken)
    }

    /// Many small frames become one record.
    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let all: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut plain = Vec::with_capacity(all.min(RECORD_BYTES));
        for slice in slices {
            let space = RECORD_BYTES - plain.len();
            plain.extend_from_slice(&slice[..slice.len().min(space)]);
        }
        self.write(&plain)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tls.flush(self.socket).map(drop)
    }
}

/// Appends what `write` writes into the space it is given: for `len` bytes and what protects them, or as much as it says
/// it needs.
fn append<Error: Into<NoSpace>>(
    out: &mut Vec<u8>,
    len: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Error>,
) -> io::Result<()> {
    let before = out.len();
    let mut space = len + OVERHEAD_BYTES;
    loop {
        out.resize(before + space, 0);
        let written = write(&mut out[before..]).map_err(Into::into);
        out.truncate(before + written.as_ref().map_or(0, |written| *written));
        match written {
            Ok(_) => return Ok(()),
            Err(NoSpace(Some(needed))) if needed > space => space = needed,
            Err(NoSpace(_)) => return Err(invalid("the session's keys are used up")),
        }
    }
}

/// What would have been needed, where space was all that was missing.
struct NoSpace(Option<usize>);

impl From<EncodeError> for NoSpace {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self(Some(required_size))
            }
            EncodeError::AlreadyEncoded => Self(None),
        }
    }
}

impl From<EncryptError> for NoSpace {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self(Some(required_size))
            }
            EncryptError::EncryptExhausted => Self(None),
        }
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{self, certificate::Certificate};
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    /// What the other side wrote, and what it has space for.
    #[derive(Default)]
    struct Socket {
        came: Vec<u8>,
        went: Vec<u8>,
        space: usize,
    }

    impl Read for Socket {
        fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
            if self.came.is_empty() {
                return Err(ErrorKind::WouldBlock.into());
            }
            let len = space.len().min(self.came.len());
            space[..len].copy_from_slice(&self.came[..len]);
            self.came.drain(..len);
            Ok(len)
        }
    }

    impl Write for Socket {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let len = bytes.len().min(self.space);
            if len == 0 && !bytes.is_empty() {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.space -= len;
            self.went.extend_from_slice(&bytes[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A session and its client, who have shaken hands.
    fn shaken() -> (Tls, ClientConnection) {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let config = tls::config(Certificate::read(&cert, &key).unwrap()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let trusting = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let trusting = trusting.unwrap().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(Arc::new(trusting), name).unwrap();
        let mut tls = Tls::new(config).unwrap();
        let mut socket = Socket { space: usize::MAX, ..Socket::default() };
        while client.is_handshaking() || tls.is_handshaking() {
            while client.wants_write() {
                client.write_tls(&mut socket.came).unwrap();
            }
            let read = tls.read(&mut socket, &mut [0; 4096], &mut [0; 4096]);
            assert!(
                read.is_err_and(|error| matches!(
                    error.kind(),
                    ErrorKind::Interrupted | ErrorKind::WouldBlock
                ))
            );
            tls.flush(&mut socket).unwrap();
            let went = std::mem::take(&mut socket.went);
            client.read_tls(&mut &went[..]).unwrap();
            client.process_new_packets().unwrap();
        }
        (tls, client)
    }

    #[test]
    fn one_record_waits_at_most_however_slow_the_socket_is() {
        let (mut tls, mut client) = shaken();
        let plain: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
        let (mut socket, mut taken, mut came) = (Socket::default(), 0, Vec::new());
        while came.len() < plain.len() {
            socket.space = 1_000;
            match tls.over(&mut socket).write(&plain[taken..]) {
                Ok(more) => taken += more,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            assert!(tls.pending.len() <= RECORD_BYTES + 22, "{}", tls.pending.len());
            if taken == plain.len() {
                let _ = tls.flush(&mut socket).unwrap();
            }
            let went = std::mem::take(&mut socket.went);
            client.read_tls(&mut &went[..]).unwrap();
            client.process_new_packets().unwrap();
            let _ = client.reader().read_to_end(&mut came);
        }
        assert_eq!(came, plain);
    }

    #[test]
    fn nothing_is_held_while_nothing_is_under_way() {
        let (mut tls, mut client) = shaken();
        let mut socket = Socket { space: usize::MAX, ..Socket::default() };
        tls.over(&mut socket).write_all(b"hello").unwrap();
        client.writer().write_all(&[7; 10_000]).unwrap();
        client.write_tls(&mut socket.came).unwrap();
        let rest = socket.came.split_off(5_000);
        let (mut space, mut ciphertext) = (vec![0; 65_536], vec![0; 65_536]);
        let half = tls.read(&mut socket, &mut space, &mut ciphertext).unwrap_err();
        assert_eq!((half.kind(), tls.partial.len()), (ErrorKind::Interrupted, 5_000));
        socket.came = rest;
        assert_eq!(tls.read(&mut socket, &mut space, &mut ciphertext).unwrap(), 10_000);
        assert_eq!((tls.partial.capacity(), tls.pending.capacity()), (0, 0));
    }
}
