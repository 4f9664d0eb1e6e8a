//! What lies beside a staged run.
//!
//! Promises checked: no panic; what was read is written back the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shopaloud::upload::fuzzing;

fuzz_target!(|bytes: &[u8]| fuzzing::sidecar_reads_back(bytes));
