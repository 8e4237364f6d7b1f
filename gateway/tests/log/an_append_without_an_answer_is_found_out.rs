//! NATS can lose a message, lose its answer, refuse what it should not, and be silent. In each case what became of the
//! append is found out, and it is in the log once.

use std::time::Duration;

use carillon_devservers::Nats;
use carillon_gateway::log::{AppendError, HomeLog, JetStreamConfig, JetStreamLog, Log};
use futures_util::FutureExt;

use crate::cut::Wire;
use crate::harness::{at, batch, jetstream, read_until};

#[tokio::test]
async fn its_answer_was_lost() {
    let (nats, wire, log) = through_a_wire(Duration::from_secs(60));
    for round in 0..3 {
        wire.lose_answers(true);
        let append = log.append(vec![batch(0, 2 * round + 1)]);
        let other = open(&nats);
        while other.last()[0] < 2 * round + 1 {
            other.refresh().await.unwrap();
        }
        // It is there, and whoever appended it does not know.
        wire.lose_answers(false);
        wire.cut();
        append.await.unwrap();
        log.append(vec![batch(0, 2 * round + 2)]).await.unwrap();
    }
    is_in_the_log_once(&log, 6).await;
    // And a message for each, besides those with which the home began in 4 partitions.
    let client = async_nats::connect(nats.urls()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let mut messages = 0;
    for stream in ["carillon-log-0", "carillon-log-1"] {
        messages += jetstream.get_stream(stream).await.unwrap().cached_info().state.messages;
    }
    assert_eq!(messages, 4 + 6);
}

#[tokio::test]
async fn it_never_arrived() {
    let (_nats, wire, log) = through_a_wire(Duration::from_secs(60));
    wire.lose_questions(true);
    let append = log.append(vec![batch(0, 1)]);
    let next = log.append(vec![batch(0, 2)]);
    tokio::time::sleep(Duration::from_millis(50)).await;
    wire.lose_questions(false);
    wire.cut();
    append.await.unwrap();
    next.await.unwrap();
    is_in_the_log_once(&log, 2).await;
}

#[tokio::test]
async fn it_was_refused_though_nobody_else_wrote() {
    let (_nats, wire, log) = through_a_wire(Duration::from_secs(60));
    for position in 1..=5 {
        wire.refuse(2);
        log.append(vec![batch(0, position)]).await.unwrap();
        assert_eq!(wire.refusals_left(), 0);
    }
    is_in_the_log_once(&log, 5).await;
}

#[tokio::test]
async fn the_server_was_frozen() {
    let mut nats = Nats::start().unwrap();
    let config = JetStreamConfig { append_timeout: Duration::from_millis(1), ..jetstream(&nats) };
    let log = JetStreamLog::open(config).unwrap();
    log.take(0).await.unwrap();
    log.append(vec![batch(0, 1)]).await.unwrap();
    nats.servers()[0].pause().unwrap();
    let mut under_way = log.append(vec![batch(0, 2)]);
    // What was not sent is refused; what was stays open, for nobody knows.
    tokio::time::sleep(Duration::from_millis(10)).await;
    let refused = log.append(vec![batch(0, 3)]).await.unwrap_err();
    assert!(matches!(refused, AppendError::Unavailable(_)) && refused.come_back(), "{refused}");
    assert_eq!(under_way.as_mut().now_or_never(), None);
    nats.servers()[0].resume().unwrap();
    under_way.await.unwrap();
    log.append(vec![batch(0, 3)]).await.unwrap();
    is_in_the_log_once(&log, 3).await;
}

#[tokio::test]
async fn the_home_was_frozen_out_meanwhile() {
    let (nats, wire, log) = through_a_wire(Duration::from_secs(60));
    log.append(vec![batch(0, 1)]).await.unwrap();
    wire.lose_questions(true);
    let append = log.append(vec![batch(0, 2)]);
    let other = open(&nats);
    assert_eq!(other.take(0).await.unwrap().position, 1);
    other.append(vec![batch(0, 2)]).await.unwrap();
    wire.lose_questions(false);
    wire.cut();
    assert_eq!(append.await, Err(AppendError::Deposed(0)));
    is_in_the_log_once(&other, 2).await;
}

/// A log whose home of partition 0 is behind a wire.
fn through_a_wire(append_timeout: Duration) -> (Nats, Wire, JetStreamLog) {
    let nats = Nats::start().unwrap();
    let wire = Wire::to(nats.port(0));
    let config = JetStreamConfig { servers: vec![wire.url()], append_timeout, ..jetstream(&nats) };
    let log = JetStreamLog::open(JetStreamConfig { take_all: true, ..config }).unwrap();
    (nats, wire, log)
}

fn open(nats: &Nats) -> JetStreamLog {
    JetStreamLog::open(jetstream(nats)).unwrap()
}

async fn is_in_the_log_once(log: &JetStreamLog, last: u64) {
    let expected: Vec<_> = (1..=last).map(|position| batch(0, position)).collect();
    assert_eq!(read_until(log, at(0), &at(last)).await, expected);
    assert_eq!(log.last(), at(last));
}
