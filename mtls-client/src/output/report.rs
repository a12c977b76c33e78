//! Reports on connections, for people.

use std::fmt::Write;
use std::time::Duration;

use mtls_core::path::{MptcpReport, SubflowReport};
use mtls_core::{
    CertificateEvidence, Evidence, EvidenceReason, Inheritance, Method, Outcome, PathReport,
    PathRole, ResumptionDirection, TlsReport, Verdict, Verified,
};
use unicode_width::UnicodeWidthStr;

use super::style::{Colour, Style};
use super::text::{age, capitalized, milliseconds, padded, printable, wrapped};
use crate::connect::attempt::Attempt;
use crate::connect::channel_bindings::ChannelBindings;

/// The longest line of an alarm, in characters.
const WIDTH: usize = 80;

/// The report on one connection; empty without a verdict.
pub(super) fn report(attempt: &Attempt, style: Style) -> String {
    let Some(verdict) = &attempt.verdict else {
        return String::new();
    };
    let mut text = String::new();
    let word = verdict.outcome.as_str().to_uppercase();
    let colour = match verdict.outcome {
        Outcome::Verified(_) => Colour::Good,
        Outcome::Unverified(_) | Outcome::Pinned(_) => Colour::Doubtful,
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

/// The report on an interception or a suspicion.
pub(super) fn alarm(attempt: &Attempt, evidence: &Evidence, style: Style) -> String {
    match evidence.reason {
        EvidenceReason::Resumption(_) => suspicion(attempt, evidence, style),
        _ => interception(attempt, evidence, style),
    }
}

fn suspicion(attempt: &Attempt, evidence: &Evidence, style: Style) -> String {
    let mut text = String::new();
    let headline = format!("*** SUSPICION: {} ***", attempt.target);
    let _ = writeln!(text, "{}", style.paint(Colour::Doubtful, headline));
    let cause = format!(
        "{}. This is no proof of an interception.",
        capitalized(&evidence.reason.to_string()),
    );
    write_lines(&mut text, &cause);
    write_leaf(&mut text, &evidence.chain, "primary");
    write_leaf(&mut text, &evidence.side_chain, "side");
    let consequence = match attempt.failure {
        Some(_) => "Nothing was sent",
        None => "The policy `observe` continues anyway",
    };
    let remedy = format!(
        "{consequence}; try other paths (--primary, --side): if all give this result, the server's \
         machines share no ticket key, and resumption cannot verify them."
    );
    write_lines(&mut text, &remedy);
    text
}

fn interception(attempt: &Attempt, evidence: &Evidence, style: Style) -> String {
    let mut text = String::new();
    let headline = format!("*** INTERCEPTION DETECTED: {} ***", attempt.target);
    let _ = writeln!(text, "{}", style.paint(Colour::Bad, headline));
    let cause = format!(
        "{}. An attacker is on one of the paths to this server, or the server's machines do not \
         share their registry.",
        capitalized(&evidence.reason.to_string()),
    );
    write_lines(&mut text, &cause);
    write_leaf(&mut text, &evidence.chain, "primary");
    let consequence = match attempt.failure {
        Some(_) => "Nothing was sent. Do not use this network for this server",
        None => "The policy `observe` continues anyway. Do not trust the data received",
    };
    let remedy = format!(
        "{consequence}; try other paths (--primary, --side), and show the evidence to the operator \
         of the server or of the network."
    );
    write_lines(&mut text, &remedy);
    text
}

fn write_lines(text: &mut String, prose: &str) {
    for line in wrapped(prose, WIDTH) {
        let _ = writeln!(text, "{line}");
    }
}

/// Writes the first certificate that was received over a path.
fn write_leaf(text: &mut String, chain: &[CertificateEvidence], path: &str) {
    let Some(leaf) = chain.first() else {
        return;
    };
    let raw = leaf.spki_sha256.as_ref() == Some(&leaf.sha256);
    let kind = if raw { "raw public key" } else { "certificate" };
    let _ = writeln!(text, "The {kind} received over the {path} path:");
    let names = [("subject", &leaf.subject), ("issuer", &leaf.issuer)];
    let names = names.into_iter().filter(|_| !raw);
    for (label, value) in names.chain([("public key (SPKI) sha256", &leaf.spki_sha256)]) {
        let value = value.as_deref().map_or("(unreadable)".into(), printable);
        let _ = writeln!(text, "  {label}: {value}");
    }
}

fn lines(verdict: &Verdict) -> Vec<(String, String)> {
    let mut lines = Vec::with_capacity(verdict.paths.len() + 4);
    lines.push(("method".into(), method(verdict)));
    if let Some(inheritance) = verdict.inheritance() {
        lines.push(("origin".into(), origin(inheritance)));
    }
    match (&verdict.outcome, verdict.binding()) {
        (_, Some(binding)) => lines.push(("binding".into(), binding.to_string())),
        (Outcome::Unverified(reason) | Outcome::Pinned(reason), _) => {
            lines.push(("reason".into(), reason.to_string()));
        }
        (Outcome::Intercepted(reason), _) => lines.push(("reason".into(), reason.to_string())),
        _ => {}
    }
    lines.push(("independence".into(), verdict.independence().to_string()));
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
        lines.extend(path.mptcp.iter().flat_map(mptcp_lines));
    }
    lines.push(("TLS".into(), tls_line(&verdict.tls)));
    let times = verdict.times;
    lines.push((
        "times".into(),
        format!(
            "connected {}, TLS {}, verdict {}",
            milliseconds_or_never(times.connected),
            milliseconds_or_never(times.tls),
            milliseconds_or_never(times.verdict)
        ),
    ));
    lines
}

/// The method, and what is weaker about it.
fn method(verdict: &Verdict) -> String {
    match (verdict.method, &verdict.outcome) {
        (method, Outcome::Verified(verified)) if verified.inheritance().is_some() => format!(
            "{method}, inherited: the session of a verified connection was resumed, which is weaker \
             than a verification"
        ),
        (Method::Resumption, Outcome::Verified(verified)) if is_prefetched(verified) => {
            "resumption of a session that was fetched over the side path in advance: both paths lead \
             to servers with one ticket key, which is weaker than the side protocol"
                .to_owned()
        }
        (Method::Resumption, Outcome::Verified(_)) => {
            "resumption: both paths lead to servers with \
             one ticket key, which is weaker than the side protocol"
                .to_owned()
        }
        (method, _) => method.to_string(),
    }
}

fn is_prefetched(verified: &Verified) -> bool {
    let mut proofs = verified.resumptions().iter();
    proofs.any(|proof| proof.direction() == ResumptionDirection::Prefetched)
}

/// The verified connection that another one inherits from.
fn origin(inheritance: &Inheritance) -> String {
    let paths = inheritance.origin().paths.iter();
    let via = paths.map(|path| match &path.via {
        Some(via) => via.to_string(),
        None => "(unknown)".to_owned(),
    });
    format!(
        "verified {} ago over {}",
        age(inheritance.age()),
        via.collect::<Vec<_>>().join(", ")
    )
}

/// The channel bindings.
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
    let widths: [usize; 5] = std::array::from_fn(|column| {
        let widths = rows.iter().map(|row| row[column].width());
        widths.max().unwrap_or(0)
    });
    let line = |row: &[String; 5]| {
        let columns = row.iter().zip(widths).filter(|&(_, width)| width > 0);
        let columns = columns.map(|(column, width)| padded(column, width) + "  ");
        columns.collect::<String>().trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// The subflows of Multipath TCP besides the first, or that there can be none.
fn mptcp_lines(mptcp: &MptcpReport) -> Vec<(String, String)> {
    if mptcp.fallback {
        let text = "fell back to TCP: the server does not support it, or a middlebox removes it";
        return vec![("MPTCP".into(), text.into())];
    }
    let subflow = |(number, subflow): (usize, &SubflowReport)| {
        let interface = subflow.interface.as_deref().unwrap_or_default();
        let text = format!("{} → {}  {interface}", subflow.local, subflow.peer);
        (format!("subflow {number}"), text.trim_end().to_owned())
    };
    let subflows = (1..).zip(&mptcp.subflows);
    match mptcp.subflows.len() {
        0 | 1 => vec![("MPTCP".into(), "one subflow".into())],
        _ => subflows.map(subflow).skip(1).collect(),
    }
}

/// Specification, both ends, interface, resolver and result of a path.
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
    let same_key = match path.same_key {
        Some(true) => " (same key)",
        Some(false) => " (other key)",
        None => "",
    };
    [
        via.unwrap_or_else(|| "(unknown)".into()),
        ends,
        path.interface().unwrap_or_default().to_owned(),
        resolver.map_or_else(String::new, |resolver| format!("resolver: {resolver}")),
        format!("{}{reused}{same_key}", path.result.unwrap_or_default()),
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

fn milliseconds_or_never(time: Option<Duration>) -> String {
    time.map_or_else(|| "never".to_owned(), milliseconds)
}
