//! Settings of the commands that make verified connections.

use mtls_core::{Method, Policy};

use super::identity::Identity;
use super::known_hosts::KnownHosts;
use super::path_set::PathSet;
use crate::args::{ConnectionArgs, OutputArgs, PathArgs, TimeArgs, TlsArgs, VerifyArgs};
use crate::failure::Failure;

/// Settings of connections, their verification and their reports.
pub(crate) struct Settings {
    pub(crate) paths: PathSet,
    pub(crate) verify: VerifyArgs,
    pub(crate) tls: TlsArgs,
    pub(crate) identity: Option<Identity>,
    pub(crate) times: TimeArgs,
    pub(crate) output: OutputArgs,
    pub(crate) known_hosts: KnownHosts,
}

impl Settings {
    /// Checks the rules across options, and reads the client certificate.
    ///
    /// # Errors
    /// If options contradict each other, or a file cannot be used.
    pub(crate) fn new(args: ConnectionArgs) -> Result<Self, Failure> {
        let ConnectionArgs {
            paths,
            verify,
            tls,
            known_hosts,
            keys,
            times,
            output,
        } = args;
        if tls.smkex && verify.policy != Policy::Require {
            let reason = format!(
                "without certificates the policy is `require` and cannot be `{}`; omit --policy",
                verify.policy
            );
            return Err(Failure::usage("--smkex", reason));
        }
        if tls.smkex && tls.method != Method::Side {
            let reason = "SMKEX resumes no sessions; omit --method";
            return Err(Failure::usage("--smkex", reason));
        }
        check_prefetch(&tls, &paths)?;
        Ok(Self {
            paths: PathSet::new(paths, times.connect_timeout, &tls)?,
            identity: Identity::load(&tls)?,
            known_hosts: KnownHosts::new(&known_hosts, keys)?,
            verify,
            tls,
            times,
            output,
        })
    }
}

/// One ticket verifies one side path, and only by resumption.
fn check_prefetch(tls: &TlsArgs, paths: &PathArgs) -> Result<(), Failure> {
    let reason = match (tls.method, paths.sides.len()) {
        _ if !tls.prefetch => return Ok(()),
        (Method::Resumption, 0 | 1) => return Ok(()),
        (Method::Resumption, _) => "a ticket verifies a single side path; give --side once",
        _ => "session tickets verify a connection with --method resumption alone; add it",
    };
    Err(Failure::usage("--prefetch", reason))
}
