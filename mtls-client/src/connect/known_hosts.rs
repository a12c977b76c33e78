//! Known hosts of the commands that make verified connections.

use std::sync::Arc;
use std::time::Duration;

use hyper::HeaderMap;
use mtls_core::known_hosts::{Advertisement, FIELD_NAME, FileStore, KnownHosts as _};
use mtls_core::path::Endpoint;
use mtls_core::{ClientSettings, Verdict};

use crate::args::known_hosts::{KeyArgs, KnownHostsArgs};
use crate::failure::Failure;

/// Known hosts, as the command line sets them.
#[derive(Debug)]
pub(crate) struct KnownHosts {
    store: Option<Arc<FileStore>>,
    remember: Option<Duration>,
    keys: KeyArgs,
    tries_always: bool,
}

impl KnownHosts {
    /// # Errors
    /// If hosts are to be remembered, and there is no file.
    pub(crate) fn new(args: &KnownHostsArgs, keys: KeyArgs) -> Result<Self, Failure> {
        Ok(Self {
            store: args.store()?,
            remember: args.remember,
            keys,
            tries_always: false,
        })
    }

    /// Tries to verify servers of which it is known that nothing can verify them.
    pub(crate) fn try_always(&mut self) {
        self.tries_always = true;
    }

    /// Adds them to the settings of connections.
    pub(crate) fn apply(&self, settings: ClientSettings) -> ClientSettings {
        let Some(store) = &self.store else {
            return settings;
        };
        let settings = settings
            .known_hosts(Arc::clone(store) as Arc<_>)
            .accept_new_key(self.keys.accept_new_key)
            .allow_pinned(self.keys.allow_pinned);
        let settings = match self.tries_always {
            true => settings.remember_neither(Duration::ZERO),
            false => settings,
        };
        let remember = self.remember.into_iter();
        remember.fold(settings, ClientSettings::remember)
    }

    /// Follows the field `Multipath-TLS` of a response over a verified connection. Returns warnings.
    pub(crate) async fn follow(
        &self,
        host: &Endpoint,
        verdict: &Verdict,
        fields: &HeaderMap,
    ) -> Vec<String> {
        let values: Vec<_> = fields.get_all(FIELD_NAME).iter().collect();
        let Some(store) = self.store.as_ref().filter(|_| !values.is_empty()) else {
            return Vec::new();
        };
        // Several lines are one value (RFC 9651, section 4.2).
        let value = values
            .iter()
            .map(|value| value.as_bytes())
            .collect::<Vec<_>>()
            .join(&b", "[..]);
        let advertised = Advertisement::try_from(&value[..]);
        match advertised.and_then(|advertised| advertised.change(host, verdict)) {
            // The store's notices include changes that could not be recorded.
            Ok(Some(change)) => drop(store.record(host, change).await),
            Ok(None) => {}
            Err(error) => return vec![format!("{host}: {error}")],
        }
        self.notices()
    }

    /// Takes the store's notices.
    pub(crate) fn notices(&self) -> Vec<String> {
        let store = self.store.iter();
        let notices = store.flat_map(|store| store.take_notices());
        notices.map(|notice| notice.to_string()).collect()
    }
}
