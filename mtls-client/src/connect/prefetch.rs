//! Session tickets in advance (`--prefetch`).

use std::fmt::Display;

use futures_util::{StreamExt, stream};
use mtls_core::path::Endpoint;
use tokio::time::{Instant, timeout_at};

use super::client::{Client, SideEndpoint};

/// The most tickets of one server, and of servers at a time. The library keeps no more of each.
const MAX_TICKETS: usize = 8;
const JOBS: usize = 16;

/// A server, and the number of connections to come.
struct Demand<'a> {
    to: &'a Endpoint,
    side_endpoint: SideEndpoint,
    connections: usize,
}

impl Client<'_> {
    /// Fetches a session ticket for each of these connections if `--prefetch` is given, at most
    /// until `until`. Returns warnings: a connection without a ticket is verified as usual.
    pub(crate) async fn prefetch<'a>(
        &self,
        connections: impl IntoIterator<Item = (&'a Endpoint, SideEndpoint)>,
        until: Option<Instant>,
    ) -> Vec<String> {
        if !self.prefetches() {
            return Vec::new();
        }
        let fetching = stream::iter(demands(connections))
            .map(|demand| async move {
                let fetching = self.fetch(&demand);
                let result = match until {
                    None => fetching.await,
                    Some(until) => timeout_at(until, fetching)
                        .await
                        .unwrap_or_else(|_| Err("the time of --max-time is over".to_owned())),
                };
                result.err().map(|error| warning(demand.to, error))
            })
            .buffer_unordered(JOBS);
        fetching.filter_map(async |warning| warning).collect().await
    }

    /// A server may send a single ticket with each handshake, or none.
    async fn fetch(&self, demand: &Demand<'_>) -> Result<(), String> {
        let connector = self.connector(demand.side_endpoint);
        let mut missing = demand.connections.min(MAX_TICKETS);
        while missing > 0 {
            let fetched = connector.prefetch(demand.to).await;
            let fetched = fetched.map_err(|error| error.to_string())?;
            tracing::debug!(server = %demand.to, tickets = fetched, "tickets in advance");
            if fetched == 0 {
                break;
            }
            missing = missing.saturating_sub(fetched);
        }
        Ok(())
    }
}

fn demands<'a>(
    connections: impl IntoIterator<Item = (&'a Endpoint, SideEndpoint)>,
) -> Vec<Demand<'a>> {
    let mut demands: Vec<Demand<'_>> = Vec::new();
    for (to, side_endpoint) in connections {
        let known = demands.iter_mut();
        match known.into_iter().find(|demand| demand.to == to) {
            Some(demand) => demand.connections += 1,
            None => demands.push(Demand {
                to,
                side_endpoint,
                connections: 1,
            }),
        }
    }
    demands
}

fn warning(to: &Endpoint, error: impl Display) -> String {
    format!("{to}: no session tickets in advance, so it is verified as usual: {error}")
}
