//! `MultipathHttpsConnector` under hyper-util's client.

use std::collections::HashSet;
use std::error::Error as _;

use http::{Uri, Version};
use mtls_core::http::verdict;
use mtls_core::proto::binding::Binding;
use mtls_core::{ApiMisuse, Error, Policy};

use crate::support::*;

fn uri(scheme: &str, address: std::net::SocketAddr) -> Uri {
    format!("{scheme}://{address}/").parse().expect("a uri")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_requests_over_unverified_http2_are_all_answered() {
    let pki = pki();
    let address = plain_tls_server(&pki, &["h2"]).await;
    let https = https(&pki, Policy::Prefer).enable_all_versions().build();
    let client = client(https.expect("a connector"));
    let mut failed = 0;
    for _ in 0..10 {
        let mut requests = tokio::task::JoinSet::new();
        for _ in 0..32 {
            requests.spawn(client.get(uri("https", address)));
        }
        let mut ports = HashSet::new();
        while let Some(response) = requests.join_next().await {
            match response.expect("no panic") {
                Ok(response) => assert!(ports.insert(body(response).await), "reused"),
                Err(error) => { failed += 1; eprintln!("{error:?}"); }
            }
        }
    }
    assert_eq!(failed, 0);
}
