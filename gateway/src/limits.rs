//! Who is let in: how many connections a node takes, in all and from one address.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use papaya::{HashMap, Operation};

/// The node's count of connections, shared by its shards. Touched when one comes or goes, never between.
pub struct Admission {
    connections_max: usize,
    per_ip_max: usize,
    connections: AtomicUsize,
    per_ip: HashMap<IpAddr, usize, foldhash::fast::RandomState>,
}

impl Admission {
    /// At most `connections_max` in all, and `per_ip_max` from one address (0: any number).
    pub fn new(connections_max: usize, per_ip_max: usize) -> Self {
        Self { connections_max, per_ip_max, connections: AtomicUsize::new(0), per_ip: HashMap::default() }
    }

    /// Lets a connection in, or not. Who is in must be given back by [`Admission::release`].
    pub fn admit(&self, ip: IpAddr) -> bool {
        if self.connections.fetch_add(1, Ordering::Relaxed) >= self.connections_max {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        if self.per_ip_max > 0 && !self.admit_ip(ip) {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// A connection that was let in has gone.
    pub fn release(&self, ip: IpAddr) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
        if self.per_ip_max > 0 {
            self.per_ip.pin().compute(ip, |entry| match entry {
                None => Operation::Abort(()),
                Some((_, 1)) => Operation::Remove,
                Some((_, count)) => Operation::Insert(count - 1),
            });
        }
    }

    /// How many are in.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    fn admit_ip(&self, ip: IpAddr) -> bool {
        let per_ip = self.per_ip.pin();
        let computed = per_ip.compute(ip, |entry| match entry {
            None => Operation::Insert(1),
            Some((_, &count)) if count < self.per_ip_max => Operation::Insert(count + 1),
            Some(_) => Operation::Abort(()),
        });
        !matches!(computed, papaya::Compute::Aborted(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_the_node_have_their_limits_and_places_are_given_back() {
        let admission = Admission::new(3, 2);
        let [one, other]: [IpAddr; 2] = ["127.0.0.1", "127.0.0.2"].map(|ip| ip.parse().unwrap());
        assert!(admission.admit(one) && admission.admit(one));
        assert!(!admission.admit(one), "two from one address");
        assert!(admission.admit(other));
        assert!(!admission.admit(other), "three in all");
        admission.release(one);
        assert!(admission.admit(other));
        assert_eq!(admission.connections(), 3);
    }
}
