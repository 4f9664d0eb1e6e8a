//! The payload of a journal entry.
//!
//! Promises checked: what can be decoded reads back the same after it was encoded.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use shopaloud::journal::fuzzing;

fuzz_target!(|payload: &[u8]| {
    if let Ok(entry) = fuzzing::decode(Bytes::copy_from_slice(payload)) {
        let again = fuzzing::decode(fuzzing::encode(&entry)).expect("what was encoded can be decoded");
        assert_eq!(entry, again);
    }
});
