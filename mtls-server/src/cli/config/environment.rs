//! Environment variables for options.

use std::env;
use std::ffi::OsStr;

use clap::builder::{BoolishValueParser, TypedValueParser};
use clap::{Arg, ArgAction, Command};

use crate::cli::WITHOUT_CONFIGURATION;

/// The command, with a variable for each option of each of its subcommands but those
/// [without configuration](WITHOUT_CONFIGURATION).
pub(super) fn with_environment(command: Command) -> Command {
    command
        .mut_args(readable_from_environment)
        .mut_subcommands(|subcommand| {
            match WITHOUT_CONFIGURATION.contains(&subcommand.get_name()) {
                true => subcommand,
                false => with_environment(subcommand),
            }
        })
}

/// `MTLS_SERVER_SIDE_LISTEN` for `--side-listen`.
pub(super) fn variable_of(arg: &Arg) -> String {
    let name = arg.get_long().unwrap_or(arg.get_id().as_str());
    format!("MTLS_SERVER_{}", name.to_uppercase().replace('-', "_"))
}

fn readable_from_environment(arg: Arg) -> Arg {
    let is_flag = matches!(arg.get_action(), ArgAction::SetTrue);
    let is_list = matches!(arg.get_action(), ArgAction::Append);
    let arg = match is_flag {
        true => arg.value_parser(BoolishValueParser::new()),
        false => arg,
    };
    let variable = variable_of(&arg);
    match env::var_os(&variable) {
        // A flag that is off counts as absent: it conflicts with nothing.
        Some(value) if value.is_empty() || (is_flag && is_off(&value)) => arg,
        // Only a variable needs a separator: the command line and the file can repeat the option.
        Some(_) if is_list => arg.env(variable).hide_env(true).value_delimiter(','),
        _ => arg.env(variable).hide_env(true),
    }
}

fn is_off(value: &OsStr) -> bool {
    let parsed = BoolishValueParser::new().parse_ref(&Command::new(""), None, value);
    matches!(parsed, Ok(false))
}
