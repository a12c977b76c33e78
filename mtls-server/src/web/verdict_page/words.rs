//! What a verdict means, in plain words.

use mtls_core::proto::binding::Binding;
use mtls_core::{Outcome, Reason};

use crate::web::html::Tone;

/// What a verdict means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) tone: Tone,
    pub(super) title: &'static str,
    /// One sentence that says what was found.
    pub(super) lead: String,
    /// What follows from it.
    pub(super) more: &'static str,
    /// The state of the side path where none has confirmed.
    pub(super) no_side: &'static str,
}

/// What a server learns, whatever the verdict.
pub(super) const KNOWN: [&str; 2] = [
    "Which TLS handshake this connection had, and what it agreed on.",
    "Whether a side connection brought the value that belongs to that handshake and to no other.",
];

/// What no server learns this way.
pub(super) const UNKNOWN: [&str; 3] = [
    "Who its client is. To a server, a man in the middle is a client like any other: he may have \
     verified his own connection and read yours.",
    "Whether the paths are independent. Only the client knows how it connects.",
    "Whether you read this page as it was sent. Who sits in the middle can write into it what he \
     likes.",
];

/// Whom to trust instead.
pub(super) const TRUST: &str = "So this page is for information. The verdict that protects you is \
     the one that your own client reaches, before it sends anything.";

/// What the real thing looks like.
pub(super) const INTERCEPTION: &str = "A client that verifies would not show this page. It refuses \
     the connection before it asks for anything, names the reason, and can save the \
     certificates that it was shown: mtls-client ends with exit status 110. A browser that does \
     not verify would show a page like this one, and the lock beside its address.";

impl Words {
    pub(super) fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Verified(verified) => {
                // A server has a binding of every proof.
                let binding = verified.binding().unwrap_or(Binding::Hello);
                Self::verified(verified.sides().len(), binding)
            }
            Outcome::Unverified(reason) => Self::unverified(*reason),
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
                "The client showed over {connections} that it took part in this very TLS handshake."
            ),
            more: match binding {
                Binding::Exporter => {
                    "What was compared depends on the whole handshake: keys, certificate and all. \
                     A man in the middle has two handshakes, one with each end, and cannot show \
                     the right value for both."
                }
                Binding::Hello => {
                    "What was compared is the two hello messages with their key shares. A man in \
                     the middle must replace those to learn the keys, and then they differ."
                }
            },
            no_side: "",
        }
    }

    fn unverified(reason: Reason) -> Self {
        let (lead, more, no_side) = match reason {
            Reason::NoSideConnection => (
                "Nobody has asked this server to verify the connection.",
                "That is normal for a browser, and for every other program that speaks plain TLS. \
                 The connection is as safe as the certificate authorities that the client trusts: \
                 one of them gone bad is enough for a man in the middle, and nothing here would \
                 show him.",
                "No side connection",
            ),
            Reason::NotConfirmed => (
                "A side connection has asked for this handshake, and has not confirmed it.",
                "The server waited for the confirmation until its deadline. The side path is very \
                 slow or blocked, or the side connection belongs to a client that did not take part \
                 in the handshake. A confirmation may still arrive: reload the page.",
                "Asked, not confirmed",
            ),
            Reason::NotRegistered => (
                "This server could not hold the handshake ready for verification.",
                "Its registry was full or did not answer, or there was a handshake with the same \
                 client random already: then somebody copied it. The server's log says which.",
                "Not possible",
            ),
            Reason::NotTls13 => (
                "This connection does not use TLS 1.3, and older versions cannot be verified.",
                "If your client speaks TLS 1.3, find out who kept it from doing so: this server \
                 speaks it too.",
                "Not possible before TLS 1.3",
            ),
            _ => (
                "This connection could not be verified.",
                "The reason stands below.",
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

    /// A server sees one kind: a wrong value.
    fn intercepted() -> Self {
        Self {
            tone: Tone::Bad,
            title: "One of the paths is attacked",
            lead: "A side connection sent a value that belongs to another TLS handshake."
                .to_owned(),
            more: "Somebody is in one of the paths between the client and this server, or only \
                   played on the side path. Which of them cannot be told from here. Send nothing \
                   that matters over this connection.",
            no_side: "Sent a wrong value",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mtls_core::proto::client::InterceptionReason;

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
