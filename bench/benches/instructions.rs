//! How many instructions the gateway's parts take, counted under valgrind: `cargo run -p carillon-bench --bin instructions`
//! compares them with what was recorded. What a bench needs is made, and warmed up, before counting begins.
#![allow(missing_docs)]

use std::hint::black_box;
use std::net;

use carillon_bench::codec::{FRAME_BYTES_MAX, encoded, message, send};
use carillon_bench::fan_out::FanOut;
use carillon_bench::mailbox::Crossing;
use carillon_bench::outbox::Outboxes;
use carillon_bench::sequencing::Sequencing;
use carillon_bench::websocket::masked;
use carillon_gateway::socket::Socket;
use carillon_gateway::transport::websocket::{Takes, WebSocket};
use carillon_protocol::{Frame, decode, encode};
use gungraun::prelude::*;
use mio::net::TcpStream;

/// Deliveries in a batch between shards.
const BATCH: usize = 64;
/// Members of a room, and outboxes.
const MANY: usize = 1_000;

#[library_benchmark]
#[bench::send(send())]
#[bench::event(message())]
fn codec_encode(frame: Frame<'static>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1024);
    encode(black_box(&frame), &mut bytes);
    bytes
}

#[library_benchmark]
#[bench::send(encoded(&send()))]
#[bench::event(encoded(&message()))]
fn codec_decode(bytes: Vec<u8>) -> Vec<u8> {
    let _ = black_box(decode(black_box(&bytes), FRAME_BYTES_MAX));
    bytes
}

fn message_of(payload_bytes: usize) -> (WebSocket, Vec<u8>) {
    (WebSocket::new(Takes::Both), masked(&vec![0x55; payload_bytes]))
}

#[library_benchmark]
#[bench::of_64_bytes(message_of(64))]
#[bench::of_512_bytes(message_of(512))]
fn websocket_read((mut websocket, mut bytes): (WebSocket, Vec<u8>)) -> (WebSocket, Vec<u8>) {
    let _ = black_box(websocket.read(black_box(&mut bytes), FRAME_BYTES_MAX));
    (websocket, bytes)
}

fn crossing() -> Crossing {
    let crossing = Crossing::new().expect("a poll can be made");
    crossing.cross(BATCH);
    crossing
}

#[library_benchmark]
#[bench::one(crossing(), 1)]
#[bench::batch_of_64(crossing(), BATCH)]
fn mailbox_cross(crossing: Crossing, deliveries: usize) -> Crossing {
    black_box(crossing.cross(black_box(deliveries)));
    crossing
}

fn outboxes() -> Outboxes {
    let mut outboxes = Outboxes::new(MANY);
    outboxes.answer();
    outboxes.write();
    outboxes
}

fn filled(shared: usize) -> Outboxes {
    let mut outboxes = outboxes();
    (0..shared).for_each(|_| outboxes.share());
    outboxes
}

#[library_benchmark]
#[bench::encoded_once_for_1000(outboxes())]
fn outbox_share(mut outboxes: Outboxes) -> Outboxes {
    outboxes.share();
    outboxes
}

#[library_benchmark]
#[bench::to_1000(outboxes())]
fn outbox_answer(mut outboxes: Outboxes) -> Outboxes {
    outboxes.answer();
    outboxes
}

#[library_benchmark]
#[bench::of_1000_with_one_message(filled(1))]
#[bench::of_1000_with_16_messages(filled(16))]
fn outbox_write(mut outboxes: Outboxes) -> Outboxes {
    outboxes.write();
    outboxes
}

/// An outbox with one message, a socket, and its peer.
fn tcp() -> (Outboxes, TcpStream, net::TcpStream) {
    let listener = net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let peer = net::TcpStream::connect(address).expect("it listens");
    let (socket, _) = listener.accept().expect("the peer connected");
    let mut outboxes = Outboxes::new(1);
    outboxes.share();
    (outboxes, TcpStream::from_std(socket), peer)
}

fn gateways_tcp() -> (Outboxes, Socket, net::TcpStream) {
    let (outboxes, socket, peer) = tcp();
    (outboxes, Socket::Tcp(socket), peer)
}

// What it costs that a connection's socket is an enum: the difference of these two.
#[library_benchmark]
#[bench::by_the_gateways_socket(gateways_tcp())]
fn outbox_write_tcp(
    (mut outboxes, mut socket, peer): (Outboxes, Socket, net::TcpStream),
) -> (Outboxes, Socket, net::TcpStream) {
    outboxes.write_to(&mut socket);
    (outboxes, socket, peer)
}

#[library_benchmark]
#[bench::by_a_bare_socket(tcp())]
fn outbox_write_bare_tcp(
    (mut outboxes, mut socket, peer): (Outboxes, TcpStream, net::TcpStream),
) -> (Outboxes, TcpStream, net::TcpStream) {
    outboxes.write_to(&mut socket);
    (outboxes, socket, peer)
}

fn home(members: u64) -> Sequencing {
    let mut home = Sequencing::new(members);
    home.turn(64);
    home
}

#[library_benchmark]
#[bench::one_send(home(3), 1)]
#[bench::turn_of_64(home(3), 64)]
#[bench::turn_of_64_in_a_large_room(home(MANY as u64), 64)]
fn sequencing(mut home: Sequencing, sends: u64) -> Sequencing {
    black_box(home.turn(black_box(sends)));
    home
}

#[library_benchmark]
#[bench::to_1000_on_one_shard(FanOut::new(1, MANY as u64))]
#[bench::to_1000_across_two_shards(FanOut::new(2, MANY as u64))]
#[bench::to_50_by_name(FanOut::new(1, 50))]
fn fan_out(mut room: FanOut) -> FanOut {
    room.send();
    room
}

library_benchmark_group!(
    name = parts,
    benchmarks = [
        codec_encode,
        codec_decode,
        websocket_read,
        mailbox_cross,
        outbox_share,
        outbox_answer,
        outbox_write,
        outbox_write_tcp,
        outbox_write_bare_tcp,
        sequencing,
        fan_out
    ]
);

main!(library_benchmark_groups = parts);
