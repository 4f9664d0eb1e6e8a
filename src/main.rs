//! The `shopaloud` command: reads the configuration, does what was asked, says in the exit code how it went.

use std::process::ExitCode;

use clap::Parser;
use shopaloud::{
    app::{self, Entrance},
    backends, check,
    cli::{Cli, Command, KeysCommand},
    config::Config,
    keys, telemetry,
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
    let work = match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => match Entrance::open(&config) {
            Ok(entrance) => Work::Serve(Box::new(entrance)),
            Err(error) => return bad_configuration(&*error),
        },
        Command::Migrate => Work::Migrate,
        Command::Check => Work::Check,
        Command::Keys(command) => Work::Keys(command),
    };
    match actix_web::rt::System::new().block_on(execute(work, config)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What is left to do when everything that an operator can get wrong was looked at.
enum Work {
    Serve(Box<Entrance>),
    Migrate,
    Check,
    Keys(KeysCommand),
}

/// Whether all went well.
async fn execute(work: Work, config: Config) -> anyhow::Result<bool> {
    match work {
        Work::Serve(entrance) => app::run(config, *entrance).await?,
        Work::Migrate => {
            let store = backends::open_store(&config).await?;
            store.migrate().await?;
            store.close().await;
            tracing::info!("the database is up to date");
        }
        Work::Keys(command) => keys::run(command, &config, &mut std::io::stdout(), &mut std::io::stderr())?,
        Work::Check => return Ok(check::run(&config, &mut std::io::stdout()).await?),
    }
    Ok(true)
}

/// Before there is a log: plain lines, one for each thing wrong.
fn bad_configuration(error: &(impl std::fmt::Display + ?Sized)) -> ExitCode {
    for line in error.to_string().lines() {
        eprintln!("shopaloud: {line}");
    }
    ExitCode::from(EXIT_USAGE)
}
