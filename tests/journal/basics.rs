//! What works when nothing is broken: order, durability, rolling, trim, limits, closing.

use std::{
    fs,
    sync::{Arc, Barrier, mpsc},
    thread,
    time::Duration,
};

use shopaloud::{
    domain::RunId,
    journal::{AppendError, Entry, Journal, JournalOptions, OpenError, Position},
};

use crate::support::{
    LIMIT_BYTES, SEGMENT_BYTES, append, base_of, entry, number_of, numbers, open, open_with, read_all, segment_at,
    segment_files,
};

#[tokio::test]
async fn what_is_appended_reads_back_before_and_after_a_reopen() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    let mut written = Vec::new();
    for number in 0..100 {
        let entry = entry(number, 50);
        written.push((append(&journal, std::slice::from_ref(&entry)).await, entry));
    }
    journal.synced_at(journal.end()).await.unwrap();
    assert_eq!(read_all(&journal, Position(0)), written);
    assert_eq!(read_all(&journal, written[41].0), written[42..]);
    journal.close();
    assert_eq!(journal.append(&[entry(0, 1)]), Err(AppendError::Closed));

    // Closed, it gives the directory up, whoever still has a handle.
    let journal = open(directory.path());
    assert_eq!(read_all(&journal, Position(0)), written);
    assert_eq!(journal.end(), written[99].0);
    let next = append(&journal, &[entry(100, 50)]).await;
    journal.synced_at(next).await.unwrap();
    assert_eq!(numbers(&journal), (0..=100).collect::<Vec<_>>());
    let stats = journal.stats();
    assert_eq!((stats.torn_tails, stats.damaged_places, stats.missing_segments), (0, 0, 0));
}

#[tokio::test]
async fn dropping_the_last_handle_writes_everything() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let journal = open(directory.path());
        assert_eq!(numbers(&journal), (0..round * 7).collect::<Vec<_>>());
        for number in round * 7..(round + 1) * 7 {
            append(&journal, &[entry(number, 80)]).await;
        }
    }
}

#[tokio::test]
async fn entries_of_one_call_stay_together_and_get_the_last_ones_position() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    let batch: Vec<_> = (0..30).map(|number| entry(number, 60)).collect();
    append(&journal, &[entry(99, 1500)]).await;
    let position = append(&journal, &batch).await;
    journal.synced_at(position).await.unwrap();
    let read = read_all(&journal, Position(0));
    assert_eq!(read.last().unwrap().0, position);
    assert_eq!(read[1..].iter().map(|(_, entry)| entry.clone()).collect::<Vec<_>>(), batch);
    // 30 entries of 105 bytes did not fit behind the first one, so they all lie in the second segment.
    assert!(read[1].0.0 > SEGMENT_BYTES);
}

#[tokio::test]
async fn callbacks_come_once_after_the_sync_and_at_once_when_it_is_past() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    let (called, calls) = mpsc::channel();
    for number in 0..50 {
        let position = append(&journal, &[entry(number, 10)]).await;
        let (called, observer) = (called.clone(), journal.clone());
        journal.when_synced(
            position,
            Box::new(move || {
                assert!(observer.synced() >= position);
                called.send(number).unwrap();
            }),
        );
    }
    journal.synced_at(journal.end()).await.unwrap();
    journal.close();
    let mut order: Vec<_> = calls.try_iter().collect();
    order.sort_unstable();
    assert_eq!(order, (0..50).collect::<Vec<_>>());
    let here = thread::current().id();
    journal.when_synced(journal.end(), Box::new(move || assert_eq!(thread::current().id(), here)));
}

#[tokio::test]
async fn waiting_for_what_will_never_come_ends_with_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    let beyond = Position(journal.end().0 + 1000);
    let waiting = tokio::spawn({
        let journal = journal.clone();
        async move { journal.synced_at(beyond).await }
    });
    tokio::task::yield_now().await;
    journal.close();
    assert_eq!(waiting.await.unwrap(), Err(AppendError::Closed));
    assert_eq!(journal.synced_at(beyond).await, Err(AppendError::Closed));
}

#[test]
fn threads_keep_their_own_order_and_nothing_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open_with(directory.path(), 64 << 10, 64 << 20);
    let (threads, each) = (8, 500);
    let start = Arc::new(Barrier::new(threads));
    thread::scope(|scope| {
        for thread in 0..threads as u64 {
            let (journal, start) = (journal.clone(), Arc::clone(&start));
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                start.wait();
                runtime.block_on(async {
                    let mut last = Position(0);
                    for number in 0..each {
                        let size = usize::try_from((number * 37 + thread) % 700).unwrap();
                        let position = append(&journal, &[entry(thread * 1_000_000 + number, size)]).await;
                        assert!(position > last);
                        last = position;
                    }
                    journal.synced_at(last).await.unwrap();
                });
            });
        }
    });
    drop(journal);
    let journal = open_with(directory.path(), 64 << 10, 64 << 20);
    let read = numbers(&journal);
    for thread in 0..threads as u64 {
        let own: Vec<_> = read.iter().filter(|number| **number / 1_000_000 == thread).copied().collect();
        assert_eq!(own, (0..each).map(|number| thread * 1_000_000 + number).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn segments_go_when_every_consumer_released_them() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    let (rows, audio) = (journal.consumer("rows"), journal.consumer("audio"));
    let mut positions = Vec::new();
    for number in 0..40 {
        positions.push(append(&journal, &[entry(number, 1000)]).await);
    }
    journal.synced_at(positions[39]).await.unwrap();
    rows.release(positions[39]);
    assert_eq!(journal.begin(), Position(0));
    audio.release(positions[20]);
    let begin = journal.begin();
    assert!(begin > Position(0) && begin < positions[21]);
    // A consumer that is gone still needs what it did not release; its successor goes on there.
    assert_eq!(audio.clone().released(), positions[20]);
    audio.release(positions[5]);
    assert_eq!(audio.released(), positions[20]);
    audio.retire();
    assert!(journal.begin() > positions[30]);
    assert_eq!(numbers(&journal).last(), Some(&39));
    let begin = journal.begin();
    // Files are removed by the time the journal is closed.
    journal.close();
    assert_eq!(base_of(&segment_files(directory.path())[0]), begin);
    assert!(journal.stats().removed_segments > 5);
    drop((rows, journal));
    let journal = open(directory.path());
    assert_eq!(journal.begin(), begin);
    assert_eq!(journal.stats().missing_segments, 0);
}

#[tokio::test]
async fn a_reader_behind_the_trim_goes_on_at_what_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    let consumer = journal.consumer("rows");
    for number in 0..20 {
        append(&journal, &[entry(number, 1000)]).await;
    }
    journal.synced_at(journal.end()).await.unwrap();
    let mut reader = journal.reader(Position(0));
    assert_eq!(number_of(&reader.next_batch(1).unwrap()[0].1), 0);
    consumer.release(journal.end());
    // The file is still open in the reader, the ones after it are gone.
    let mut rest = Vec::new();
    while let Some((_, entry)) = reader.next_batch(1).unwrap().pop() {
        rest.push(number_of(&entry));
    }
    assert_eq!(rest.last(), Some(&19));
    assert!(rest.is_sorted());
    assert_eq!(reader.position(), journal.end());
}

#[tokio::test]
async fn the_limit_holds_and_room_comes_back_with_a_trim() {
    let directory = tempfile::tempdir().unwrap();
    let limit = 8 * SEGMENT_BYTES;
    let journal = open_with(directory.path(), SEGMENT_BYTES, limit);
    let consumer = journal.consumer("rows");
    let mut taken = 0;
    loop {
        // The file thread needs its time for each segment, so Full comes before the limit too.
        // It is final once no room comes any more.
        match journal.append(&[entry(taken, 400)]) {
            Ok(_) => taken += 1,
            Err(AppendError::Full) => {
                if tokio::time::timeout(Duration::from_millis(300), journal.room()).await.is_err() {
                    break;
                }
            }
            Err(error) => panic!("not appended: {error}"),
        }
        assert!(journal.stats().disk_bytes <= limit);
    }
    let disk_bytes: u64 = segment_files(directory.path()).iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(disk_bytes + SEGMENT_BYTES + 64 > limit && disk_bytes == journal.stats().disk_bytes);
    assert!(journal.stats().full && journal.stats().refused_full > 0);
    let room = journal.room();
    tokio::pin!(room);
    assert!(futures_util::poll!(&mut room).is_pending());
    // The ones taken are all there, refused ones are not.
    journal.synced_at(journal.end()).await.unwrap();
    assert_eq!(numbers(&journal), (0..taken).collect::<Vec<_>>());
    consumer.release(journal.end());
    room.await;
    journal.append(&[entry(taken, 400)]).unwrap();
    assert!(!journal.stats().full);
}

#[tokio::test]
async fn an_entry_larger_than_a_segment_gets_a_larger_one() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    for number in 0..6 {
        let size = if number % 2 == 0 { 20 * 1024 } else { 100 };
        append(&journal, &[entry(number, size)]).await;
    }
    assert!(matches!(
        journal.append(&[entry(9, usize::try_from(LIMIT_BYTES).unwrap())]),
        Err(AppendError::TooLarge { .. })
    ));
    journal.close();
    assert_eq!(numbers(&journal), (0..6).collect::<Vec<_>>());
    drop(journal);
    let journal = open(directory.path());
    assert_eq!(numbers(&journal), (0..6).collect::<Vec<_>>());
    assert_eq!(journal.stats().damaged_places + journal.stats().missing_segments, 0);
}

#[tokio::test]
async fn entries_of_the_largest_message_fit_the_default_sizes() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open_with(directory.path(), 16 << 20, 256 << 20);
    for number in 0..3 {
        append(&journal, &[entry(number, 16 << 20)]).await;
    }
    journal.close();
    assert_eq!(numbers(&journal), [0, 1, 2]);
}

#[test]
fn a_second_process_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let _first = open(directory.path());
    let options =
        JournalOptions { dir: directory.path().into(), segment_bytes: SEGMENT_BYTES, limit_bytes: LIMIT_BYTES };
    let error = Journal::open(options, drop).err().unwrap();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("in use by another process"));
}

#[test]
fn a_directory_that_cannot_be_written_is_a_clear_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let options = JournalOptions { dir: file.join("journal"), segment_bytes: SEGMENT_BYTES, limit_bytes: LIMIT_BYTES };
    let error = Journal::open(options, drop).err().unwrap().to_string();
    assert!(error.starts_with("cannot make the directory in journal directory "), "{error}");
}

#[tokio::test]
async fn a_segment_that_cannot_be_made_is_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    // In the way of the third segment's file; the second one is being made already.
    let obstacle = segment_at(directory.path(), 2 * SEGMENT_BYTES);
    fs::create_dir_all(obstacle.join("not empty")).unwrap();
    let mut taken = 0;
    loop {
        match journal.append(&[entry(taken, 400)]) {
            Ok(_) => taken += 1,
            Err(AppendError::Full) if journal.end().0 > SEGMENT_BYTES => break,
            Err(_) => journal.room().await,
        }
    }
    // What was taken is safe although there is no space for more.
    journal.synced_at(journal.end()).await.unwrap();
    assert_eq!(journal.append(&[entry(taken, 400)]), Err(AppendError::Full));
    assert!(tokio::time::timeout(Duration::from_millis(300), journal.room()).await.is_err());
    fs::remove_dir_all(&obstacle).unwrap();
    // Without anybody asking again.
    journal.room().await;
    journal.append(&[entry(taken, 400)]).unwrap();
    journal.close();
    assert_eq!(numbers(&journal), (0..=taken).collect::<Vec<_>>());
}

/// Else what waits for its files to be freed, and the freeing for room, would wait for each other.
#[tokio::test]
async fn a_full_journal_takes_what_frees_room() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open_with(directory.path(), SEGMENT_BYTES, 8 * SEGMENT_BYTES);
    let _consumer = journal.consumer("rows");
    let small = entry(0, 1);
    // To the last byte that anybody else gets.
    while journal.append(std::slice::from_ref(&small)) != Err(AppendError::Full)
        || tokio::time::timeout(Duration::from_millis(300), journal.room()).await.is_ok()
    {}
    let stored = Entry::AudioStored(RunId::from_bytes([7; 16]));
    journal.synced_at(journal.append(&[stored]).unwrap()).await.unwrap();
    assert_eq!(journal.append(&[small]), Err(AppendError::Full));
}
