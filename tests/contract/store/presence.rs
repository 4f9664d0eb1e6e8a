//! Users: what is known of them, and whether they are connected, over several nodes of which some die.

use shopaloud::store::NODE_LIFETIME;

use super::*;

on_every_store!(
    a_user_is_connected_while_any_node_has_them,
    a_silent_node_does_not_count,
    a_node_that_begins_again_has_nobody_connected,
    nodes_silent_for_days_are_forgotten,
    the_last_word_in_a_batch_counts,
    presence_dates_the_user,
    profiles_fill_up_and_old_news_overwrite_nothing,
);

const LIFETIME_MS: i64 = NODE_LIFETIME.as_secs().cast_signed() * 1000;

async fn begun(fixture: &Fixture, ms: i64) -> NodeId {
    let node = NodeId::new();
    fixture.store.begin_node(node, at(ms)).await.unwrap();
    node
}

async fn say(fixture: &Fixture, node: NodeId, connected: bool, ms: i64) {
    fixture.writer().await.write(node, &[presence("anna", connected, ms)]).await.unwrap();
}

async fn connected(fixture: &Fixture, now_ms: i64) -> bool {
    let one = fixture.store.user(&user("anna"), at(now_ms)).await.unwrap().unwrap();
    let page = fixture.store.users(&UserQuery::page(None, 10), at(now_ms)).await.unwrap();
    assert_eq!(page, std::slice::from_ref(&one));
    one.connected
}

async fn a_user_is_connected_while_any_node_has_them(fixture: Fixture) {
    let (one, two) = (begun(&fixture, 0).await, begun(&fixture, 0).await);
    say(&fixture, one, true, 1).await;
    assert!(connected(&fixture, 2).await);
    say(&fixture, two, true, 3).await;
    say(&fixture, one, false, 4).await;
    assert!(connected(&fixture, 5).await);
    say(&fixture, two, false, 6).await;
    assert!(!connected(&fixture, 7).await);
    say(&fixture, two, false, 8).await;
    assert!(!connected(&fixture, 9).await);
}

async fn a_silent_node_does_not_count(fixture: Fixture) {
    let node = begun(&fixture, 0).await;
    say(&fixture, node, true, 1).await;
    assert!(connected(&fixture, LIFETIME_MS - 1).await);
    assert!(!connected(&fixture, LIFETIME_MS).await);

    fixture.store.heartbeat(node, at(10)).await.unwrap();
    fixture.store.heartbeat(node, at(5)).await.unwrap();
    assert!(connected(&fixture, LIFETIME_MS + 9).await, "heard of again; a heartbeat that was late takes nothing back");

    // A node whose first heartbeat comes before its beginning was recorded, or after it was forgotten.
    let late = NodeId::new();
    say(&fixture, late, true, 1).await;
    fixture.store.heartbeat(late, at(2 * LIFETIME_MS)).await.unwrap();
    assert!(connected(&fixture, 2 * LIFETIME_MS).await);
}

async fn a_node_that_begins_again_has_nobody_connected(fixture: Fixture) {
    let (one, two) = (begun(&fixture, 0).await, begun(&fixture, 0).await);
    say(&fixture, one, true, 1).await;
    fixture.store.begin_node(two, at(2)).await.unwrap();
    assert!(connected(&fixture, 3).await);
    fixture.store.begin_node(one, at(4)).await.unwrap();
    assert!(!connected(&fixture, 5).await);
}

async fn nodes_silent_for_days_are_forgotten(fixture: Fixture) {
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    let (old, recent) = (begun(&fixture, 0).await, begun(&fixture, DAY_MS).await);
    say(&fixture, old, true, 1).await;
    begun(&fixture, DAY_MS + 1).await;
    fixture.store.heartbeat(old, at(DAY_MS)).await.unwrap();
    assert!(!connected(&fixture, DAY_MS).await, "its users are forgotten with it");

    say(&fixture, recent, true, 2).await;
    begun(&fixture, 2 * DAY_MS).await;
    assert!(connected(&fixture, DAY_MS).await);
}

async fn the_last_word_in_a_batch_counts(fixture: Fixture) {
    let node = begun(&fixture, 0).await;
    let mut writer = fixture.writer().await;
    writer.write(node, &[presence("anna", true, 1), presence("anna", false, 2)]).await.unwrap();
    assert!(!connected(&fixture, 3).await);
    writer.write(node, &[presence("anna", false, 4), presence("anna", true, 4)]).await.unwrap();
    assert!(connected(&fixture, 5).await);
}

async fn presence_dates_the_user(fixture: Fixture) {
    let times = async || {
        let anna = fixture.store.user(&user("anna"), at(0)).await.unwrap().unwrap();
        (anna.created_at, anna.updated_at)
    };
    fixture.write(&[stream_opened(StreamId::new(), "anna", 10), presence("anna", true, 11)]).await;
    assert_eq!(times().await, (at(10), at(11)));
    fixture.write(&[presence("anna", false, 99)]).await;
    assert_eq!(times().await, (at(10), at(99)));
    fixture.write(&[stream_opened(StreamId::new(), "anna", 5)]).await;
    assert_eq!(times().await, (at(5), at(99)));
    assert_eq!(fixture.store.user(&user("berta"), at(0)).await.unwrap(), None);
}

async fn profiles_fill_up_and_old_news_overwrite_nothing(fixture: Fixture) {
    let hello = |name, email, ms| {
        let (stream, user, profile) = (StreamId::new(), user("anna"), profile(name, email));
        Record::StreamOpened(StreamOpened { stream, user, profile, at: at(ms) })
    };
    let known = async || {
        let anna = fixture.store.user(&user("anna"), at(0)).await.unwrap().unwrap();
        (anna.name, anna.email)
    };
    let expect = |name: &str, email: &str| (Some(name.to_owned()), Some(email.to_owned()));

    fixture.write(&[hello(Some("Anna"), None, 10)]).await;
    assert_eq!(known().await, (Some("Anna".into()), None));
    fixture.write(&[hello(None, Some("anna@example.com"), 20), hello(None, None, 30)]).await;
    assert_eq!(known().await, expect("Anna", "anna@example.com"));
    fixture.write(&[hello(Some("Anna B"), None, 40)]).await;
    assert_eq!(known().await, expect("Anna B", "anna@example.com"));
    fixture.write(&[hello(Some("Anna"), Some("old@example.com"), 10)]).await;
    assert_eq!(known().await, expect("Anna B", "anna@example.com"));
}
