//! The page for browsers.

use std::fmt;

use super::PATH;
use super::facts::{Facts, PathFacts};
use super::words::{INTERCEPTION, KNOWN, TRUST, UNKNOWN};
use crate::web::html::{Text, Tone};

/// Displays the body of the page.
pub(super) struct AsHtml<'a>(pub(super) &'a Facts);

impl fmt::Display for AsHtml<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = self.0;
        f.write_str("<main>\n")?;
        self.hero(f)?;
        Map(facts).fmt(f)?;
        f.write_str("<h2>Path by path</h2>\n<ul class=\"paths\">\n")?;
        for (index, path) in facts.paths.iter().enumerate() {
            self.path(f, path, index == 0)?;
        }
        f.write_str("</ul>\n<h2>What this verdict means</h2>\n<div class=\"two\">\n")?;
        list(f, "This server can know", &KNOWN)?;
        list(f, "It cannot know", &UNKNOWN)?;
        write!(
            f,
            "</div>\n<p class=\"after\">{}</p>\n\
             <h2>What an interception looks like</h2>\n<p>{}</p>\n\
             <h2>Details</h2>\n<div class=\"card\">\n<dl>\n",
            Text(TRUST),
            Text(INTERCEPTION)
        )?;
        for (name, value) in facts.details() {
            let value = Text(value);
            writeln!(f, "<dt>{name}</dt><dd class=\"address\">{value}</dd>")?;
        }
        write!(
            f,
            "</dl>\n</div>\n<p class=\"actions\"><a class=\"button\" href=\"{PATH}\">Reload</a> \
             <span class=\"soft\">A side connection may confirm after this page was sent.</span></p>\n\
             <footer>mtls-server. MTLS is multipath TLS here, not mutual TLS. For programs: \
             <code>Accept: application/json</code>.</footer>\n</main>\n"
        )
    }
}

impl AsHtml<'_> {
    fn hero(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = &self.0.words;
        writeln!(
            f,
            "<header class=\"card hero\">\n{}\n<div><h1>{}</h1>\n<p class=\"lead\">{}</p></div>\n\
             <p class=\"more\">{}</p>\n</header>",
            shield(words.tone),
            Text(words.title),
            Text(&words.lead),
            Text(words.more)
        )
    }

    fn path(&self, f: &mut fmt::Formatter<'_>, path: &PathFacts, primary: bool) -> fmt::Result {
        writeln!(
            f,
            "<li class=\"card path {}\"><h3>{} <span>{}</span></h3>",
            path.tone.class(),
            Text(&path.name),
            Text(path.state)
        )?;
        if let Some(client) = path.client {
            write!(f, "<p class=\"ends address\">{client}")?;
            if let Some(server) = path.server {
                write!(f, " <span class=\"soft\">→</span> {server}")?;
            }
            f.write_str("</p>\n")?;
        }
        let about = match (primary, path.tone) {
            (true, _) => Some(self.primary()),
            (false, Tone::Good) => Some(
                "Another TCP connection. Its client sent the right value for this handshake."
                    .to_owned(),
            ),
            (false, _) => None,
        };
        if let Some(about) = about {
            writeln!(f, "<p class=\"soft\">{}</p>", Text(about))?;
        }
        f.write_str("</li>\n")
    }

    fn primary(&self) -> String {
        let tls = &self.0.tls;
        let mut about = format!("Carries {}", self.0.tls_version());
        for part in [&tls.key_exchange, &tls.cipher_suite].into_iter().flatten() {
            about.push_str(", ");
            about.push_str(part);
        }
        about.push('.');
        about
    }
}

fn list(f: &mut fmt::Formatter<'_>, heading: &str, points: &[&str]) -> fmt::Result {
    write!(f, "<section class=\"card\"><h3>{heading}</h3>\n<ul>\n")?;
    for point in points {
        writeln!(f, "<li>{}</li>", Text(point))?;
    }
    f.write_str("</ul></section>\n")
}

/// A shield with the sign of the verdict.
fn shield(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => {
            "<svg viewBox=\"0 0 48 48\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"3.5\" \
             stroke-linecap=\"round\" stroke-linejoin=\"round\" aria-hidden=\"true\">\
             <path d=\"M24 4 8 10v12c0 10 6.5 17.5 16 22 9.5-4.5 16-12 16-22V10z\"/>\
             <path d=\"m16.5 23.5 5.5 5.5 10-11\"/></svg>"
        }
        Tone::Bad => {
            "<svg viewBox=\"0 0 48 48\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"3.5\" \
             stroke-linecap=\"round\" stroke-linejoin=\"round\" aria-hidden=\"true\">\
             <path d=\"M24 4 8 10v12c0 10 6.5 17.5 16 22 9.5-4.5 16-12 16-22V10z\"/>\
             <path d=\"M24 15v11M24 33v.1\"/></svg>"
        }
        Tone::Open | Tone::Plain => {
            "<svg viewBox=\"0 0 48 48\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"3.5\" \
             stroke-linecap=\"round\" stroke-linejoin=\"round\" aria-hidden=\"true\">\
             <path d=\"M24 4 8 10v12c0 10 6.5 17.5 16 22 9.5-4.5 16-12 16-22V10z\" \
             stroke-dasharray=\"1 6.5\"/><path d=\"M17 24h14\"/></svg>"
        }
    }
}

/// The client, the server, and the two kinds of paths between them.
struct Map<'a>(&'a Facts);

impl fmt::Display for Map<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = self.0;
        let tone = facts.words.tone;
        let primary = match tone {
            Tone::Open => Tone::Plain,
            tone => tone,
        };
        let side = match (tone, facts.sides()) {
            (Tone::Good, 1) => "side path".to_owned(),
            (Tone::Good, sides) => format!("{sides} side paths"),
            (Tone::Bad, _) => "side path: wrong value".to_owned(),
            _ => "no side path".to_owned(),
        };
        let wire = if tone == Tone::Open {
            "wire none"
        } else {
            "wire"
        };
        write!(
            f,
            "<figure class=\"card map\"><svg viewBox=\"0 16 360 114\" role=\"img\" \
             aria-label=\"The client and this server, with {label}\">\n\
             <g class=\"{primary}\"><path class=\"wire\" d=\"M84 50H276\"/>\
             <text x=\"180\" y=\"38\" text-anchor=\"middle\">primary path</text>\
             <text class=\"note\" x=\"180\" y=\"68\" text-anchor=\"middle\">{version}</text></g>\n\
             <g class=\"{tone}\"><path class=\"{wire}\" d=\"M46 76C46 104 62 112 92 112H268C298 112 314 104 314 76\"/>\
             {sign}<text x=\"180\" y=\"94\" text-anchor=\"middle\">{label}</text></g>\n\
             <g class=\"plain\"><rect class=\"node\" x=\"8\" y=\"24\" width=\"76\" height=\"52\" rx=\"12\"/>\
             <text x=\"46\" y=\"54\" text-anchor=\"middle\">client</text>\
             <rect class=\"node\" x=\"276\" y=\"24\" width=\"76\" height=\"52\" rx=\"12\"/>\
             <text x=\"314\" y=\"54\" text-anchor=\"middle\">server</text></g>\n</svg></figure>\n",
            label = side,
            primary = primary.class(),
            version = Text(facts.tls_version()),
            tone = tone.class(),
            sign = sign(tone),
        )
    }
}

/// Sits on the side path.
fn sign(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => {
            "<circle class=\"dot\" cx=\"180\" cy=\"112\" r=\"9\"/>\
             <path class=\"sign\" d=\"m176 112 3 3 5.5-6\"/>"
        }
        Tone::Bad => {
            "<circle class=\"dot\" cx=\"180\" cy=\"112\" r=\"9\"/>\
             <path class=\"sign\" d=\"m176.5 108.5 7 7m0-7-7 7\"/>"
        }
        Tone::Open | Tone::Plain => "",
    }
}
