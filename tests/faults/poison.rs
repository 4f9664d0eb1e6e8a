//! A row that the database refuses for good.
//!
//! Nothing that a client may say is refused by the tables as they are: the columns are text. So this database has a
//! rule of its own.

use serde_json::json;
use sqlx::Executor;

use crate::{
    scene::{HASTY, Scene},
    support::client::PlainClient,
};

const REFUSE_POISON: &str = "
CREATE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.name = 'poison' THEN
        RAISE EXCEPTION 'poison' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse_poison BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION refuse_poison();";

/// Beside the load, a page says events of which some are refused. Their sender hears which.
async fn poison_costs_itself(fault: &'static str, settings: &'static str) {
    let mut scene = Scene::begin(fault, settings).await;
    scene.operator().await.execute(REFUSE_POISON).await.unwrap();
    let (mut client, _) = PlainClient::hello(scene.nodes[0].address(), "anna").await;
    let is_poison = |seq: i64| seq % 7 == 0;
    for seq in 1..=140 {
        let name = if is_poison(seq) { "poison" } else { "food" };
        client.say(json!({"event": name, "seq": seq, "data": seq})).await;
    }
    let mut refused = Vec::new();
    while refused.len() < 20 {
        let error = client.expect("error").await;
        assert_eq!(error["code"], "rejected");
        refused.push(error["seq"].as_i64().unwrap());
    }
    refused.sort_unstable();
    assert_eq!(refused, (1..=140).filter(|seq| is_poison(*seq)).collect::<Vec<_>>());
    client.acked(140).await;
    let user = scene.nodes[0].until("/users/anna", |answer| answer["user"]["numEvents"] == 120).await;
    let stored: Vec<i64> =
        user["user"]["events"].as_array().unwrap().iter().map(|event| event["seq"].as_i64().unwrap()).collect();
    assert_eq!(stored, (1..=140).filter(|seq| !is_poison(*seq)).collect::<Vec<_>>());
    scene.until_acknowledged(50).await;
    scene.stored_besides = 120;
    scene.end().await.nobody_lost_a_connection();
}

#[tokio::test]
async fn poison_costs_only_itself() {
    poison_costs_itself("20 events refused by the database", HASTY).await;
}

#[tokio::test]
async fn poison_costs_only_itself_where_an_ack_means_journaled() {
    const SETTINGS: &str = "[audio]\nreconnect_grace_ms = 700\n[database]\nack = \"journaled\"\n";
    poison_costs_itself("20 events refused, ack = journaled", SETTINGS).await;
}
