//! The verdict for people.

use std::fmt::{self, Write};
use std::time::Duration;

use mtls_core::{Evidence, Outcome, PathReport, PathRole, TlsReport, Verdict};
use unicode_width::UnicodeWidthStr;

use crate::connect::attempt::Attempt;
use crate::connect::channel_bindings::ChannelBindings;
use crate::output::style::{Colour, Style};

/// A short report on one connection; nothing where it did not come to a verdict.
pub(crate) fn report(attempt: &Attempt, style: Style) -> String {
    let Some(verdict) = &attempt.verdict else {
        return String::new();
    };
    let mut text = String::new();
    let word = verdict.outcome.as_str().to_uppercase();
    let colour = match verdict.outcome {
        Outcome::Verified(_) => Colour::Good,
        Outcome::Unverified(_) => Colour::Doubtful,
        Outcome::Intercepted(_) => Colour::Bad,
    };
    let _ = writeln!(text, "{}  {}", style.paint(colour, word), attempt.target);
    let bindings = attempt.bindings.as_ref().map(binding_lines);
    let lines = lines(verdict).into_iter();
    for (label, value) in lines.chain(bindings.unwrap_or_default()) {
        let label = style
            .paint(Colour::Faint, format_args!("{label:<13}"))
            .to_string();
        let _ = writeln!(text, "  {label}{value}");
    }
    text
}

/// A loud account of an interception.
pub(crate) fn alarm(attempt: &Attempt, evidence: &Evidence, style: Style) -> String {
    let mut text = String::new();
    let headline = format!("*** INTERCEPTION DETECTED: {} ***", attempt.target);
    let _ = writeln!(text, "{}", style.paint(Colour::Bad, headline));
    let _ = writeln!(
        text,
        "{}. Somebody stands in one of the paths to this\nserver (or the server's machines do not \
         share their registry).",
        capitalized(&evidence.reason.to_string()),
    );
    if let Some(leaf) = evidence.chain.first() {
        let unknown = || "(unreadable)".to_owned();
        let raw = leaf.spki_sha256.as_ref() == Some(&leaf.sha256);
        let what = if raw { "raw public key" } else { "certificate" };
        let _ = writeln!(text, "The {what} that came over the primary path:");
        let named = |(label, _): &(&str, _)| !raw || *label == "public key";
        let shown = [
            ("subject", &leaf.subject),
            ("issuer", &leaf.issuer),
            ("public key", &leaf.spki_sha256),
        ];
        for (label, value) in shown.into_iter().filter(named) {
            let value = value
                .clone()
                .map_or_else(unknown, |value| printable(&value));
            let label = match label {
                "public key" => "public key (SPKI) sha256",
                label => label,
            };
            let _ = writeln!(text, "  {label}: {value}");
        }
    }
    let done = match attempt.failure {
        Some(_) => "Nothing was sent. Do not connect over this network;",
        None => "The policy `observe` goes on all the same. Trust nothing that came;",
    };
    let _ = writeln!(
        text,
        "{done} try other paths (--primary,\n--side), and show the evidence to whoever runs the \
         server or the network."
    );
    text
}

fn lines(verdict: &Verdict) -> Vec<(String, String)> {
    let mut lines = Vec::with_capacity(verdict.paths.len() + 4);
    match (&verdict.outcome, verdict.binding()) {
        (_, Some(binding)) => lines.push(("binding".into(), binding.to_string())),
        (Outcome::Unverified(reason), _) => lines.push(("reason".into(), reason.to_string())),
        (Outcome::Intercepted(reason), _) => lines.push(("reason".into(), reason.to_string())),
        _ => {}
    }
    lines.push(("independence".into(), verdict.independence.to_string()));
    let mut side = 0;
    for (path, line) in verdict.paths.iter().zip(path_lines(&verdict.paths)) {
        let label = match path.role {
            PathRole::Primary => "primary".to_owned(),
            PathRole::Side => {
                side += 1;
                format!("side {side}")
            }
        };
        lines.push((label, line));
    }
    lines.push(("TLS".into(), tls_line(&verdict.tls)));
    let times = verdict.times;
    lines.push((
        "times".into(),
        format!(
            "connected {}, TLS {}, verdict {}",
            Milliseconds(times.connected),
            Milliseconds(times.tls),
            Milliseconds(times.verdict)
        ),
    ));
    lines
}

/// What a protocol above can bind itself to, and by which standard.
fn binding_lines(bindings: &ChannelBindings) -> Vec<(String, String)> {
    let exporter = bindings.tls_exporter.iter();
    let exporter = exporter.map(|value| ("tls-exporter".into(), value.clone()));
    let multipath = bindings.multipath.iter().zip(1..);
    let multipath = multipath.map(|(value, side)| (format!("side {side} bound"), value.clone()));
    exporter.chain(multipath).collect()
}

/// One line for each path, in columns.
fn path_lines(paths: &[PathReport]) -> Vec<String> {
    let rows: Vec<_> = paths.iter().map(columns).collect();
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].width());
        widths.max().unwrap_or(0)
    };
    let widths = [width(0), width(1), width(2), width(3), width(4)];
    let line = |row: &[String; 5]| {
        let mut line = String::new();
        for (column, width) in row.iter().zip(widths).filter(|&(_, width)| width > 0) {
            let padding = " ".repeat(width.saturating_sub(column.width()));
            let _ = write!(line, "{column}{padding}  ");
        }
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// How it was dialled, its two ends, its interface, its resolver, and what came of it.
fn columns(path: &PathReport) -> [String; 5] {
    let address = |address: Option<std::net::SocketAddr>| {
        address.map_or_else(|| "?".to_owned(), |address| address.to_string())
    };
    let ends = match (path.local, path.peer) {
        (None, None) => String::new(),
        (local, peer) => format!("{} → {}", address(local), address(peer)),
    };
    let via = path.via.as_ref().map(ToString::to_string);
    let resolver = path.resolver.as_ref();
    let reused = if path.reused { " (reused)" } else { "" };
    [
        via.unwrap_or_else(|| "(unknown)".into()),
        ends,
        path.interface.clone().unwrap_or_default(),
        resolver.map_or_else(String::new, |resolver| format!("resolver: {resolver}")),
        format!("{}{reused}", path.result.unwrap_or_default()),
    ]
}

fn tls_line(tls: &TlsReport) -> String {
    let parts = [
        tls.version.as_deref(),
        tls.cipher_suite.as_deref(),
        tls.key_exchange.as_deref(),
        tls.handshake,
        tls.alpn.as_deref(),
        tls.server_key
            .filter(|key| *key == "raw-public-key")
            .map(|_| "any raw public key (SMKEX: no name was checked)"),
    ];
    printable(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// What a peer chose may hold what a terminal obeys.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

struct Milliseconds(Option<Duration>);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(time) => write!(f, "{:.1} ms", time.as_secs_f64() * 1e3),
            None => f.write_str("never"),
        }
    }
}
