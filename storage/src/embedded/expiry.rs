//! Client ids that are too old go when compaction comes by.
//!
//! Forgetting them then costs one number a call and leaves no tombstones. Until compaction has passed, reads
//! leave them out by the same number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fjall::compaction::filter::{
    CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict,
};

use super::value;

/// Client ids sent before this moment are forgotten, in milliseconds since 1970. It only ever grows.
#[derive(Clone, Default)]
pub(super) struct SentFrom(Arc<AtomicU64>);

impl SentFrom {
    pub(super) fn ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn advance(&self, to_ms: u64) {
        self.0.fetch_max(to_ms, Ordering::Relaxed);
    }
}

impl Factory for SentFrom {
    fn name(&self) -> &str {
        "expired client ids"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(Expired { from_ms: self.ms() })
    }
}

struct Expired {
    from_ms: u64,
}

impl CompactionFilter for Expired {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        let expired = value::decode_sent(&item.value()?).is_some_and(|row| row.at_ms < self.from_ms);
        // No tombstone: should an older copy of the row lie deeper, reads leave that out too.
        Ok(if expired { Verdict::Destroy } else { Verdict::Keep })
    }
}
