//! The `shopaloud` command.

const fn main() {}
