//! Opening, migrating and closing.

use shopaloud::store::StoreErrorKind;

use super::*;

on_every_store!(
    migrating_again_keeps_everything,
    several_nodes_may_migrate_at_once,
    an_older_release_runs_on_a_newer_schema,
    an_edited_migration_is_refused,
    a_missing_schema_rejects_nothing,
    every_call_fails_after_closing,
);

async fn migrating_again_keeps_everything(fixture: Fixture) {
    fixture.write(&[stream_opened(StreamId::new(), "anna", 0)]).await;
    fixture.store.migrate().await.unwrap();
    let reopened = open(&fixture.options).await.unwrap();
    reopened.migrate().await.unwrap();
    assert!(reopened.user(&user("anna"), at(0)).await.unwrap().is_some());
    reopened.ping().await.unwrap();
}

async fn several_nodes_may_migrate_at_once(fixture: Fixture) {
    let folder = tempfile::tempdir().unwrap();
    let url = if fixture.options.url.starts_with("sqlite:") {
        format!("sqlite:{}", folder.path().join("fresh.db").display())
    } else {
        TestPostgres::shared().create_database().await
    };
    let migrate = || {
        let options = options(url.clone());
        tokio::spawn(async move {
            let store = open(&options).await.unwrap();
            store.migrate().await.unwrap();
            store
        })
    };
    for task in [migrate(), migrate(), migrate(), migrate(), migrate(), migrate()] {
        let store = task.await.unwrap();
        assert_eq!(store.sessions(&SessionQuery::page(None, 1)).await.unwrap(), []);
        store.close().await;
    }
}

async fn an_older_release_runs_on_a_newer_schema(fixture: Fixture) {
    fixture
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (999999, 'of a later release', true, '', 1)",
        )
        .await;
    fixture.store.migrate().await.unwrap();
}

async fn an_edited_migration_is_refused(fixture: Fixture) {
    fixture.execute("UPDATE _sqlx_migrations SET checksum = ''").await;
    assert_eq!(fixture.store.migrate().await.unwrap_err().kind(), StoreErrorKind::Permanent);
}

async fn a_missing_schema_rejects_nothing(fixture: Fixture) {
    fixture.execute("ALTER TABLE events RENAME TO events_elsewhere").await;
    let error =
        fixture.writer().await.write(fixture.node, &[Record::Event(event(StreamId::new(), 1))]).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");

    fixture.execute("ALTER TABLE events_elsewhere RENAME TO events").await;
    assert_eq!(fixture.write(&[Record::Event(event(StreamId::new(), 1))]).await.events_stored, 1);
}

async fn every_call_fails_after_closing(fixture: Fixture) {
    fixture.store.ping().await.unwrap();
    fixture.store.close().await;
    fixture.store.close().await;

    assert!(fixture.store.ping().await.is_err());
    assert!(fixture.store.heartbeat(fixture.node, at(0)).await.is_err());
    assert!(fixture.store.sessions(&SessionQuery::page(None, 1)).await.is_err());
    let written = match fixture.store.writer().await {
        Ok(mut writer) => writer.write(fixture.node, &[presence("anna", true, 0)]).await.map(drop),
        Err(error) => Err(error),
    };
    assert!(written.is_err());
}

#[tokio::test]
async fn a_url_that_cannot_be_read_is_refused() {
    for url in
        ["mysql://localhost/shop", "postgres://[", "sqlite::memory:", "sqlite:shop.db?mode=memory", "shop.db", ""]
    {
        let Err(error) = open(&options(url.into())).await else { panic!("{url} was opened") };
        assert_eq!(error.kind(), StoreErrorKind::Permanent, "{url}");
    }
}
