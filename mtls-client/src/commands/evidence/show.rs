//! `evidence show`: a case in plain words.

use std::fmt::Write;

use mtls_core::proto::client::InterceptionReason;
use mtls_core::{EvidenceBundle, EvidenceReason, SavedHandshake};
use serde_json::Value;

use crate::output::text::{capitalized, printable, wrapped};
use crate::output::time::utc;

const WIDTH: usize = 80;

/// Explains the case.
pub(super) fn text(bundle: &EvidenceBundle) -> String {
    let mut text = String::new();
    let target = printable(&bundle.target);
    let (kind, meaning) = match bundle.finding() {
        Some(EvidenceReason::Interception(reason)) => ("INTERCEPTION", interception(reason)),
        Some(EvidenceReason::Resumption(failure)) => (
            "SUSPICION, which is no proof of an interception",
            format!(
                "{}. A man in the middle is one cause. A server whose machines share no session \
                 ticket key is another.",
                capitalized(&failure.to_string())
            ),
        ),
        _ => ("Unknown finding", printable(&bundle.reason)),
    };
    let _ = writeln!(text, "{kind}: {target}\n{}\n", utc(bundle.unix_time));
    paragraph(&mut text, &what_happened(bundle));
    paragraph(&mut text, &meaning);
    paths(&mut text, &bundle.connection);
    for handshake in bundle.handshakes() {
        presented(&mut text, &handshake);
    }
    paragraph(&mut text, &conclusion(bundle));
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn what_happened(bundle: &EvidenceBundle) -> String {
    let target = printable(&bundle.target);
    let method = match bundle.connection["method"].as_str() {
        Some("resumption") => {
            "Over the side path, another way through the network, it then tried to resume that \
             session, which only a server with the session ticket key of the first one can do."
        }
        _ => {
            "Over the side path, another way through the network, it asked the server whether that \
             very handshake was its own."
        }
    };
    format!(
        "A program opened a TLS connection to {target} over the primary path. {method} The result \
         is `{}`.",
        printable(&bundle.reason)
    )
}

fn interception(reason: InterceptionReason) -> String {
    format!(
        "{}. The other end of the TLS connection was not the server that answered on the side \
         path: an attacker was on one of the two paths, or the server's machines do not share their \
         registry.",
        capitalized(&reason.to_string())
    )
}

/// The paths of the verdict. Every value is shown as the file has it.
fn paths(text: &mut String, connection: &Value) {
    for path in connection["paths"].as_array().into_iter().flatten() {
        let value = |key: &str| printable(path[key].as_str().unwrap_or("unknown"));
        let _ = writeln!(
            text,
            "{} path: {}, from {} to {}",
            capitalized(&value("role")),
            value("via"),
            value("local"),
            value("peer")
        );
    }
    text.push('\n');
}

fn presented(text: &mut String, handshake: &SavedHandshake<'_>) {
    let _ = writeln!(text, "Presented in the {} handshake:", handshake.path);
    for certificate in handshake.chain {
        let _ = writeln!(text, "  {}", printable(&certificate.to_string()));
    }
    let _ = match handshake.signature {
        Some(signature) => writeln!(text, "  signed with its key: {signature}\n"),
        None => writeln!(text, "  no signature was kept\n"),
    };
}

fn conclusion(bundle: &EvidenceBundle) -> String {
    let signed = bundle.handshakes().any(|one| one.signature.is_some());
    let signature = match signed {
        true => {
            "What a third party can conclude: the holder of each certificate's key signed a TLS 1.3 \
             handshake with that transcript hash. The reporter cannot forge that without the key."
        }
        false => {
            "What a third party can conclude: nothing by signatures, since the program saw none. A \
             relay has no keys."
        }
    };
    format!(
        "{signature} Target, paths, addresses, times and the result of the side path are the \
         reporter's statement. The digest of the file shows damage, but not who wrote it."
    )
}

fn paragraph(text: &mut String, prose: &str) {
    for line in wrapped(prose, WIDTH) {
        let _ = writeln!(text, "{line}");
    }
    text.push('\n');
}
