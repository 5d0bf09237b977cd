//! Flags that commands share.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};

use crate::config::Overrides;
use crate::error::Error;

/// Flags of every command.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// The configuration file. The default is ${XDG_CONFIG_HOME:-~/.config}/kplane/config.yaml.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The kubeconfig to read and write, instead of $KUBECONFIG.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the management cluster, instead of the configured one.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Print errors and what was asked for, and nothing else.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Print without colours and progress.
    #[arg(long, global = true)]
    pub no_color: bool,
}

impl GlobalArgs {
    /// What the flags say.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            config: self.config.clone(),
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            ..Overrides::default()
        }
    }
}

/// Whether a change is only tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// It is made.
    #[default]
    None,
    /// It is printed and not sent.
    Client,
    /// It is sent and not kept.
    Server,
}

impl DryRun {
    /// What is said after a result.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Client => " (dry run)",
            Self::Server => " (server dry run)",
        }
    }
}

/// `--dry-run`.
#[derive(Clone, Debug, Default, Args)]
pub struct DryRunArgs {
    /// Only try the change: `client` prints it without sending it, `server` sends it without keeping it.
    #[arg(long, value_name = "WHERE", value_enum, default_value_t, num_args = 0..=1, default_missing_value = "client", require_equals = true)]
    pub dry_run: DryRun,
}

/// `--wait` and `--timeout`.
#[derive(Clone, Debug, Args)]
pub struct WaitArgs {
    /// Wait until it is done.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub wait: bool,
    /// How long to wait, as in 30s, 5m or 1h; 0 waits without end.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    pub timeout: Duration,
}

/// A duration as Go writes it: `90s`, `1h30m`, `1.5h`, `500ms`; a number alone is seconds.
pub fn parse_duration(text: &str) -> Result<Duration, Error> {
    let invalid = || Error::new(format!("{text:?} is no duration; write 30s, 5m or 1h"));
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let mut rest = text;
    let mut total = 0f64;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
        let value: f64 = rest[..number].parse().map_err(|_| invalid())?;
        rest = &rest[number..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total += value
            * match &rest[..unit] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(invalid()),
            };
        rest = &rest[unit..];
    }
    if text.is_empty() { Err(invalid()) } else { Duration::try_from_secs_f64(total).map_err(|_| invalid()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, seconds) in [("0", 0.0), ("90", 90.0), ("1h30m", 5400.0), ("1.5m", 90.0), ("500ms", 0.5)] {
            assert_eq!(parse_duration(text).unwrap().as_secs_f64(), seconds, "{text}");
        }
        for text in ["", "-1s", "m", "5d", "5 m", "1h30"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
