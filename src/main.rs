//! The `shopaloud` command: reads the configuration, does what was asked, says in the exit code how it went.

use std::process::ExitCode;

use clap::Parser;
use shopaloud::{
    app, backends, check,
    cli::{Cli, Command},
    config::Config,
    telemetry,
};

/// Bad configuration or usage, also what clap exits with.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let config = match Config::load(cli.config.as_deref()) {
        Ok(config) => config,
        Err(error) => return bad_configuration(&error),
    };
    if let Err(error) = telemetry::init(&config.log) {
        return bad_configuration(&error);
    }
    match actix_web::rt::System::new().block_on(execute(cli.command.unwrap_or(Command::Serve), config)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all went well.
async fn execute(command: Command, config: Config) -> anyhow::Result<bool> {
    match command {
        Command::Serve => app::run(config).await?,
        Command::Migrate => {
            let store = backends::open_store(&config).await?;
            store.migrate().await?;
            store.close().await;
            tracing::info!("the database is up to date");
        }
        Command::Check => return Ok(check::run(&config, &mut std::io::stdout()).await?),
    }
    Ok(true)
}

/// Before there is a log: plain lines, one for each thing wrong.
fn bad_configuration(error: &impl std::error::Error) -> ExitCode {
    for line in error.to_string().lines() {
        eprintln!("shopaloud: {line}");
    }
    ExitCode::from(EXIT_USAGE)
}
