//! The persistence actors with the real journal and a store that fails as asked.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail as tests do")]
#![expect(unreachable_pub, reason = "a test binary exports nothing; `pub` marks what the modules share")]

mod backlog;
mod faults;
mod live;
mod no_deletions;
mod node;
mod openings;
mod store;
