//! The claims of the threat model (`docs/threat-model.md`): the table of the papers, and more.

use std::str::FromStr;

use clap::ValueEnum;

use super::cell::Presence::{Absent, Active, Passive};
use super::cell::{Attackers, Cell, Outcome, Presence, Protocol, Trust};
use crate::Result;

/// A row of the table: attackers, and four groups of letters for the four kinds of trust; in each
/// group a letter for each protocol, in the order of [`Protocol::ALL`]: `p` protected, `r` refused,
/// `b` broken, `-` no attack, for [`ONE_SIDE`].
type Row = (Attackers, [&'static str; 4]);

/// The reason why there is no third path.
const ONE_SIDE: &str = "a connection with the exchange inside it has exactly two subflows";

/// P reads, A also changes packets, a dot is no attacker; the primary path comes first. `-`: the
/// attackers communicate in time, `/`: they do not. Protocols of one path use the primary path.
const TABLE: [Row; 16] = [
    // A passive attacker learns nothing, with any key: TLS 1.3 is forward secret.
    (apart("./.", "no attacker", Absent, &[Absent]), ALL_WELL),
    (
        apart("P/.", "reads the primary path", Passive, &[Absent]),
        ALL_WELL,
    ),
    (
        apart("./P", "reads the side path", Absent, &[Passive]),
        ALL_WELL,
    ),
    (apart("P/P", "both read", Passive, &[Passive]), ALL_WELL),
    (
        communicating("P-P", "both read, communicating", Passive, &[Passive]),
        ALL_WELL,
    ),
    // A man in the middle on the primary path. A reader on the side path cannot help them.
    (
        apart("A/.", "man in the middle", Active, &[Absent]),
        ONE_IN_THE_MIDDLE,
    ),
    (
        apart("A/P", "the same, plus a reader", Active, &[Passive]),
        ONE_IN_THE_MIDDLE,
    ),
    (
        communicating("A-P", "the same, communicating", Active, &[Passive]),
        ONE_IN_THE_MIDDLE,
    ),
    // An active attacker on the side path can deny the connection, and no more …
    (
        apart("./A", "active on the side path", Absent, &[Active]),
        ["pprrrrrrprr"; 4],
    ),
    (
        apart("P/A", "the same, plus a reader", Passive, &[Active]),
        ["pprrrrrrprr"; 4],
    ),
    // … or, with the hellos, answer for the server if the hello binding is on offer. There is no
    // man in the middle then, so no attacker reads anything. The server's ticket key does the same
    // for resumption.
    (
        communicating("P-A", "the same, communicating", Passive, &[Active]),
        ["pppprprrprr", "pppprprrprr", "pppprprrprr", "pppprpprprr"],
    ),
    (
        apart("A/A", "active on both, apart", Active, &[Active]),
        APART_ON_ALL_PATHS,
    ),
    (
        communicating("A-A", "active on both, together", Active, &[Active]),
        ALL_PATHS,
    ),
    (
        communicating("A-A/.", "on two of three paths", Active, &[Active, Absent]),
        TWO_OF_THREE_PATHS,
    ),
    (
        communicating("./A-A", "on both of two sides", Absent, &[Active, Active]),
        ["pprrrrrrpr-"; 4],
    ),
    (NEXT_TO_SERVER, ALL_PATHS),
];

const ALL_WELL: [&str; 4] = ["ppppppppppp"; 4];
/// Every client with a path that the attacker is not on detects them; honest CAs protect TLS. With
/// the server's ticket key, the attacker issues tickets that the server opens on the side path.
const ONE_IN_THE_MIDDLE: [&str; 4] = ["brrrrrrrrrr", "bbrrrrrrbrr", "bbrrrrrrbrr", "bbrrrrbrbrr"];
/// The same, with a third path.
const TWO_OF_THREE_PATHS: [&str; 4] = ["brrrrrrrrr-", "bbrrrrrrbr-", "bbrrrrrrbr-", "bbrrrrbrbr-"];
/// The same as with one, but attackers who agreed on a ticket key in advance pass verification by resumption.
const APART_ON_ALL_PATHS: [&str; 4] = ["brrrrrrrrrr", "bbrrrrbbbrr", "bbrrrrbbbrr", "bbrrrrbbbrr"];
/// Only honest CAs protect the client.
const ALL_PATHS: [&str; 4] = ["brbrrrrrrrr", "bbbbbbbbbbb", "bbbbbbbbbbb", "bbbbbbbbbbb"];

const NEXT_TO_SERVER: Attackers = Attackers {
    next_to_server: true,
    ..communicating("A=A", "next to the server", Active, &[Active])
};

const fn apart(
    name: &'static str,
    says: &'static str,
    primary: Presence,
    sides: &'static [Presence],
) -> Attackers {
    Attackers {
        name,
        says,
        primary,
        sides,
        communicate: false,
        next_to_server: false,
    }
}

const fn communicating(
    name: &'static str,
    says: &'static str,
    primary: Presence,
    sides: &'static [Presence],
) -> Attackers {
    Attackers {
        communicate: true,
        ..apart(name, says, primary, sides)
    }
}

/// Another expected result for one cell.
#[derive(Clone, Debug)]
pub struct Claim {
    trust: Trust,
    attackers: String,
    protocol: Protocol,
    result: Outcome,
}

impl FromStr for Claim {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<_> = text.split_whitespace().collect();
        let [trust, attackers, protocol, result] = words[..] else {
            return Err("expected `TRUST ATTACKERS PROTOCOL RESULT`, four words".to_owned());
        };
        Ok(Self {
            attackers: row_name(attackers)?,
            trust: Trust::from_str(trust, false)?,
            protocol: Protocol::from_str(protocol, false)?,
            result: outcome(result)?,
        })
    }
}

/// The name of a row.
pub(super) fn row_name(text: &str) -> Result<String, String> {
    match TABLE.iter().any(|(row, _)| row.name == text) {
        true => Ok(text.to_owned()),
        false => Err(format!("no row of the table is called `{text}`")),
    }
}

/// The cells to attack; an empty list selects everything.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Selection<'a> {
    pub(super) protocols: &'a [Protocol],
    pub(super) trusts: &'a [Trust],
    /// Names of rows.
    pub(super) attackers: &'a [String],
}

impl Selection<'_> {
    /// The cells by trust, attackers and protocol. `obstacle`: the reason why there are no network
    /// namespaces.
    ///
    /// # Errors
    /// When a claim names none of them, or a skipped one.
    pub(super) fn cells(&self, claims: &[Claim], obstacle: Option<&str>) -> Result<Vec<Cell>> {
        let mut cells = all_cells(obstacle)?;
        cells.retain(|cell| {
            selects(self.protocols, &cell.protocol)
                && selects(self.trusts, &cell.trust)
                && selects(self.attackers, &cell.attackers.name.to_owned())
        });
        for claim in claims {
            let named = (claim.trust, &*claim.attackers, claim.protocol);
            let cell = cells
                .iter_mut()
                .filter(|cell| cell.skipped().is_none())
                .find(|cell| (cell.trust, cell.attackers.name, cell.protocol) == named)
                .ok_or("--expect names a cell that is not attacked")?;
            cell.expected = Ok(claim.result);
        }
        Ok(cells)
    }
}

fn selects<T: PartialEq>(selected: &[T], one: &T) -> bool {
    selected.is_empty() || selected.contains(one)
}

fn all_cells(obstacle: Option<&str>) -> Result<Vec<Cell>> {
    let mut cells = Vec::new();
    for (trust, number) in Trust::ALL.into_iter().zip(0..) {
        for (attackers, letters) in &TABLE {
            for (protocol, letter) in Protocol::ALL.into_iter().zip(letters[number].chars()) {
                let obstacle = obstacle.filter(|_| protocol.uses_namespaces());
                let expected = match (letter, obstacle) {
                    ('-', _) => Err(ONE_SIDE.to_owned()),
                    (_, Some(obstacle)) => Err(obstacle.to_owned()),
                    (letter, None) => Ok(outcome(letter.encode_utf8(&mut [0; 4]))?),
                };
                cells.push(Cell {
                    attackers: *attackers,
                    trust,
                    protocol,
                    expected,
                    attempts: Vec::new(),
                });
            }
        }
    }
    Ok(cells)
}

fn outcome(word: &str) -> Result<Outcome, String> {
    match word {
        "p" | "protected" => Ok(Outcome::Protected),
        "r" | "refused" => Ok(Outcome::Refused),
        "b" | "broken" => Ok(Outcome::Broken),
        _ => Err(format!(
            "expected `protected`, `refused` or `broken`, got `{word}`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_has_an_expectation_or_a_reason_for_none() -> Result {
        let cells = Selection::default().cells(&[], None)?;
        let all = TABLE.len() * Trust::ALL.len() * Protocol::ALL.len();
        assert_eq!(cells.len(), all);
        for cell in cells {
            let is_third_path = cell.protocol.uses_namespaces() && cell.attackers.sides.len() > 1;
            let expected = is_third_path.then_some(ONE_SIDE);
            assert_eq!(cell.skipped(), expected, "{}", cell.attackers.name);
        }
        Ok(())
    }

    #[test]
    fn without_namespaces_the_column_that_needs_them_is_skipped_and_no_claim_is_made_of_it()
    -> Result {
        let selection = Selection::default();
        for cell in selection.cells(&[], Some("no root"))? {
            let is_skipped = cell.skipped().is_some();
            assert_eq!(is_skipped, cell.protocol.uses_namespaces());
        }
        for (claim, obstacle) in [
            ("rogue-ca A-A mtls-mptcp refused", Some("no root")),
            ("rogue-ca A-A/. mtls-mptcp refused", None),
        ] {
            let claims = [claim.parse()?];
            assert!(selection.cells(&claims, obstacle).is_err(), "{claim}");
        }
        let claims = ["rogue-ca A-A mtls-mptcp refused".parse()?];
        assert!(selection.cells(&claims, None).is_ok());
        Ok(())
    }

    #[test]
    fn cells_are_selected_by_each_of_their_names() -> Result {
        let attackers = ["A/.".to_owned(), row_name("./A")?];
        let selection = Selection {
            protocols: &[Protocol::Tls],
            trusts: &[Trust::RogueCa, Trust::HonestCas],
            attackers: &attackers,
        };
        let cells = selection.cells(&[], None)?;
        let names = cells.iter().map(|cell| (cell.trust, cell.attackers.name));
        let names: Vec<_> = names.collect();
        assert_eq!(
            names,
            [
                (Trust::HonestCas, "A/."),
                (Trust::HonestCas, "./A"),
                (Trust::RogueCa, "A/."),
                (Trust::RogueCa, "./A"),
            ]
        );
        assert!(row_name("B/.").is_err());
        Ok(())
    }

    #[test]
    fn better_keys_of_the_attackers_never_help_the_client() {
        for (attackers, [honest, rogue, stolen, ticket_key]) in &TABLE {
            assert_eq!(rogue, stolen, "{}", attackers.name);
            let changes = honest.chars().zip(rogue.chars());
            let changes = changes.chain(rogue.chars().zip(ticket_key.chars()));
            for change in changes.filter(|(worse, better)| worse != better) {
                // Without an attacker in the middle, an answer for the server breaks nothing.
                let harmless = change == ('r', 'p') && attackers.primary != Active;
                assert!(change == ('r', 'b') || harmless, "{}", attackers.name);
            }
        }
    }

    #[test]
    fn a_claim_names_a_cell() {
        assert!(
            "rogue-ca A-A mtls-exporter refused"
                .parse::<Claim>()
                .is_ok()
        );
        for wrong in [
            "",
            "A-A tls broken",
            "rogue-ca B-A tls broken",
            "rogue-ca A-A ssl broken",
            "rogue-ca A-A tls maybe",
        ] {
            assert!(wrong.parse::<Claim>().is_err(), "{wrong}");
        }
    }
}
