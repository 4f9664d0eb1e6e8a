//! The echo application of the protocols' test suites: `cargo run --example socketio_echo -- 127.0.0.1:3000`.
//!
//! Engine.IO at `/engine.io/`, Socket.IO at `/socket.io/`; what it does is told in the module it is made of.

#[path = "../tests/conformance/echo.rs"]
mod echo;

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let server = echo::EchoServer::start(&address, &echo::options())?;
    println!("listening on {}", server.address);
    tokio::signal::ctrl_c().await?;
    let (engine, socketio) = (server.engine.sessions(), server.socketio.sessions());
    println!("stopping with {engine} + {socketio} sessions, {} bytes in use", server.budget.used_bytes());
    server.stop().await;
    Ok(())
}
