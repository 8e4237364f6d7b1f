//! The connections of one shard: a dense table, so that an idle connection costs its row and nothing else.

use std::io::{self, Read};
use std::net::IpAddr;

use crate::outbox::{Flush, Outbox};
use crate::session::Session;
use crate::socket::Socket;
use crate::tls::session::Tls;
use crate::wire::Wire;

/// A connection's name within its shard. The generation tells it from those that had its row before.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    /// The row.
    pub index: u32,
    /// How often the row has been given out.
    pub generation: u32,
}

/// One socket and what belongs to it.
pub struct Connection {
    /// The socket.
    pub socket: Socket,
    /// What stands between the socket and all else, where it came over TLS.
    pub tls: Option<Box<Tls>>,
    /// Whose address counts it.
    pub peer: IpAddr,
    /// What it speaks, and how far it is in that.
    pub wire: Wire,
    /// What waits for it.
    pub outbox: Outbox,
    /// What answers under way may take, about: it counts as waiting already.
    pub owed_bytes: u32,
    /// The beginning of a frame whose rest has not come.
    pub partial: Box<[u8]>,
    /// Who it is, once it said hello.
    pub session: Option<Box<Session>>,
    /// The tick in which the last whole frame came.
    pub heard: u32,
    /// What holds for it now.
    pub state: State,
}

impl Connection {
    /// Reads from the socket once; what it says over TLS is read into `ciphertext`, which is as large, and decrypted.
    pub fn read(&mut self, space: &mut [u8], ciphertext: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.socket.read(space),
            Some(tls) => tls.read(&mut self.socket, space, ciphertext),
        }
    }

    /// Writes what waits, until that is all or the kernel takes no more.
    pub fn flush(&mut self) -> io::Result<Flush> {
        let format = self.wire.format();
        let Some(tls) = &mut self.tls else { return self.outbox.flush(&mut self.socket, format) };
        if self.outbox.flush(&mut tls.over(&mut self.socket), format)? == Flush::Blocked {
            return Ok(Flush::Blocked);
        }
        if self.state.closing {
            tls.say_goodbye()?;
        }
        tls.flush(&mut self.socket)
    }

    /// Bytes that wait for it or may have to soon.
    pub fn waiting_bytes(&self) -> usize {
        self.outbox.bytes() + self.owed_bytes as usize
    }

    /// Whether more waits than a reading client would let wait.
    pub fn is_over(&self, bytes_max: usize) -> bool {
        self.waiting_bytes() > bytes_max / 2
    }
}

/// What holds for a connection now.
#[derive(Clone, Copy, Default, Debug)]
pub struct State {
    /// The kernel took no more: wait until it says it does.
    pub blocked: bool,
    /// It is in the list of those to write to at the end of the turn.
    pub dirty: bool,
    /// It is not read until its outbox is shorter.
    pub paused: bool,
    /// It holds back whole frames, from before it was not read.
    pub held: bool,
    /// It is in the list of those to read again without being told.
    pub unread: bool,
    /// The peer has said its last: reading ends with that.
    pub ended: bool,
    /// It is over a limit: whatever it says, that is what it is told.
    pub refused: bool,
    /// It ends once its outbox is written; what it still says is not listened to.
    pub closing: bool,
    /// Everything was written: it ends once the peer has stopped talking.
    pub shut: bool,
}

/// The table.
#[derive(Default)]
pub struct Connections {
    rows: Vec<Row>,
    free: Vec<u32>,
    len: usize,
    /// What a new row's generation is: higher than any that a row had which is not there any more.
    first_generation: u32,
}

struct Row {
    generation: u32,
    connection: Option<Connection>,
}

impl Connections {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes a connection in.
    pub fn insert(&mut self, connection: Connection) -> Key {
        self.len += 1;
        if let Some(index) = self.free.pop() {
            let row = &mut self.rows[index as usize];
            row.generation = row.generation.wrapping_add(1);
            row.connection = Some(connection);
            return Key { index, generation: row.generation };
        }
        let generation = self.first_generation;
        self.rows.push(Row { generation, connection: Some(connection) });
        Key { index: (self.rows.len() - 1) as u32, generation }
    }

    /// Gives back the rows behind the last one in use. Names of connections that had them are nobody's still.
    pub fn shrink(&mut self) {
        while let Some(Row { generation, connection: None }) = self.rows.last() {
            self.first_generation = self.first_generation.max(generation.wrapping_add(1));
            self.rows.pop();
        }
        let rows = self.rows.len();
        self.free.retain(|&index| (index as usize) < rows);
        self.rows.shrink_to_fit();
        self.free.shrink_to_fit();
    }

    /// Takes a connection out.
    pub fn remove(&mut self, key: Key) -> Option<Connection> {
        let row = self.rows.get_mut(key.index as usize)?;
        if row.generation != key.generation {
            return None;
        }
        let connection = row.connection.take()?;
        self.free.push(key.index);
        self.len -= 1;
        Some(connection)
    }

    /// The connection of that name, unless it has gone.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut Connection> {
        let row = self.rows.get_mut(key.index as usize)?;
        if row.generation != key.generation { None } else { row.connection.as_mut() }
    }

    /// The connection of that name, unless it has gone.
    pub fn get(&self, key: Key) -> Option<&Connection> {
        let row = self.rows.get(key.index as usize)?;
        if row.generation != key.generation { None } else { row.connection.as_ref() }
    }

    /// The name of the connection in that row now.
    pub fn key_at(&self, index: u32) -> Option<Key> {
        let row = self.rows.get(index as usize)?;
        row.connection.as_ref().map(|_| Key { index, generation: row.generation })
    }

    /// One in `stride` rows, those at `offset`: how every connection gets its turn once a round without a timer of its own.
    pub fn every(&self, stride: usize, offset: usize) -> Vec<Key> {
        (offset..self.rows.len())
            .step_by(stride.max(1))
            .filter_map(|index| self.key_at(index as u32))
            .collect()
    }

    /// All of them.
    pub fn keys(&self) -> Vec<Key> {
        self.every(1, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn connection() -> Connection {
        Connection {
            socket: Socket::Within,
            tls: None,
            peer: Ipv4Addr::LOCALHOST.into(),
            wire: Wire::New,
            outbox: Outbox::default(),
            owed_bytes: 0,
            partial: Box::default(),
            session: None,
            heard: 0,
            state: State::default(),
        }
    }

    #[test]
    fn rows_that_are_given_back_are_nobodys_when_they_are_there_again() {
        let mut connections = Connections::default();
        let names: Vec<Key> = (0..5).map(|_| connections.insert(connection())).collect();
        for gone in [0, 3, 4] {
            connections.remove(names[gone]);
        }
        connections.shrink();
        assert_eq!((connections.len(), connections.keys()), (2, names[1..3].to_vec()));
        let again: Vec<Key> = (0..3).map(|_| connections.insert(connection())).collect();
        assert_eq!(again.iter().map(|name| name.index).collect::<Vec<_>>(), [0, 3, 4]);
        assert!(names.iter().all(|name| !again.contains(name)));
        assert!(connections.get(names[4]).is_none() && connections.get(again[2]).is_some());
    }
}
