//! Every kind of entry, with every field at its limits, there and back; and bytes that are no entry.

use proptest::{option, prelude::*};

use super::*;

fn id<T>(make: impl Fn([u8; 16]) -> T + Clone) -> impl Strategy<Value = T>
where
    T: std::fmt::Debug,
{
    any::<[u8; 16]>().prop_map(make)
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        (-62_135_596_800_000..=253_402_300_799_999_i64).prop_map(|ms| Timestamp::from_unix_ms(ms).unwrap()),
        Just(Timestamp::from_unix_ms(0).unwrap()),
    ]
}

fn user() -> impl Strategy<Value = UserId> {
    prop_oneof!["[a-zäß漢🎤@. ]{1,64}", "x{200,256}"].prop_map(|text| UserId::parse(&text).unwrap())
}

fn format() -> impl Strategy<Value = AudioFormat> {
    prop::sample::select(vec![AudioFormat::Unknown, AudioFormat::WebM, AudioFormat::Ogg, AudioFormat::Mp4])
}

fn record() -> impl Strategy<Value = Record> {
    let stream = || id(StreamId::from_bytes);
    let session = || id(SessionId::from_bytes);
    let profile = (option::of("[a-zé ]{1,40}"), option::of("[a-z]{1,20}@x{0,130}"))
        .prop_map(|(name, email)| Profile::parse(name.as_deref(), email.as_deref()).unwrap());
    let status = prop::sample::select(vec![SessionStatus::Recording, SessionStatus::Ended, SessionStatus::Expired]);
    let event = (
        (stream(), any::<i64>(), user(), option::of(session())),
        ("[a-z:]{1,128}", "\\PC{0,300}", option::of(time()), time()),
    );
    let part = (
        (id(RunId::from_bytes), session(), user(), stream(), any::<u64>(), time(), time()),
        ("[a-z/.]{0,300}", format(), any::<u64>(), any::<[u8; 32]>()),
    );
    prop_oneof![
        (stream(), user(), profile, time())
            .prop_map(|(stream, user, profile, at)| Record::StreamOpened(StreamOpened { stream, user, profile, at })),
        (user(), any::<bool>(), time()).prop_map(|(user, connected, at)| Record::Presence(Presence {
            user,
            connected,
            at
        })),
        (session(), user(), stream(), option::of(any::<i64>()), option::of("\\PC{0,20000}"), time()).prop_map(
            |(session, user, stream, seq, page, at)| Record::SessionOpened(SessionOpened {
                session,
                user,
                stream,
                seq,
                page,
                at
            })
        ),
        (session(), user(), time()).prop_map(|(session, user, at)| Record::SessionTouched(SessionTouched {
            session,
            user,
            at
        })),
        (session(), user(), stream(), option::of(any::<i64>()), status, time()).prop_map(
            |(session, user, stream, seq, status, at)| {
                Record::SessionClosed(SessionClosed { session, user, stream, seq, status, at })
            }
        ),
        event.prop_map(|((stream, seq, user, session), (name, data, client_at, received_at))| {
            let (name, data) = (EventName::parse(name).unwrap(), JsonText::from_stored(data));
            Record::Event(Event { stream, seq, user, session, name, data, client_at, received_at })
        }),
        part.prop_map(
            |(
                (run, session, user, stream, stream_offset, started_at, ended_at),
                (object_key, format, size_bytes, hash),
            )| {
                let sha256 = Sha256(hash);
                Record::AudioAttached(AudioPart {
                    run,
                    session,
                    user,
                    stream,
                    stream_offset,
                    started_at,
                    ended_at,
                    object_key,
                    format,
                    size_bytes,
                    sha256,
                    arrivals: Arrivals::default(),
                })
            }
        ),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    let run = || id(RunId::from_bytes);
    let begun = (run(), id(SessionId::from_bytes), user(), id(StreamId::from_bytes), any::<u64>(), format(), time());
    prop_oneof![
        4 => (any::<u16>(), record()).prop_map(|(shard, record)| Entry::Record(ShardRecord { shard, record })),
        1 => begun.prop_map(|(run, session, user, stream, stream_offset, format, at)| {
            Entry::AudioBegun(AudioBegun { run, session, user, stream, stream_offset, format, at })
        }),
        1 => (run(), any::<u64>(), time(), proptest::collection::vec(any::<u8>(), 0..2000)).prop_map(
            |(run, offset, at, bytes)| Entry::AudioChunk(AudioChunk { run, offset, at, bytes: bytes.into() })
        ),
        1 => (run(), time()).prop_map(|(run, at)| Entry::AudioFinished(AudioFinished { run, at })),
        1 => run().prop_map(Entry::AudioStored),
    ]
}

fn encoded(entry: &Entry) -> Bytes {
    let mut bytes = Vec::new();
    encode(entry, &mut bytes);
    bytes.into()
}

proptest! {
    #[test]
    fn entries_read_back_as_they_were(entry in entry()) {
        prop_assert_eq!(decode(encoded(&entry)), Ok(entry));
    }

    #[test]
    fn a_cut_entry_is_refused_or_says_less(entry in entry(), cut in any::<prop::sample::Index>()) {
        let bytes = encoded(&entry);
        let cut = cut.index(bytes.len());
        // Audio and event data end where the entry ends: the frame, not the codec, knows their length.
        let has_open_end = matches!(
            entry,
            Entry::AudioChunk(_) | Entry::Record(ShardRecord { record: Record::Event(_), .. })
        );
        if let Ok(other) = decode(bytes.slice(..cut)) {
            prop_assert!(has_open_end && other != entry);
        }
    }

    #[test]
    fn more_bytes_than_an_entry_are_refused(run in any::<[u8; 16]>(), more in 1..100_usize) {
        let mut bytes = encoded(&Entry::AudioStored(RunId::from_bytes(run))).to_vec();
        bytes.resize(bytes.len() + more, 0);
        prop_assert_eq!(decode(bytes.into()), Err(DecodeError::Trailing(more)));
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(kind in 0..24_u8, rest in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&rest);
        let _ = decode(bytes.into());
    }

    #[test]
    fn a_damaged_entry_does_not_panic(entry in entry(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = encoded(&entry).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = decode(bytes.into());
    }
}

#[test]
fn announced_lengths_allocate_nothing() {
    // A presence of a user whose name is said to have 2^35 bytes.
    let bytes = Bytes::from_static(&[PRESENCE, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, b'a']);
    assert_eq!(decode(bytes), Err(DecodeError::Short));
    let endless = Bytes::from_static(&[PRESENCE, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, b'a']);
    assert_eq!(decode(endless), Err(DecodeError::Invalid("text length")));
}

#[test]
fn an_unknown_kind_says_so() {
    assert_eq!(decode(Bytes::from_static(&[200, 0, 0])), Err(DecodeError::UnknownKind(200)));
}
