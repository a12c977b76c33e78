//! Known hosts as a table, as text and as JSON.

use std::fmt::Write;

use mtls_core::known_hosts::{HostEntry, KeyPin, Listed, Support};
use mtls_core::path::Endpoint;
use serde::Serialize;
use time::OffsetDateTime;

use crate::output::style::{Colour, Style};
use crate::output::table::{Cell, Table};

pub(super) fn table(hosts: &[Listed], style: Style) -> String {
    let headings = [
        "HOST",
        "SUPPORT",
        "ORIGIN",
        "VERIFIED",
        "EXPIRES",
        "SIDE ENDPOINT",
    ];
    let mut table = Table::new(headings);
    for listed in hosts {
        let entry = &listed.entry;
        let support = (entry.support.as_str().to_owned(), colour(entry.support));
        let side = entry.side_endpoint.as_ref().map(Endpoint::to_string);
        table.row([
            listed.host.to_string().into(),
            support.into(),
            entry.origin.as_str().into(),
            entry.verified.map_or_else(String::new, date).into(),
            expiry(listed),
            side.unwrap_or_default().into(),
        ]);
    }
    let mut text = String::new();
    table.write(&mut text, style);
    text
}

fn colour(support: Support) -> Colour {
    match support {
        Support::Greets => Colour::Good,
        _ => Colour::Faint,
    }
}

fn expiry(listed: &Listed) -> Cell {
    let date = date_and_time(listed.entry.expires());
    match (listed.expired, listed.from_the_future) {
        (true, _) => (format!("{date} (expired)"), Colour::Faint).into(),
        (false, true) => (format!("{date} (made in the future)"), Colour::Doubtful).into(),
        (false, false) => date.into(),
    }
}

/// One entry with its keys.
pub(super) fn details(listed: &Listed, style: Style) -> String {
    let HostEntry {
        support,
        origin,
        recorded,
        verified,
        side_endpoint,
        keys,
        raw_key,
        ..
    } = &listed.entry;
    let mut lines = vec![
        ("support", support.to_string()),
        ("origin", origin.as_str().to_owned()),
        ("recorded", date_and_time(*recorded)),
        ("expires", date_and_time(listed.entry.expires())),
    ];
    lines.extend(verified.map(|time| ("verified", date_and_time(time))));
    lines.extend(side_endpoint.iter().map(|side| ("side", side.to_string())));
    lines.extend(keys.iter().map(|key| ("key", format!("sha256 {key}"))));
    lines.extend(
        raw_key
            .iter()
            .map(|key| ("raw key", format!("sha256 {key}"))),
    );
    let mut text = format!("{}\n", listed.host);
    for (label, value) in lines {
        let label = style.paint(Colour::Faint, format!("{label:<10}"));
        let _ = writeln!(text, "  {label}{value}");
    }
    text
}

/// One line for each host.
pub(super) fn json(hosts: &[Listed]) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Line<'a> {
        schema: u32,
        host: String,
        support: &'static str,
        origin: &'static str,
        recorded: u64,
        expires: u64,
        expired: bool,
        verified: Option<u64>,
        side_endpoint: Option<String>,
        keys: &'a [KeyPin],
        raw_key: Option<KeyPin>,
    }
    let mut text = String::new();
    for listed in hosts {
        let entry = &listed.entry;
        let line = Line {
            schema: 1,
            host: listed.host.to_string(),
            support: entry.support.as_str(),
            origin: entry.origin.as_str(),
            recorded: entry.recorded,
            expires: entry.expires(),
            expired: listed.expired,
            verified: entry.verified,
            side_endpoint: entry.side_endpoint.as_ref().map(Endpoint::to_string),
            keys: &entry.keys,
            raw_key: entry.raw_key,
        };
        text.push_str(&serde_json::to_string(&line)?);
        text.push('\n');
    }
    Ok(text)
}

fn time(unix: u64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(i64::try_from(unix).ok()?).ok()
}

fn date(unix: u64) -> String {
    time(unix).map_or_else(|| "never".to_owned(), |time| time.date().to_string())
}

fn date_and_time(unix: u64) -> String {
    let text = |time: OffsetDateTime| {
        let (hour, minute, _) = time.to_hms();
        format!("{} {hour:02}:{minute:02} UTC", time.date())
    };
    time(unix).map_or_else(|| "never".to_owned(), text)
}
