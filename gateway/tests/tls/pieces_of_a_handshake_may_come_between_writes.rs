//! TLS 1.3 goes on with handshake messages in a session (`key_update`), which may come in pieces, and the node may have
//! something to write between two pieces. The session remembers where the first piece is; writing must not lose it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use carillon_protocol::Frame;
use rustls::ConnectionTrafficSecrets;

use crate::client::{TLS13, TlsNode, stream, trusting};
use crate::harness::Client;
use crate::victims::Victims;

const HANDSHAKE: u8 = 22;
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

/// A session whose records are made by hand from here on.
struct ByHand {
    socket: TcpStream,
    key: LessSafeKey,
    iv: [u8; 12],
    sent: u64,
}

impl ByHand {
    fn of(client: Client<crate::client::Stream>) -> Self {
        let (connection, socket) = (client.stream.conn, client.stream.sock);
        let (sent, secrets) = connection.dangerous_extract_secrets().unwrap().tx;
        let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else { panic!("another cipher") };
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap());
        Self { socket, key, iv: iv.as_ref().try_into().unwrap(), sent }
    }

    fn say(&mut self, kind: u8, payload: &[u8]) {
        let mut iv = self.iv;
        iv[4..].iter_mut().zip(self.sent.to_be_bytes()).for_each(|(byte, more)| *byte ^= more);
        self.sent += 1;
        let mut sealed = [payload, &[kind]].concat();
        let len = (sealed.len() + AES_256_GCM.tag_len()) as u16;
        let header = [&[23, 3, 3][..], &len.to_be_bytes()].concat();
        let nonce = Nonce::assume_unique_for_key(iv);
        self.key.seal_in_place_append_tag(nonce, Aad::from(&header), &mut sealed).unwrap();
        self.socket.write_all(&[header, sealed].concat()).unwrap();
    }
}

#[test]
fn at_every_place() {
    let node = TlsNode::start_with(|config| config.ping_interval_ms = 60_000);
    let mut victims = Victims::on(&node.node);
    let [ann, bob] = Victims::USERS;
    let mut config = trusting(node.files.path(), TLS13);
    config.enable_secret_extraction = true;
    let config = Arc::new(config);
    for len in 1..KEY_UPDATE.len() {
        // On the devices of those who talk, so that it gets what they say.
        let mut client = Client::on(stream(&config, node.connect()));
        client.hello(&node.node.token(if len % 2 == 0 { ann } else { bob }), &format!("device {len}"));
        client.ask(|request| Frame::Rooms { request, changed_since: 0, limit: 1, page: None });
        let mut by_hand = ByHand::of(client);
        by_hand.say(HANDSHAKE, &KEY_UPDATE[..len]);
        victims.exchange();
        let mut header = [0; 5];
        by_hand.socket.read_exact(&mut header).unwrap();
        assert_eq!(header[0], 23, "it is told of what was said");
        by_hand.say(HANDSHAKE, &KEY_UPDATE[len..]);
        victims.exchange();
        // Sealed with the keys of before the update: that is the end of it.
        by_hand.say(HANDSHAKE, &KEY_UPDATE[..len]);
        by_hand.socket.read_to_end(&mut Vec::new()).unwrap();
    }
    assert_eq!(
        crate::victims::stats(&node.node)["tls_failed"],
        4,
        "the last pieces were sealed with keys of before"
    );
}
