//! Containers of recorded audio, from bytes that nobody vouches for.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| shopaloud::media::fuzzing::scan_any(bytes));
