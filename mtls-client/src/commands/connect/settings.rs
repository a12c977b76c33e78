//! What was typed after `connect`, and what it means.

use mtls_core::path::{Endpoint, Host, HostName};

use super::args;
use crate::args::target::parse_target;
use crate::connect::settings::Settings;
use crate::usage::UsageError;

/// The longest name of an application protocol, in bytes (RFC 7301, section 3.1).
const MAX_PROTOCOL_NAME: usize = 255;

/// A pipe to a server.
#[derive(Debug)]
pub(crate) struct Connect {
    pub(crate) target: Endpoint,
    pub(crate) brief: bool,
    pub(crate) alpn: Vec<Vec<u8>>,
    pub(crate) sending: Sending,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    /// Standard input, and its end.
    All,
    /// Standard input, without its end.
    WithoutEnd,
    Nothing,
}

impl Connect {
    /// A server name changes the paths of `settings`: they take the address for the name.
    pub(crate) fn understand(
        typed: args::Connect,
        settings: &mut Settings,
    ) -> Result<Self, UsageError> {
        let target = parse_target(&typed.target);
        let target = target.map_err(|error| UsageError::new("HOST:PORT", error))?;
        let target = match &typed.servername {
            Some(name) => named(&target, name, settings)?,
            None => target,
        };
        let protocols = typed.alpn.iter().map(|name| protocol(name));
        Ok(Self {
            target,
            brief: typed.brief,
            alpn: protocols.collect::<Result<_, _>>()?,
            sending: match (typed.no_stdin, typed.ignore_eof) {
                (true, _) => Sending::Nothing,
                (false, true) => Sending::WithoutEnd,
                (false, false) => Sending::All,
            },
        })
    }
}

fn named(target: &Endpoint, name: &str, settings: &mut Settings) -> Result<Endpoint, UsageError> {
    let wrong = |reason: &dyn std::fmt::Display| UsageError::new("--servername", reason);
    let address = match &target.host {
        Host::Ip(address) => address,
        Host::Name(host) => {
            return Err(wrong(&format_args!(
                "`{}` is a name already; connect to {name}:{} and say with --resolve where \
                 it is, or give its address",
                host.as_str(),
                target.port
            )));
        }
    };
    let name = HostName::new(name).map_err(|error| wrong(&error))?;
    settings.resolve(&name, target.port, address);
    Ok(Endpoint::new(Host::Name(name), target.port))
}

fn protocol(name: &str) -> Result<Vec<u8>, UsageError> {
    match name.len() {
        1..=MAX_PROTOCOL_NAME => Ok(name.as_bytes().to_vec()),
        0 => Err(UsageError::new(
            "--alpn",
            "the name of a protocol is empty; write such as `h2,http/1.1`",
        )),
        _ => Err(UsageError::new(
            "--alpn",
            format_args!("the name of a protocol has at most {MAX_PROTOCOL_NAME} bytes"),
        )),
    }
}
