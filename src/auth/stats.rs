//! What was refused or slowed down, counted by its name.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$meta:meta])* $name:ident,)*) => {
        /// Counts since the start.
        #[derive(Debug, Default)]
        pub struct AccessStats {
            $($(#[$meta])* pub $name: Counter,)*
        }

        impl AccessStats {
            /// Every counter by its name.
            #[must_use]
            pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)*]
            }
        }
    };
}

counters! {
    /// Hellos and requests without a valid key or token.
    unauthorized,
    /// Keys that are valid and not for this.
    forbidden,
    /// Tokens that expired, also during a connection.
    token_expired,
    /// Those who named another user than their token does.
    wrong_user,
    /// Pages of an origin that is not listed.
    foreign_origin,
    /// Requests for a name that an open server does not answer to.
    foreign_host,
    /// TCP connections that were cut.
    sockets_limited,
    connections_limited,
    requests_limited,
    /// Messages that made their connection wait.
    messages_slowed,
    /// Chunks of bytes that made their connection wait.
    chunks_slowed,
    /// Keys files that could not be taken.
    reloads_failed,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
