//! The journal's reader over a damaged segment.
//!
//! Promises checked: only payloads that were written are ever yielded, in order; those that no damage touched are
//! all yielded; the reader comes to an end.

#![no_main]

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
    sync::LazyLock,
};

use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary, fuzz_target};
use shopaloud::journal::fuzzing;

/// Where the segment lies; a process of its own fuzzes nothing else.
static SEGMENT: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("journal-scan-{}", std::process::id())));

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    base: u32,
    payloads: Vec<&'a [u8]>,
    damages: Vec<Damage<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Damage<'a> {
    Flip { at: u16, bit: u8 },
    Overwrite { at: u16, with: &'a [u8] },
    Truncate { at: u16 },
    Append { bytes: &'a [u8] },
}

fuzz_target!(|input: Input<'_>| {
    let base = u64::from(input.base);
    let payloads: Vec<&[u8]> = input.payloads.into_iter().filter(|payload| !payload.is_empty()).collect();
    // Unknown to whoever wrote the payloads: with a fixed one the fuzzer learned to put frames into them.
    let mut hasher = DefaultHasher::new();
    payloads.hash(&mut hasher);
    let salt = hasher.finish();
    let (mut bytes, frames) = fuzzing::frames(salt, base, &payloads);
    let original = bytes.clone();
    for damage in input.damages {
        apply(&mut bytes, damage);
    }
    let read = fuzzing::scan(&SEGMENT, salt, base, &bytes);

    let mut rest = payloads.iter();
    for payload in &read {
        assert!(rest.any(|written| *written == &payload[..]), "never written, or out of order");
    }
    let untouched = frames.iter().filter(|frame| bytes.get((*frame).clone()) == original.get((*frame).clone())).count();
    assert!(read.len() >= untouched, "an undamaged entry was not found");
});

fn apply(bytes: &mut Vec<u8>, damage: Damage<'_>) {
    let place = |at: u16| usize::from(at) % bytes.len().max(1);
    match damage {
        Damage::Flip { at, bit } => {
            let at = place(at);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (bit % 8);
            }
        }
        Damage::Overwrite { at, with } => {
            let at = place(at);
            for (byte, new) in bytes.iter_mut().skip(at).zip(with) {
                *byte = *new;
            }
        }
        Damage::Truncate { at } => bytes.truncate(place(at)),
        Damage::Append { bytes: more } => bytes.extend_from_slice(more),
    }
}
