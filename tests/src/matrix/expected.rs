//! The claims of the threat model (`docs/threat-model.md`): the table of the papers, and more.

use std::str::FromStr;

use clap::ValueEnum;

use super::cell::Presence::{Absent, Active, Passive};
use super::cell::{Attackers, Cell, Outcome, Presence, Protocol, Trust};
use crate::Result;

/// A row of the table: attackers, and three groups of letters for the three kinds of trust; in each
/// group a letter for each protocol, in the order of [`Protocol::ALL`]: `p` protected, `r` refused,
/// `b` broken.
type Row = (Attackers, [&'static str; 3]);

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
        ["pprrrrrr"; 3],
    ),
    (
        apart("P/A", "the same, plus a reader", Passive, &[Active]),
        ["pprrrrrr"; 3],
    ),
    // … or, with the hellos, answer for the server if the hello binding is on offer. There is no
    // man in the middle then, so no attacker reads anything.
    (
        communicating("P-A", "the same, communicating", Passive, &[Active]),
        ["pppprprr"; 3],
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
        ONE_IN_THE_MIDDLE,
    ),
    (
        communicating("./A-A", "on both of two sides", Absent, &[Active, Active]),
        ["pprrrrrr"; 3],
    ),
    (NEXT_TO_SERVER, ALL_PATHS),
];

const ALL_WELL: [&str; 3] = ["pppppppp"; 3];
/// Every client with a path that the attacker is not on detects them; honest CAs protect TLS.
const ONE_IN_THE_MIDDLE: [&str; 3] = ["brrrrrrr", "bbrrrrrr", "bbrrrrrr"];
/// The same, but attackers who agreed on a ticket key in advance pass verification by resumption.
const APART_ON_ALL_PATHS: [&str; 3] = ["brrrrrrr", "bbrrrrbb", "bbrrrrbb"];
/// Only honest CAs protect the client.
const ALL_PATHS: [&str; 3] = ["brbrrrrr", "bbbbbbbb", "bbbbbbbb"];

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
        if !TABLE.iter().any(|(row, _)| row.name == attackers) {
            return Err(format!("no row of the table is called `{attackers}`"));
        }
        Ok(Self {
            trust: Trust::from_str(trust, false)?,
            attackers: attackers.to_owned(),
            protocol: Protocol::from_str(protocol, false)?,
            result: outcome(result)?,
        })
    }
}

/// The selected cells, by trust, attackers and protocol.
///
/// # Errors
/// When a claim names none of them.
pub(super) fn cells(
    protocols: &[Protocol],
    trusts: &[Trust],
    claims: &[Claim],
) -> Result<Vec<Cell>> {
    let mut cells = Vec::new();
    for (trust, number) in Trust::ALL.into_iter().zip(0..) {
        for (attackers, letters) in &TABLE {
            for (protocol, letter) in Protocol::ALL.into_iter().zip(
                letters[number]
                    .split("")
                    .filter(|letter| !letter.is_empty()),
            ) {
                cells.push(Cell {
                    attackers: *attackers,
                    trust,
                    protocol,
                    expected: outcome(letter)?,
                    attempts: Vec::new(),
                });
            }
        }
    }
    cells.retain(|cell| protocols.is_empty() || protocols.contains(&cell.protocol));
    cells.retain(|cell| trusts.is_empty() || trusts.contains(&cell.trust));
    for claim in claims {
        let named = (claim.trust, &*claim.attackers, claim.protocol);
        let cell = cells
            .iter_mut()
            .find(|cell| (cell.trust, cell.attackers.name, cell.protocol) == named)
            .ok_or("--expect names a cell that is not attacked")?;
        cell.expected = claim.result;
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
    fn every_cell_has_an_expectation() {
        let cells = cells(&[], &[], &[]).expect("a table");
        assert_eq!(
            cells.len(),
            TABLE.len() * Trust::ALL.len() * Protocol::ALL.len()
        );
    }

    #[test]
    fn better_keys_of_the_attackers_never_help_the_client() {
        for (attackers, [honest, rogue, stolen]) in &TABLE {
            assert_eq!(rogue, stolen, "{}", attackers.name);
            for change in honest.chars().zip(rogue.chars()) {
                let (honest, rogue) = change;
                assert!(
                    honest == rogue || change == ('r', 'b'),
                    "{}",
                    attackers.name
                );
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
