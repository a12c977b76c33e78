//! Tokens of address validation: kept back until the connection that brought them was verified.
//!
//! A man in the middle could recognize the client by a token of their own on a later connection.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use quinn::TokenStore;

use crate::sync::lock;

/// The most tokens of one connection that are withheld.
const MAX_WITHHELD: usize = 4;

/// One connection's view of the connector's store: reads go through, writes are held back until
/// [`release`](Self::release).
pub(super) struct TokenQuarantine {
    store: Arc<dyn TokenStore>,
    /// `None` after the release.
    withheld: Mutex<Option<Vec<(String, Bytes)>>>,
}

impl TokenQuarantine {
    pub(super) fn new(store: Arc<dyn TokenStore>) -> Self {
        Self {
            store,
            withheld: Mutex::new(Some(Vec::new())),
        }
    }

    /// The connection was verified.
    pub(super) fn release(&self) {
        for (name, token) in lock(&self.withheld).take().unwrap_or_default() {
            self.store.insert(&name, token);
        }
    }
}

impl TokenStore for TokenQuarantine {
    fn insert(&self, server_name: &str, token: Bytes) {
        match &mut *lock(&self.withheld) {
            Some(withheld) if withheld.len() < MAX_WITHHELD => {
                withheld.push((server_name.to_owned(), token));
            }
            Some(_) => {}
            None => self.store.insert(server_name, token),
        }
    }

    fn take(&self, server_name: &str) -> Option<Bytes> {
        self.store.take(server_name)
    }
}

#[cfg(test)]
mod tests {
    use quinn::TokenMemoryCache;

    use super::*;

    #[test]
    fn a_token_enters_the_store_only_from_a_verified_connection() {
        let store = Arc::new(TokenMemoryCache::default());
        let quarantine = TokenQuarantine::new(Arc::clone(&store) as Arc<dyn TokenStore>);
        quarantine.insert("server.test", Bytes::from_static(b"early"));
        assert_eq!(store.take("server.test"), None);
        quarantine.release();
        assert_eq!(
            store.take("server.test"),
            Some(Bytes::from_static(b"early"))
        );
        quarantine.insert("server.test", Bytes::from_static(b"late"));
        assert_eq!(
            quarantine.take("server.test"),
            Some(Bytes::from_static(b"late"))
        );
    }

    #[test]
    fn withheld_tokens_are_bounded() {
        let store = Arc::new(TokenMemoryCache::new(1, 100));
        let quarantine = TokenQuarantine::new(Arc::clone(&store) as Arc<dyn TokenStore>);
        for _ in 0..10 {
            quarantine.insert("server.test", Bytes::from_static(b"token"));
        }
        quarantine.release();
        let kept = std::iter::from_fn(|| store.take("server.test")).count();
        assert_eq!(kept, MAX_WITHHELD);
    }
}
