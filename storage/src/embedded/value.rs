//! The values of the tables: numbers of eight bytes, big-endian, then text. What does not decode exactly is corrupt.

use carillon_protocol::UserId;
use carillon_protocol::frame::Role;

use crate::merge::{Joined, MemberColumns};
use crate::{RoomRow, SentRow};

/// ```text
/// head seq | head ordinal | active ms | members | preview sender, 0 for none | name's length | name | preview
/// ```
pub(super) fn encode_room(row: &RoomRow) -> Vec<u8> {
    let sender = row.preview_sender.map_or(0, UserId::get);
    let name_bytes = row.name.len() as u64;
    let numbers = [row.head_seq, row.head_ordinal, row.active_ms, row.member_count, sender, name_bytes];
    let mut bytes = Vec::with_capacity(size_of_val(&numbers) + row.name.len() + row.preview.len());
    numbers.iter().for_each(|number| bytes.extend(number.to_be_bytes()));
    bytes.extend(row.name.as_bytes());
    bytes.extend(row.preview.as_bytes());
    bytes
}

pub(super) fn decode_room(bytes: &[u8]) -> Option<RoomRow> {
    let mut fields = Fields(bytes);
    let [head_seq, head_ordinal, active_ms, member_count, sender, name_bytes] = fields.numbers()?;
    let name_bytes = usize::try_from(name_bytes).ok()?;
    Some(RoomRow {
        head_seq,
        head_ordinal,
        active_ms,
        member_count,
        preview_sender: UserId::new(sender),
        name: fields.text(name_bytes)?,
        preview: fields.text(fields.0.len())?,
    })
}

/// ```text
/// role + 1 in one byte, 0 for no member | joined seq | joined ordinal | read seq | read ordinal | own ordinal | read ms
/// ```
pub(super) fn encode_member(columns: &MemberColumns) -> [u8; 49] {
    let (joined_seq, joined_ordinal) = columns.joined.map_or((0, 0), |joined| (joined.seq, joined.ordinal));
    let MemberColumns { read_seq, read_ordinal, read_ms, own_ordinal, .. } = *columns;
    let numbers = [joined_seq, joined_ordinal, read_seq, read_ordinal, own_ordinal, read_ms];
    let mut bytes = [0; 49];
    bytes[0] = encode_role(columns.joined.map(|joined| joined.role));
    put_numbers(&mut bytes[1..], &numbers);
    bytes
}

pub(super) fn decode_member(bytes: &[u8]) -> Option<MemberColumns> {
    let (&role, numbers) = bytes.split_first()?;
    let mut fields = Fields(numbers);
    let [seq, ordinal, read_seq, read_ordinal, own_ordinal] = fields.numbers()?;
    // Rows of earlier versions end here.
    let [read_ms] = if fields.0.is_empty() { [0] } else { fields.numbers()? };
    let role = decode_role(role)?;
    let joined = role.map(|role| Joined { role, seq, ordinal });
    fields.end(MemberColumns { joined, read_seq, read_ordinal, read_ms, own_ordinal })
}

fn decode_role(byte: u8) -> Option<Option<Role>> {
    let roles = [None, Some(Role::Member), Some(Role::Owner)];
    roles.into_iter().find(|&role| encode_role(role) == byte)
}

fn encode_role(role: Option<Role>) -> u8 {
    role.map_or(0, |role| role as u8 + 1)
}

/// ```text
/// seq | ordinal | at ms | text hash
/// ```
pub(super) fn encode_sent(row: &SentRow) -> [u8; 32] {
    let mut bytes = [0; 32];
    put_numbers(&mut bytes, &[row.seq, row.ordinal, row.at_ms, row.text_hash]);
    bytes
}

pub(super) fn decode_sent(bytes: &[u8]) -> Option<SentRow> {
    let mut fields = Fields(bytes);
    let [seq, ordinal, at_ms, text_hash] = fields.numbers()?;
    fields.end(SentRow { seq, ordinal, at_ms, text_hash })
}

pub(super) fn decode_number(bytes: &[u8]) -> Option<u64> {
    let mut fields = Fields(bytes);
    let [number] = fields.numbers()?;
    fields.end(number)
}

fn put_numbers(bytes: &mut [u8], numbers: &[u64]) {
    for (field, number) in bytes.chunks_exact_mut(8).zip(numbers) {
        field.copy_from_slice(&number.to_be_bytes());
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn numbers<const N: usize>(&mut self) -> Option<[u64; N]> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            let (field, rest) = self.0.split_first_chunk()?;
            *number = u64::from_be_bytes(*field);
            self.0 = rest;
        }
        Some(numbers)
    }

    fn text(&mut self, bytes: usize) -> Option<String> {
        let (field, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        String::from_utf8(field.to_vec()).ok()
    }

    fn end<T>(&self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_of_a_store_that_knew_no_times_of_markers_is_read_without_one() {
        let joined = Some(Joined { role: Role::Owner, seq: 1, ordinal: 2 });
        let columns = MemberColumns { joined, read_seq: 3, read_ordinal: 4, read_ms: 5, own_ordinal: 6 };
        let bytes = encode_member(&columns);
        assert_eq!(decode_member(&bytes), Some(columns));
        assert_eq!(decode_member(&bytes[..41]), Some(MemberColumns { read_ms: 0, ..columns }));
        assert_eq!(decode_member(&bytes[..45]), None);
    }
}
