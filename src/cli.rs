//! The command line: what the program can be asked to do.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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

#[derive(Subcommand, Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Take connections (what happens without a command)
    Serve,
    /// Bring the database up to date, then end
    Migrate,
    /// Try every part that serving needs, one line each, then end
    Check,
    /// Make, show and revoke keys
    #[command(subcommand)]
    Keys(KeysCommand),
}

#[derive(Subcommand, Clone, PartialEq, Eq, Debug)]
pub enum KeysCommand {
    /// Make a key, add it to the keys file and print its secret, which is not shown again
    New(NewKey),
    /// Show what the keys file holds; secrets are not in it
    List,
    /// Take a key out of the keys file
    Revoke {
        /// As `keys list` shows it
        id: String,
    },
}

#[derive(Args, Clone, PartialEq, Eq, Debug)]
pub struct NewKey {
    /// What it lets its bearer do
    #[arg(long, value_enum)]
    pub kind: KeyWord,
    /// Whom or what it is for, for the list
    #[arg(long)]
    pub name: String,
    /// Of a write key: pages that may use it, like `https://shop.example` or `https://*.shop.example`; repeat for several.
    /// Without any: the pages of server.origins
    #[arg(long, value_name = "ORIGIN")]
    pub origin: Vec<String>,
    /// Of a write key: pages of its origins need not show it. For the published widget, which shows none
    #[arg(long)]
    pub anonymous: bool,
    /// After so many days it is no key any more
    #[arg(long, value_name = "DAYS")]
    pub expires_in_days: Option<u32>,
    /// Print the entry for the variable `SHOPALOUD_KEYS` instead of writing the keys file
    #[arg(long)]
    pub print: bool,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyWord {
    /// Record; it is public, pages show it
    Write,
    /// Read what was recorded
    Read,
    /// Read and delete
    Admin,
    /// No key: what the shop's server signs the tokens of its users with
    Token,
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
