//! Nodes with a certificate, and clients that trust it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use carillon_gateway::config::Config;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use tempfile::TempDir;

use crate::harness::{Client, Node};
use crate::victims::{PATIENCE, quick_node};

pub const TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
pub const TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];

/// A node that listens over TLS too. Its ticks are short.
pub struct TlsNode {
    pub node: Node,
    pub address: SocketAddr,
    pub files: TempDir,
}

/// A connection over TLS.
pub type Stream<Socket = TcpStream> = StreamOwned<ClientConnection, Socket>;

impl TlsNode {
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let files = tempfile::tempdir().unwrap();
        make_certificate(files.path());
        let node = quick_node(|config| {
            config.tls_listen = Some("127.0.0.1:0".parse().unwrap());
            config.tls_certificate = Some(files.path().join("cert.pem"));
            config.tls_key = Some(files.path().join("key.pem"));
            change(config);
        });
        let address = node.tls_address.unwrap();
        Self { node, address, files }
    }

    /// The certificate it shows, in PEM.
    pub fn certificate(&self) -> String {
        self.files.path().join("cert.pem").display().to_string()
    }

    /// A session.
    pub fn client(&self, user: u64) -> Client<Stream> {
        self.client_over(self.connect(), user)
    }

    /// A session over that socket.
    pub fn client_over<Socket: Read + Write>(&self, socket: Socket, user: u64) -> Client<Stream<Socket>> {
        let config = Arc::new(trusting(self.files.path(), TLS13));
        let mut client = Client::on(stream(&config, socket));
        client.hello(&self.node.token(user), "a device");
        client
    }

    /// A bare connection to where TLS is spoken.
    pub fn connect(&self) -> TcpStream {
        connect(self.address)
    }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// Makes `cert.pem` and `key.pem` in that folder, for `localhost` and its address.
pub fn make_certificate(folder: &Path) {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
}

/// Trusts the certificate that is in that folder now.
pub fn trusting(folder: &Path, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("cert.pem")).unwrap()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

pub fn connection(config: &Arc<ClientConfig>) -> ClientConnection {
    ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost").unwrap()).unwrap()
}

pub fn stream<Socket: Read + Write>(config: &Arc<ClientConfig>, socket: Socket) -> Stream<Socket> {
    StreamOwned::new(connection(config), socket)
}

/// The bytes with which a client begins.
pub fn client_hello(node: &TlsNode) -> Vec<u8> {
    let mut bytes = Vec::new();
    connection(&Arc::new(trusting(node.files.path(), TLS13))).write_tls(&mut bytes).unwrap();
    bytes
}
