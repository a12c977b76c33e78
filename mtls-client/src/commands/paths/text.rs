//! The findings as text for people.

use std::fmt::Write;

use mtls_core::path::survey::{
    Candidate, DefaultRoute, Greeting, Interface, InterfaceKind, InterfaceState, NextHop, Pair,
};

use super::findings::{Findings, Role, TestedPath};
use crate::output::style::{Colour, Style};
use crate::output::table::{Cell, Table};
use crate::output::text::wrapped;

/// The longest line of prose, in columns.
const WIDTH: usize = 96;

/// The whole report.
pub(super) fn text(findings: &Findings, style: Style) -> String {
    let mut page = Page {
        text: String::new(),
        style,
    };
    match &findings.target {
        None => {
            page.interfaces(&findings.interfaces);
            page.candidates(&findings.candidates);
        }
        Some(target) => page.tested(target, &findings.paths),
    }
    page.pairs(&findings.pairs);
    page.advice(findings);
    page.text
}

struct Page {
    text: String,
    style: Style,
}

impl Page {
    fn heading(&mut self, heading: &str) {
        let blank = if self.text.is_empty() { "" } else { "\n" };
        let _ = writeln!(
            self.text,
            "{blank}{}",
            self.style.paint(Colour::Strong, heading)
        );
    }

    fn interfaces(&mut self, interfaces: &[Interface]) {
        if interfaces.is_empty() {
            return;
        }
        self.heading("Interfaces");
        let mut table = Table::new(["NAME", "KIND", "STATE", "ADDRESSES", "DEFAULT ROUTE"]);
        let mut shown: Vec<_> = interfaces
            .iter()
            .filter(|one| is_of_interest(one))
            .collect();
        shown.sort_by_key(|interface| rank(interface));
        for interface in &shown {
            rows_of(interface, &mut table);
        }
        table.write(&mut self.text, self.style);
        let hidden = interfaces.len() - shown.len();
        if hidden > 0 {
            let more = format!("  and {hidden} without an address (shown by --json)");
            let _ = writeln!(self.text, "{}", self.style.paint(Colour::Faint, more));
        }
    }

    fn candidates(&mut self, candidates: &[Candidate]) {
        if candidates.is_empty() {
            return;
        }
        self.heading("Paths of this machine");
        let mut table = Table::new(["PATH", "INTERFACE", "FROM", "NEXT HOP"]);
        for candidate in candidates {
            table.row([
                candidate.spec.to_string().into(),
                candidate.route.interface.clone().unwrap_or_default().into(),
                candidate
                    .route
                    .source
                    .map_or_else(String::new, |ip| ip.to_string())
                    .into(),
                hop(candidate.next_hop.as_ref()).into(),
            ]);
        }
        table.write(&mut self.text, self.style);
    }

    fn tested(&mut self, target: &str, paths: &[TestedPath]) {
        self.heading(&format!("Paths to {target}"));
        let mut table = Table::new([
            "PATH",
            "ROLE",
            "INTERFACE",
            "FROM",
            "TO",
            "NEXT HOP",
            "RTT",
            "SIDE VERIFIER",
        ]);
        for path in paths {
            match &path.error {
                None => table.row(reached(path)),
                Some(error) => table.row_with_remark(
                    [
                        path.candidate.spec.to_string().into(),
                        path.role.as_str().into(),
                    ],
                    (format!("failed: {error}"), Colour::Bad),
                ),
            }
        }
        table.write(&mut self.text, self.style);
        for path in paths {
            if let Some(note) = &path.note {
                self.prose(&format!("{}: {note}", path.candidate.spec), 2);
            }
        }
    }

    fn pairs(&mut self, pairs: &[Pair]) {
        if pairs.is_empty() {
            return;
        }
        self.heading("Pairs, as far as visible from this machine");
        for pair in pairs {
            let (word, colour) = match pair.really_different {
                Some(true) => ("independent", Colour::Good),
                Some(false) => ("not independent", Colour::Bad),
                None => ("not known", Colour::Doubtful),
            };
            let word = self
                .style
                .paint(colour, format_args!("{word:<15}"))
                .to_string();
            let [one, other] = &pair.paths;
            let _ = writeln!(self.text, "  {word}  {one} + {other}");
            self.prose(&format!("{}: {}", pair.independence.as_str(), pair.why), 19);
        }
    }

    fn advice(&mut self, findings: &Findings) {
        if findings.target.is_none() || !findings.pairs.is_empty() {
            self.text.push('\n');
            self.prose(super::findings::NOT_KNOWN, 0);
        }
        if let Some(suggestion) = &findings.suggestion {
            let suggestion = self.style.paint(Colour::Strong, suggestion);
            let _ = writeln!(self.text, "\nTry  {suggestion}");
        }
        if let Some(advice) = findings.advice() {
            self.text.push('\n');
            self.prose(advice, 0);
        }
    }

    /// Writes a text in indented lines.
    fn prose(&mut self, text: &str, indent: usize) {
        for line in wrapped(text, WIDTH - indent) {
            let _ = writeln!(self.text, "{:indent$}{line}", "");
        }
    }
}

/// Hides the interfaces of containers and virtual machines, of which there may be dozens.
fn is_of_interest(interface: &Interface) -> bool {
    !interface.addresses.is_empty() || !matches!(interface.kind, InterfaceKind::Made(_))
}

/// Sorts the interface that the system prefers first, and unusable ones last.
fn rank(interface: &Interface) -> (bool, bool, u32) {
    let metrics = interface
        .default_routes
        .iter()
        .filter(|route| route.table.is_none());
    let best = metrics.map(|route| route.metric).min();
    (
        interface.kind == InterfaceKind::Loopback,
        !interface.is_up(),
        best.unwrap_or(u32::MAX),
    )
}

fn rows_of(interface: &Interface, table: &mut Table<5>) {
    let kind = match &interface.carried_by {
        Some(carrier) => format!("{} on {carrier}", interface.kind),
        None => interface.kind.to_string(),
    };
    let colour = match interface.state {
        InterfaceState::Up => Colour::Good,
        InterfaceState::NoCarrier | InterfaceState::Down => Colour::Doubtful,
    };
    let mut addresses = interface.addresses.iter().map(ToString::to_string);
    let mut routes = interface.default_routes.iter().map(route);
    table.row([
        interface.name.clone().into(),
        kind.into(),
        (interface.state.as_str().to_owned(), colour).into(),
        addresses.next().unwrap_or_else(|| "none".into()).into(),
        routes.next().unwrap_or_else(|| "none".into()).into(),
    ]);
    loop {
        let (address, route) = (addresses.next(), routes.next());
        if address.is_none() && route.is_none() {
            return;
        }
        let [address, route] = [address, route].map(|cell| cell.unwrap_or_default().into());
        table.row([
            String::new().into(),
            String::new().into(),
            String::new().into(),
            address,
            route,
        ]);
    }
}

fn route(route: &DefaultRoute) -> String {
    let family = if route.is_ipv6 { "IPv6" } else { "IPv4" };
    let via = match route.gateway {
        Some(gateway) => format!("via {gateway}"),
        None => "directly".into(),
    };
    let table = match route.table {
        Some(table) => format!(", only by table {table}"),
        None => String::new(),
    };
    format!("{family} {via}, metric {}{table}", route.metric)
}

fn reached(path: &TestedPath) -> [Cell; 8] {
    let ip = |address: Option<std::net::SocketAddr>| {
        address.map_or_else(|| "?".to_owned(), |address| address.ip().to_string())
    };
    let rtt = path
        .rtt_ms
        .map_or_else(|| "?".to_owned(), |rtt| format!("{rtt:.1} ms"));
    let (greeting, colour) = match path.side_verifier {
        Some(greeting @ Greeting::Greets) => (greeting.as_str(), Colour::Good),
        Some(greeting) => (greeting.as_str(), Colour::Doubtful),
        None => ("not tested", Colour::Faint),
    };
    [
        path.candidate.spec.to_string().into(),
        path.role.as_str().into(),
        path.candidate
            .route
            .interface
            .clone()
            .unwrap_or_else(|| "?".into())
            .into(),
        ip(path.local).into(),
        match path.peer {
            Some(peer) if path.candidate.route.proxy.is_some() => format!("{} (proxy)", peer.ip()),
            peer => ip(peer),
        }
        .into(),
        hop(path.candidate.next_hop.as_ref()).into(),
        rtt.into(),
        (greeting.to_owned(), colour).into(),
    ]
}

fn hop(hop: Option<&NextHop>) -> String {
    match hop {
        Some(hop) => match hop.gateway {
            Some(gateway) => gateway.to_string(),
            None => "on link".into(),
        },
        None => "?".into(),
    }
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Side => "side",
            Self::Candidate => "found",
        }
    }
}
