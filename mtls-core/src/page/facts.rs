//! The contents of the verdict page, for all media types.

use std::net::SocketAddr;
use std::time::Duration;

use super::document::Tone;
use super::words::Words;
use crate::proto::binding::Binding;
use crate::tower::MultipathConnectInfo;
use crate::verdict::inheritance::Inheritance;
use crate::verdict::{Outcome, PathRole, TlsReport, Verdict};

const CONFIRMED: &str =
    "Another TCP connection. Its client sent the correct value for this handshake.";

/// The contents of the page.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) words: Words,
    /// `None` for a verified connection.
    pub(super) reason: Option<String>,
    pub(super) paths: Vec<PathFacts>,
    pub(super) binding: Option<Binding>,
    /// The verified connection that this one inherits from.
    pub(super) origin: Option<String>,
    pub(super) association: Option<String>,
    pub(super) tls: TlsReport,
    /// Times since the start of the handshake.
    pub(super) tls_complete: Option<Duration>,
    pub(super) decided: Option<Duration>,
}

/// One path.
#[derive(Clone, Debug)]
pub(super) struct PathFacts {
    pub(super) name: String,
    pub(super) tone: Tone,
    pub(super) state: &'static str,
    pub(super) client: Option<SocketAddr>,
    pub(super) server: Option<SocketAddr>,
    pub(super) about: Option<String>,
}

impl Facts {
    pub(super) fn of(verdict: &Verdict, connection: &MultipathConnectInfo) -> Self {
        let words = Words::of(&verdict.outcome);
        Self {
            reason: match &verdict.outcome {
                Outcome::Verified(_) => None,
                Outcome::Unverified(reason) | Outcome::Pinned(reason) => Some(reason.to_string()),
                Outcome::Intercepted(reason) => Some(reason.to_string()),
            },
            paths: paths(verdict, connection, &words),
            words,
            binding: verdict.binding(),
            origin: verdict.inheritance().map(origin),
            association: verdict.association.map(|name| name.to_string()),
            tls: verdict.tls.clone(),
            tls_complete: verdict.times.tls,
            decided: verdict.times.verdict,
        }
    }

    /// No side path has confirmed or disputed.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.words.tone, Tone::Open | Tone::Plain)
    }

    pub(super) fn primary_tone(&self) -> Tone {
        primary_tone(&self.words)
    }

    /// The path of the sign in the shield.
    pub(super) fn shield(&self) -> &'static str {
        match self.words.tone {
            Tone::Good => "m16.5 23.5 5.5 5.5 10-11",
            Tone::Bad => "M24 15v11M24 33v.1",
            Tone::Open | Tone::Plain => "M17 24h14",
        }
    }

    /// The path of the sign on the side path.
    pub(super) fn sign(&self) -> Option<&'static str> {
        match self.words.tone {
            Tone::Good => Some("m176 112 3 3 5.5-6"),
            Tone::Bad => Some("m176.5 108.5 7 7m0-7-7 7"),
            Tone::Open | Tone::Plain => None,
        }
    }

    pub(super) fn side_label(&self) -> String {
        match (self.words.tone, self.sides()) {
            (Tone::Good, _) if self.origin.is_some() => "no side path needed".to_owned(),
            (Tone::Good, 1) => "side path".to_owned(),
            (Tone::Good, sides) => format!("{sides} side paths"),
            (Tone::Bad, _) => "side path: wrong value".to_owned(),
            _ => "no side path".to_owned(),
        }
    }

    /// The number of side paths that have confirmed.
    fn sides(&self) -> usize {
        let confirmed = |path: &&PathFacts| path.tone == Tone::Good;
        self.paths.iter().skip(1).filter(confirmed).count()
    }

    pub(super) fn tls_version(&self) -> String {
        tls_version(&self.tls)
    }

    /// Names and values of the known technical details.
    pub(super) fn details(&self) -> Vec<(&'static str, String)> {
        let tls = &self.tls;
        let milliseconds = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
        let all = [
            ("Reason", self.reason.clone()),
            (
                "Binding",
                self.binding.map(|binding| explain(binding).to_owned()),
            ),
            ("Origin", self.origin.clone()),
            ("Association", self.association.clone()),
            ("TLS version", tls.version.clone()),
            ("Cipher suite", tls.cipher_suite.clone()),
            (
                "Key exchange",
                tls.key_exchange.as_deref().map(key_exchange),
            ),
            ("Handshake", tls.handshake.map(str::to_owned)),
            ("Application", tls.alpn.clone()),
            ("TLS complete after", self.tls_complete.map(milliseconds)),
            ("Verdict after", self.decided.map(milliseconds)),
        ];
        let known = |(name, value): (_, Option<String>)| Some((name, value?));
        all.into_iter().filter_map(known).collect()
    }
}

fn origin(inheritance: &Inheritance) -> String {
    let sides = inheritance.origin().paths.iter();
    let sides = sides.filter(|path| path.role == PathRole::Side).count();
    let age = inheritance.age().as_secs();
    match sides {
        1 => format!("verified {age} s ago by a side connection"),
        sides => format!("verified {age} s ago by {sides} side connections"),
    }
}

fn paths(verdict: &Verdict, connection: &MultipathConnectInfo, words: &Words) -> Vec<PathFacts> {
    let mut paths = vec![primary(verdict, connection, words)];
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
            about: Some(CONFIRMED.to_owned()),
        });
    }
    if paths.len() == 1 {
        paths.push(PathFacts {
            name: "Side path".to_owned(),
            tone: words.tone,
            state: words.no_side,
            client: None,
            server: None,
            about: None,
        });
    }
    paths
}

fn primary(verdict: &Verdict, connection: &MultipathConnectInfo, words: &Words) -> PathFacts {
    PathFacts {
        name: "Primary path".to_owned(),
        tone: primary_tone(words),
        state: match words.tone {
            Tone::Good => "Verified",
            Tone::Bad => "Do not trust",
            Tone::Open | Tone::Plain => "Plain TLS",
        },
        client: Some(connection.peer()),
        server: connection.local(),
        about: Some(carries(&verdict.tls)),
    }
}

fn primary_tone(words: &Words) -> Tone {
    match words.tone {
        Tone::Open => Tone::Plain,
        tone => tone,
    }
}

/// `TLS 1.3` and so on.
fn tls_version(tls: &TlsReport) -> String {
    match tls.version.as_deref() {
        Some(version) => version.replace("TLSv", "TLS "),
        None => "TLS".to_owned(),
    }
}

fn carries(tls: &TlsReport) -> String {
    let mut about = format!("Carries {}", tls_version(tls));
    for part in [&tls.key_exchange, &tls.cipher_suite].into_iter().flatten() {
        about.push_str(", ");
        about.push_str(part);
    }
    about.push('.');
    about
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
