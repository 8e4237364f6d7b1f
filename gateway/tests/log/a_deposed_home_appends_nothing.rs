//! Whoever takes a partition fences its home: from then on that one's appends are refused, whatever it believes, and the
//! new home goes on where the old one ended.

use carillon_devservers::Nats;
use carillon_gateway::log::{AppendError, HomeLog, JetStreamLog, Log, TakenOver};

use crate::harness::{at, batch, jetstream, read_until};

#[tokio::test]
async fn its_appends_are_refused_for_good() {
    let nats = Nats::start().unwrap();
    let (old, new) = (open(&nats), open(&nats));
    assert_eq!(old.append(vec![batch(0, 1)]).await, Err(AppendError::Deposed(0)));
    assert_eq!(old.take(0).await.unwrap(), TakenOver { epoch: 1, position: 0, delivered: 0 });
    old.append(vec![batch(0, 1), batch(0, 2)]).await.unwrap();

    assert_eq!(new.take(0).await.unwrap(), TakenOver { epoch: 2, position: 2, delivered: 0 });
    for _again in 0..3 {
        let refused = old.append(vec![batch(0, 3)]).await.unwrap_err();
        assert!(refused == AppendError::Deposed(0) && !refused.come_back());
    }
    new.append(vec![batch(0, 3)]).await.unwrap();
    assert_eq!(old.take(0).await.unwrap(), TakenOver { epoch: 3, position: 3, delivered: 0 });
    assert_eq!(new.append(vec![batch(0, 4)]).await, Err(AppendError::Deposed(0)));
    assert_eq!(read_until(&old, at(0), &at(3)).await, [batch(0, 1), batch(0, 2), batch(0, 3)]);
}

#[tokio::test]
async fn what_it_had_under_way_is_there_or_refused() {
    let nats = Nats::start().unwrap();
    let (old, new) = (open(&nats), open(&nats));
    old.take(0).await.unwrap();
    let waiting: Vec<_> = (1..=500).map(|position| old.append(vec![batch(0, position)])).collect();
    let TakenOver { position, .. } = new.take(0).await.unwrap();
    let mut acknowledged = 0;
    for append in waiting {
        match append.await {
            Ok(()) => acknowledged += 1,
            Err(error) => assert_eq!(error, AppendError::Deposed(0)),
        }
    }
    // Each of them is answered by what is in the log, so these are the same.
    assert_eq!(acknowledged, position);
    new.append(vec![batch(0, position + 1)]).await.unwrap();
    let read = read_until(&old, at(0), &at(position + 1)).await;
    assert_eq!(read, (1..=position + 1).map(|position| batch(0, position)).collect::<Vec<_>>());
}

#[tokio::test]
async fn two_that_take_at_once_are_one_home() {
    let nats = Nats::start().unwrap();
    let (one, two) = (open(&nats), open(&nats));
    for round in 0..20 {
        let (first, second) = futures_util::future::join(one.take(2), two.take(2)).await;
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_ne!(first.epoch, second.epoch);
        let (home, other) = if first.epoch > second.epoch { (&one, &two) } else { (&two, &one) };
        assert_eq!(other.append(vec![batch(2, round + 1)]).await, Err(AppendError::Deposed(2)));
        home.append(vec![batch(2, round + 1)]).await.unwrap();
    }
}

#[tokio::test]
async fn who_released_appends_nothing_and_has_settled_what_it_had() {
    let nats = Nats::start().unwrap();
    let log = open(&nats);
    log.take(0).await.unwrap();
    let under_way: Vec<_> = (1..=50).map(|position| log.append(vec![batch(0, position)])).collect();
    log.release(0).await;
    assert_eq!(log.last(), at(50));
    for append in under_way {
        append.await.unwrap();
    }
    assert_eq!(log.append(vec![batch(0, 51)]).await, Err(AppendError::Deposed(0)));
    assert_eq!(open(&nats).take(0).await.unwrap(), TakenOver { epoch: 2, position: 50, delivered: 0 });
}

#[tokio::test]
async fn the_new_home_learns_up_to_where_was_delivered() {
    let nats = Nats::start().unwrap();
    let log = open(&nats);
    log.take(0).await.unwrap();
    log.append(vec![batch(0, 1)]).await.unwrap();
    log.delivered(0, 1);
    log.append(vec![batch(0, 2)]).await.unwrap();
    // Homes that append nothing pass on what they were told.
    for epoch in 2..5 {
        assert_eq!(open(&nats).take(0).await.unwrap(), TakenOver { epoch, position: 2, delivered: 1 });
    }
}

fn open(nats: &Nats) -> JetStreamLog {
    JetStreamLog::open(jetstream(nats)).unwrap()
}
