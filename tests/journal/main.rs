//! The journal from outside: real files, real threads, a real `kill -9`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]
#![expect(unreachable_pub, reason = "a test binary exports nothing; `pub` marks what the modules share")]

mod basics;
mod crash;
mod damage;
mod model;
mod support;
