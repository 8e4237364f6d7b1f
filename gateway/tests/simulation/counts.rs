//! What histories were made of.

use std::ops::AddAssign;

macro_rules! counts {
    ($($(#[doc = $doc:literal])* $name:ident),+ $(,)?) => {
        /// How often each happened.
        #[derive(Clone, Default, PartialEq, Eq, Debug)]
        pub struct Counts {
            $($(#[doc = $doc])* pub $name: u64),+
        }

        impl AddAssign<&Counts> for Counts {
            fn add_assign(&mut self, other: &Counts) {
                $(self.$name += other.$name;)+
            }
        }

        impl Counts {
            pub fn each(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),+]
            }
        }
    };
}

counts! {
    histories,
    requests,
    events,
    appends,
    crashes,
    /// A node does nothing for a while, and goes on with what it had in hand.
    stops,
    /// A node hears nothing from the log and the others.
    cuts,
    /// Two nodes do not hear each other.
    parted,
    leaves,
    wrong_views,
    /// Partitions taken.
    takes,
    /// Partitions given up in order.
    released,
    /// Homes that learned of it by the log.
    deposed,
    /// Homes that stopped because nobody had heard of their node.
    suspended,
    /// Messages of homes before, refused by the fence.
    fenced,
    /// Appends whose fate had to be found out.
    ambiguous,
    full,
    /// Requests that came to a node that is no home.
    moved,
    links_lost,
    refused,
    /// Requests refused for good by a home that was none any more and did not know it yet.
    refused_by_stale,
    /// Rooms read from the store.
    rooms_read,
    /// Rooms read for a home that had gone meanwhile.
    read_in_vain,
    lookups,
    /// Sends that had been decided before.
    repeated,
    /// Events handed out by the next home once more.
    again,
}
