//! The gateway: shards, transports, sessions, commands, homes, log.
