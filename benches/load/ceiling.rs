//! What the driver could do if the server cost nothing: the same load against a door that acknowledges at once.
//!
//! It runs in a thread beside the driver, so that the figure is less than the truth rather than more.

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    accept_async,
    tungstenite::{Message, Utf8Bytes},
};

use super::driver::{self, Door, Load};

/// Events in a second.
pub(crate) async fn of_the_driver(load: &Load) -> f64 {
    let listener = std::net::TcpListener::bind(load.address).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let door = load.door;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::spawn(move || {
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, door));
            }
        });
    });
    let seconds = load.duration.min(std::time::Duration::from_secs(3));
    let outcome = driver::run(&Load { address, duration: seconds, audio: false, ..load.clone() }).await;
    outcome.acknowledged as f64 / outcome.took.as_secs_f64()
}

async fn answer(stream: TcpStream, door: Door) {
    let _ = stream.set_nodelay(true);
    let Ok(mut socket) = accept_async(stream).await else { return };
    if door == Door::Socketio && socket.send(Message::text("0{}")).await.is_err() {
        return;
    }
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else { continue };
        if let Some(answer) = answer_to(&text, door)
            && socket.send(Message::text(answer)).await.is_err()
        {
            return;
        }
    }
}

fn answer_to(text: &Utf8Bytes, door: Door) -> Option<String> {
    match door {
        Door::Socketio if text.starts_with("40") => Some("40{}".to_owned()),
        Door::Socketio => {
            let rest = text.strip_prefix("42")?;
            Some(format!("43{}[]", &rest[..rest.find('[')?]))
        }
        Door::Plain if text.starts_with(r#"{"event":"hello""#) => Some(r#"{"welcome":{}}"#.to_owned()),
        Door::Plain => {
            let (_, rest) = text.split_once(r#""seq":"#)?;
            Some(format!(r#"{{"ack":{}}}"#, &rest[..rest.find(',')?]))
        }
    }
}
