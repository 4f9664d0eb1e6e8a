//! The command line: what the program can be asked to do.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Records shoppers who think aloud: events into Postgres, audio into S3.
#[derive(Parser, Debug)]
#[command(
    name = "shopaloud",
    version,
    after_help = "Exit codes:\n  0  done\n  1  failed; the log says why\n  2  bad configuration or usage"
)]
pub struct Cli {
    /// Settings to read [default: ./config.toml if it is there]
    #[arg(long, global = true, value_name = "PATH")]
    pub config: Option<PathBuf>,

    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Subcommand, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Take connections (what happens without a command)
    Serve,
    /// Bring the database up to date, then end
    Migrate,
    /// Try every part that serving needs, one line each, then end
    Check,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_file_may_be_named_before_or_after_the_command() {
        for arguments in [["shopaloud", "--config", "x.toml", "check"], ["shopaloud", "check", "--config", "x.toml"]] {
            let cli = Cli::try_parse_from(arguments).unwrap();
            assert_eq!((cli.config, cli.command), (Some("x.toml".into()), Some(Command::Check)));
        }
        assert_eq!(Cli::try_parse_from(["shopaloud"]).unwrap().command, None);
    }

    #[test]
    fn bad_usage_ends_with_2() {
        assert_eq!(Cli::try_parse_from(["shopaloud", "serv"]).unwrap_err().exit_code(), 2);
    }
}
