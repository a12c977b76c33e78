//! What the page shows, before it has a form.

use std::net::SocketAddr;
use std::time::Duration;

use mtls_core::proto::binding::Binding;
use mtls_core::{Outcome, PathRole, TlsReport, Verdict};

use super::words::Words;
use crate::web::Peer;
use crate::web::html::Tone;

/// Everything that the page says.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) words: Words,
    /// `None` where the verdict says all.
    pub(super) reason: Option<String>,
    pub(super) paths: Vec<PathFacts>,
    pub(super) binding: Option<Binding>,
    pub(super) association: Option<String>,
    pub(super) tls: TlsReport,
    /// How long the TLS handshake took, and when the verdict was reached.
    pub(super) handshake: Option<Duration>,
    pub(super) reached: Option<Duration>,
}

/// One path.
#[derive(Clone, Debug)]
pub(super) struct PathFacts {
    pub(super) name: String,
    pub(super) tone: Tone,
    pub(super) state: &'static str,
    pub(super) client: Option<SocketAddr>,
    pub(super) server: Option<SocketAddr>,
}

impl Facts {
    pub(super) fn of(verdict: &Verdict, peer: &Peer) -> Self {
        let words = Words::of(&verdict.outcome);
        Self {
            reason: match &verdict.outcome {
                Outcome::Verified(_) => None,
                Outcome::Unverified(reason) => Some(reason.to_string()),
                Outcome::Intercepted(reason) => Some(reason.to_string()),
            },
            paths: paths(verdict, peer, &words),
            words,
            binding: verdict.binding(),
            association: verdict.association.map(|name| name.to_string()),
            tls: verdict.tls.clone(),
            handshake: verdict.times.tls,
            reached: verdict.times.verdict,
        }
    }

    /// How many side paths have confirmed.
    pub(super) fn sides(&self) -> usize {
        let confirmed = |path: &&PathFacts| path.tone == Tone::Good;
        self.paths.iter().skip(1).filter(confirmed).count()
    }

    /// `TLS 1.3` and so on.
    pub(super) fn tls_version(&self) -> String {
        match self.tls.version.as_deref() {
            Some(version) => version.replace("TLSv", "TLS "),
            None => "TLS".to_owned(),
        }
    }

    /// Names and values of everything technical that is known.
    pub(super) fn details(&self) -> Vec<(&'static str, String)> {
        let tls = &self.tls;
        let milliseconds = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
        let all = [
            ("Reason", self.reason.clone()),
            (
                "Binding",
                self.binding.map(|binding| explain(binding).to_owned()),
            ),
            ("Association", self.association.clone()),
            ("TLS version", tls.version.clone()),
            ("Cipher suite", tls.cipher_suite.clone()),
            (
                "Key exchange",
                tls.key_exchange.as_deref().map(key_exchange),
            ),
            ("Handshake", tls.handshake.map(str::to_owned)),
            ("Application", tls.alpn.clone()),
            ("TLS complete after", self.handshake.map(milliseconds)),
            ("Handed out after", self.reached.map(milliseconds)),
        ];
        let known = |(name, value): (_, Option<String>)| Some((name, value?));
        all.into_iter().filter_map(known).collect()
    }
}

fn paths(verdict: &Verdict, peer: &Peer, words: &Words) -> Vec<PathFacts> {
    let mut paths = vec![PathFacts {
        name: "Primary path".to_owned(),
        tone: match words.tone {
            Tone::Open => Tone::Plain,
            tone => tone,
        },
        state: match words.tone {
            Tone::Good => "Verified",
            Tone::Bad => "Do not trust",
            Tone::Open | Tone::Plain => "Plain TLS",
        },
        client: Some(peer.address),
        server: peer.local,
    }];
    let sides = verdict
        .paths
        .iter()
        .filter(|path| path.role == PathRole::Side);
    for (index, side) in sides.enumerate() {
        paths.push(PathFacts {
            name: format!("Side path {}", index + 1),
            tone: Tone::Good,
            state: "Confirmed",
            client: side.peer,
            server: side.local,
        });
    }
    if paths.len() == 1 {
        paths.push(PathFacts {
            name: "Side path".to_owned(),
            tone: words.tone,
            state: words.no_side,
            client: None,
            server: None,
        });
    }
    paths
}

fn explain(binding: Binding) -> &'static str {
    match binding {
        Binding::Exporter => "exporter: the whole handshake",
        Binding::Hello => "hello: the hello messages",
    }
}

fn key_exchange(group: &str) -> String {
    match group {
        "X25519MLKEM768" | "secp256r1MLKEM768" => format!("{group}, post-quantum hybrid"),
        other => other.to_owned(),
    }
}
