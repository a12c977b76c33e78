//! The primary path, the side paths, and the options that apply to each of them.

use std::time::Duration;

use mtls_core::path::{Dial, Endpoint, Path, SubflowSource};
use mtls_core::{ClientSettings, SubflowUse};

use super::nameservers::Nameservers;
use crate::args::resolve::ResolveOverride;
use crate::args::{PathArgs, TlsArgs, VerifyArgs};
use crate::failure::Failure;

/// The paths of connections, with `--resolve`, `--dns` and `--connect-timeout` applied.
#[derive(Debug)]
pub(crate) struct PathSet {
    pub(crate) primary: Path,
    pub(crate) sides: Vec<Path>,
    pub(crate) side_endpoint: Option<Endpoint>,
    join: Option<SubflowSource>,
    subflow_use: SubflowUse,
}

/// Options that apply to every path.
#[derive(Clone, Debug)]
pub(crate) struct PathOptions {
    overrides: Vec<ResolveOverride>,
    nameservers: Nameservers,
    connect_timeout: Option<Duration>,
}

impl PathSet {
    /// Converts to the library's settings, with this side endpoint.
    pub(crate) fn client_settings(
        &self,
        verify: &VerifyArgs,
        connect_timeout: Option<Duration>,
        side_endpoint: Option<&Endpoint>,
    ) -> ClientSettings {
        let settings = ClientSettings::new(verify.policy)
            .primary(self.primary.clone())
            .require_independent(verify.require_independent)
            .deadline(verify.deadline);
        let settings = settings.subflow_use(self.subflow_use);
        let join = self.join.iter().cloned();
        let settings = join.fold(settings, ClientSettings::join);
        let sides = self.sides.iter().cloned();
        let settings = sides.fold(settings, ClientSettings::side);
        let side_endpoint = side_endpoint.into_iter().cloned();
        let settings = side_endpoint.fold(settings, ClientSettings::side_endpoint);
        let timeout = connect_timeout.into_iter();
        timeout.fold(settings, ClientSettings::handshake_timeout)
    }

    /// The paths of the command line; without `--side`, one side path that is `direct`.
    ///
    /// # Errors
    /// If `--dns` names a path that is not among them, or a CA file cannot be used.
    pub(crate) fn new(
        args: PathArgs,
        connect_timeout: Option<Duration>,
        tls: &TlsArgs,
    ) -> Result<Self, Failure> {
        let options = PathOptions::new(&args, connect_timeout, tls)?;
        let paths = Self::with_options(args, &options);
        let all = paths.sides.iter().chain([&paths.primary]);
        options.nameservers.check_used(&all.collect::<Vec<_>>())?;
        Ok(paths)
    }

    /// The same, where `--dns` may also name a path that is found later.
    pub(crate) fn with_options(args: PathArgs, options: &PathOptions) -> Self {
        let sides = match args.sides.is_empty() {
            true => vec![Path::system()],
            false => args.sides,
        };
        // A side path inside the connection needs it.
        let is_inside = |path: &Path| path.subflow().is_some();
        let mptcp = args.mptcp || sides.iter().any(is_inside);
        Self {
            primary: options.apply(args.primary).mptcp(mptcp),
            sides: sides.into_iter().map(|path| options.apply(path)).collect(),
            side_endpoint: args.side_endpoint,
            join: args.mptcp_join,
            subflow_use: args.mptcp_use,
        }
    }

    /// Applies `--resolve` to each path.
    pub(crate) fn resolve(&mut self, addresses: &ResolveOverride) {
        for path in self.sides.iter_mut().chain([&mut self.primary]) {
            *path = addresses.apply(path.clone());
        }
    }
}

impl PathOptions {
    /// # Errors
    /// If there are too many nameservers, or a CA file cannot be used.
    pub(crate) fn new(
        args: &PathArgs,
        connect_timeout: Option<Duration>,
        tls: &TlsArgs,
    ) -> Result<Self, Failure> {
        Ok(Self {
            overrides: args.resolve.clone(),
            nameservers: Nameservers::new(args.dns.clone(), tls)?,
            connect_timeout,
        })
    }

    /// The path with these options.
    pub(crate) fn apply(&self, path: Path) -> Path {
        let overrides = self.overrides.iter();
        let path = overrides.fold(path, |path, addresses| addresses.apply(path));
        let path = self.nameservers.apply(path);
        match self.connect_timeout {
            Some(timeout) => path.connect_timeout(timeout),
            None => path,
        }
    }
}
