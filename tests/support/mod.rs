//! What several kinds of tests stand on: real servers of their own, on ports of their own.

pub(crate) mod s3;
