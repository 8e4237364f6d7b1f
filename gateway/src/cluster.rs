//! Many nodes: who they are, whose a partition is, and how what one node's shards say reaches another's.
//!
//! Nothing here decides what is true: a view may be old and a link may be lost at any time. Only the log's fencing keeps
//! two nodes from deciding for one partition (`log`).

pub mod view;
