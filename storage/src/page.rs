//! How a page of events ends.

use crate::{StoreResult, StoredEvent};

/// The first of `events`: at most `limit`, and no more than `bytes_max` bytes unless the first alone has more.
pub(crate) fn page(
    events: impl Iterator<Item = StoreResult<StoredEvent>>,
    limit: usize,
    bytes_max: usize,
) -> StoreResult<Vec<StoredEvent>> {
    let mut page = Vec::new();
    let mut bytes = 0_usize;
    for event in events.take(limit) {
        let event = event?;
        bytes = bytes.saturating_add(event.bytes.len());
        if bytes > bytes_max && !page.is_empty() {
            break;
        }
        page.push(event);
    }
    Ok(page)
}
