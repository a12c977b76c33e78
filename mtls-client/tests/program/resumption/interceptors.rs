//! Interceptors that people use, sslsplit and mitmproxy, with a rogue CA that the client trusts.

use std::net::SocketAddr;

use tokio::process::Command;

use super::servers::{Server, free_address};
use super::{BY_RESUMPTION, PATHS};
use crate::lab::{Lab, Run, has, has_with};

/// An interceptor between its address and a server.
enum Interceptor {
    Sslsplit,
    Mitmproxy,
}

impl Interceptor {
    async fn start(&self, lab: &Lab, server: SocketAddr) -> Option<Server> {
        match self {
            Self::Sslsplit => lab.sslsplit(server).await,
            Self::Mitmproxy => lab.mitmproxy(server).await,
        }
    }
}

impl Lab {
    async fn sslsplit(&self, server: SocketAddr) -> Option<Server> {
        if !has_with("sslsplit", "-V") {
            return None;
        }
        let address = free_address().await;
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let (to_host, to_port) = (server.ip().to_string(), server.port().to_string());
        let rogue = &self.pki.rogue_ca;
        let key = self.write("rogue-ca.key", &rogue.key_pem());
        let certificate = self.write("rogue-ca.crt", &rogue.cert_pem());
        let mut sslsplit = Command::new("sslsplit");
        sslsplit.args(["-D", "-u", "root", "-P", "-k", &key, "-c", &certificate]);
        sslsplit.args(["https", &host, &port, &to_host, &to_port]);
        Some(Server::start(sslsplit, address).await)
    }

    async fn mitmproxy(&self, server: SocketAddr) -> Option<Server> {
        if !has("mitmdump") {
            return None;
        }
        let address = free_address().await;
        let dir = self.path(&format!("mitmproxy-{}", address.port()));
        std::fs::create_dir(&dir).expect("a directory");
        let rogue = &self.pki.rogue_ca;
        let both = rogue.key_pem() + &rogue.cert_pem();
        std::fs::write(format!("{dir}/mitmproxy-ca.pem"), both).expect("to write");
        let mode = format!("reverse:https://{server}/");
        let trusted = format!("ssl_verify_upstream_trusted_ca={}", self.ca());
        let mut mitmdump = Command::new("mitmdump");
        mitmdump.args(["--quiet", "--mode", &mode, "--set", &trusted]);
        mitmdump.args(["--set", &format!("confdir={dir}"), "--listen-host"]);
        mitmdump.args([&address.ip().to_string(), "--listen-port"]);
        mitmdump.arg(address.port().to_string());
        Some(Server::start(mitmdump, address).await)
    }

    /// A client that trusts both CAs, and whose paths lead to two servers.
    async fn by_paths(
        &self,
        primary: SocketAddr,
        side: SocketAddr,
        options: &[&str],
    ) -> Option<Run> {
        let front = self.haproxy(&[primary, side]).await?;
        let (cas, target) = (self.both_cas(), front.target());
        let first = ["check", "--cacert", &cas, "--json"];
        let options = [&first[..], &BY_RESUMPTION, &PATHS, options, &[&target]];
        Some(self.run(options.concat()).await)
    }

    /// The attack works against plain TLS: curl reads the page through the interceptor.
    async fn curl_is_fooled(&self, interceptor: &Server) {
        let url = format!("https://{}/", interceptor.target());
        let curl = async |ca: &str| {
            let mut curl = Command::new("curl");
            curl.args(["-sS", "--noproxy", "*", "--cacert", ca, &url]);
            Run::of(curl).await
        };
        if has("curl") {
            let page = curl(&self.path("rogue-ca.pem")).await.exits_with(0);
            assert_eq!(page.stdout, "nginx\n");
            assert_ne!(curl(&self.ca()).await.code, 0, "only the rogue CA");
        }
    }
}

/// On one path, each is a suspicion. On both paths, one interceptor resumes its own sessions: as
/// with every method, an attacker on all paths is not detected.
async fn is_found_on_one_path_alone(interceptor: Interceptor) {
    let lab = Lab::new();
    let Some(nginx) = lab.nginx("").await else {
        return;
    };
    let Some(attacker) = interceptor.start(&lab, nginx.address).await else {
        return;
    };
    lab.curl_is_fooled(&attacker).await;
    let on_primary = (attacker.address, nginx.address);
    let on_side = (nginx.address, attacker.address);
    for (primary, side) in [on_primary, on_side] {
        for policy in ["require", "prefer"] {
            let run = lab.by_paths(primary, side, &["--policy", policy]).await;
            let Some(run) = run else {
                return;
            };
            let reason = &run.exits_with(115).json()[0]["reason"];
            assert!(reason == "split" || reason == "other-key", "{reason}");
        }
    }
    let run = lab.by_paths(attacker.address, attacker.address, &[]).await;
    let verdict = &run.expect("haproxy").exits_with(0).json()[0];
    assert_eq!(verdict["proves"], "same-ticket-domain");
}

#[tokio::test(flavor = "multi_thread")]
async fn sslsplit_is_found_on_either_path() {
    is_found_on_one_path_alone(Interceptor::Sslsplit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mitmproxy_is_found_on_either_path() {
    is_found_on_one_path_alone(Interceptor::Mitmproxy).await;
}
