//! The meaning of a verdict in words.

use super::document::Tone;
use crate::proto::binding::Binding;
use crate::verdict::{Outcome, Reason};

/// The meaning of a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) tone: Tone,
    pub(super) title: &'static str,
    /// The finding, in one sentence.
    pub(super) lead: String,
    /// The consequences.
    pub(super) more: &'static str,
    /// The state of the side path if none has confirmed.
    pub(super) no_side: &'static str,
}

/// The knowledge of a server, whatever the verdict.
pub(super) const KNOWN: [&str; 2] = [
    "The TLS handshake of this connection, and its parameters.",
    "Whether a side connection sent the value that belongs to this handshake and to no other.",
];

/// The limits of that knowledge.
pub(super) const UNKNOWN: [&str; 3] = [
    "The client's identity. To a server, a man in the middle is a client like any other: they may \
     have verified their own connection and read yours.",
    "Whether the paths are independent. Only the client knows its paths.",
    "Whether you see this page as it was sent. A man in the middle can change it.",
];

/// The verdict that counts.
pub(super) const TRUST: &str = "So this page is for information. The verdict that protects you is \
     the one that your own client reaches before it sends a request.";

/// The behaviour of clients under attack.
pub(super) const INTERCEPTION: &str = "A client that verifies would not show this page. It closes \
     the connection before it sends a request, reports the reason, and can save the certificates \
     that it received: mtls-client exits with status 110. A browser does not verify, so it would \
     show a page like this one, with the usual lock beside its address.";

impl Words {
    pub(super) fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Verified(verified) if verified.inheritance().is_some() => Self::inherited(),
            Outcome::Verified(verified) => {
                // A server has a binding of every proof.
                let binding = verified.binding().unwrap_or(Binding::Hello);
                Self::verified(verified.sides().len(), binding)
            }
            Outcome::Unverified(reason) | Outcome::Pinned(reason) => Self::unverified(*reason),
            Outcome::Intercepted(_) => Self::intercepted(),
        }
    }

    pub(super) fn verified(sides: usize, binding: Binding) -> Self {
        let connections = match sides {
            1 => "a second connection".to_owned(),
            sides => format!("{sides} other connections"),
        };
        Self {
            tone: Tone::Good,
            title: "Verified",
            lead: format!(
                "The client proved over {connections} that it took part in this TLS handshake."
            ),
            more: match binding {
                Binding::Exporter => {
                    "The compared value depends on the whole handshake: keys, certificates and \
                     all. A man in the middle has two handshakes, one with each end, and cannot \
                     send the correct value for both."
                }
                Binding::Hello => {
                    "The compared value depends on the two hello messages with their key shares. \
                     A man in the middle must replace them to learn the keys, and then the values \
                     differ."
                }
            },
            no_side: "",
        }
    }

    fn inherited() -> Self {
        Self {
            tone: Tone::Good,
            title: "Verified earlier",
            lead:
                "This connection resumes the session of an earlier one, in which the client took \
                   part as it proved over another connection."
                    .to_owned(),
            more: "That is weaker than a verification of this very handshake: an attacker who holds \
                   the key of the server's session tickets, or has stolen the client's ticket, \
                   could resume the session too.",
            no_side: "None was needed",
        }
    }

    fn unverified(reason: Reason) -> Self {
        let (lead, more, no_side) = match reason {
            Reason::NoSideConnection => (
                "No side connection has opened a verification of this connection.",
                "That is normal for browsers and other programs that use plain TLS. The \
                 connection is as safe as the certificate authorities that the client trusts: a \
                 man in the middle with a certificate from one of them would not be detected.",
                "No side connection",
            ),
            Reason::NotConfirmed => (
                "A side connection has opened a verification, and has not confirmed it.",
                "The server waited for the confirmation until its deadline. The side path is very \
                 slow or blocked, or the side connection belongs to a client that did not take \
                 part in the handshake. A confirmation may still arrive: reload the page.",
                "Opened, not confirmed",
            ),
            Reason::NotRegistered => (
                "This server could not register the handshake for verification.",
                "Its registry was full or unavailable, or it contained a handshake with the same \
                 client random, of which one is a copy. The server's log has the reason.",
                "Not possible",
            ),
            Reason::NotTls13 => (
                "This connection does not use TLS 1.3, and older versions cannot be verified.",
                "This server supports TLS 1.3. If your client supports it too, an attacker may \
                 have prevented it.",
                "Not possible before TLS 1.3",
            ),
            _ => (
                "This connection could not be verified.",
                "The reason is below.",
                "None",
            ),
        };
        Self {
            tone: Tone::Open,
            title: "Not verified",
            lead: lead.to_owned(),
            more,
            no_side,
        }
    }

    /// A server detects one kind: a wrong value.
    fn intercepted() -> Self {
        Self {
            tone: Tone::Bad,
            title: "One of the paths is attacked",
            lead: "A side connection sent a value that belongs to another TLS handshake."
                .to_owned(),
            more: "An attacker is on one of the paths between the client and this server, or has \
                   only sent a wrong value over the side path. This server cannot tell which. \
                   Send no confidential data over this connection.",
            no_side: "Sent a wrong value",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::client::InterceptionReason;

    #[test]
    fn a_verdict_has_the_tone_that_it_deserves() {
        assert_eq!(Words::verified(1, Binding::Exporter).tone, Tone::Good);
        for reason in [
            Reason::NoSideConnection,
            Reason::NotConfirmed,
            Reason::NotRegistered,
            Reason::NotTls13,
            Reason::NotIndependent,
        ] {
            assert_eq!(Words::unverified(reason).tone, Tone::Open, "{reason:?}");
        }
        let attacked = Words::of(&Outcome::Intercepted(InterceptionReason::WrongValue));
        assert_eq!(attacked.tone, Tone::Bad);
    }

    #[test]
    fn one_side_is_a_second_connection_and_two_are_two_others() {
        let one = Words::verified(1, Binding::Exporter).lead;
        assert!(one.contains("a second connection"), "{one}");
        let two = Words::verified(2, Binding::Hello).lead;
        assert!(two.contains("2 other connections"), "{two}");
    }
}
