//! Scenarios: the attackers, the number of their moves, and the mutation of the protocol under test.

use mtls_core::proto::binding::{Binding, Bindings};

use super::mutant::Mutant;
use super::registry::RegistryLimits;
use super::symbols::Attacker;

/// The bounds of one exploration.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name in reports.
    pub name: &'static str,
    /// The capability of the attacker on the primary path.
    pub primary: Access,
    /// The capability of the attacker on each side path.
    pub sides: Vec<Access>,
    /// Whether the two share everything that they know, in time.
    pub talk: bool,
    /// Does the client accept certificates that an attacker can get?
    pub rogue_ca: bool,
    /// The bindings that both ends offer.
    pub bindings: Bindings,
    /// Does the first side connection come from the client's pool?
    pub pooled: bool,
    /// Side connections of each attacker's own, beside those that it sits on.
    pub connections: [usize; 2],
    /// How often each attacker may move.
    pub moves: [Moves; 2],
    /// How often the client's ClientHello may reach the server: more than once, it is replayed.
    pub client_hellos: u8,
    /// May the server's primary connections end, so that tombstones stay?
    pub primaries_end: bool,
    /// May a tombstone's time be over before the client has ended? Its default is three times
    /// the client's deadline; an operator may set another.
    pub early_expiry: bool,
    /// The bounds of the registry.
    pub registry: RegistryLimits,
    /// The deliberate mistake.
    pub mutant: Option<Mutant>,
}

/// The capability of an attacker on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    None,
    /// Read.
    Passive,
    /// Everything: the path is its own.
    Active,
}

/// How often an attacker may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Moves {
    /// Frames to the server that change anything there.
    pub to_server: u8,
    /// Frames to the client that change anything there.
    pub to_client: u8,
    /// TLS handshakes of its own with the server.
    pub hellos: u8,
}

impl Moves {
    /// No move at all.
    pub const NONE: Self = Self {
        to_server: 0,
        to_client: 0,
        hellos: 0,
    };
}

impl Scenario {
    /// No attacker: one side path, both bindings.
    pub fn honest() -> Self {
        Self {
            name: "no attacker",
            primary: Access::None,
            sides: vec![Access::None],
            talk: false,
            rogue_ca: true,
            bindings: Bindings::ALL,
            pooled: false,
            connections: [0, 0],
            moves: [Moves::NONE; 2],
            client_hellos: 1,
            primaries_end: true,
            early_expiry: false,
            registry: RegistryLimits {
                handshakes: 3,
                waits: 2,
                waits_per_peer: 1,
            },
            mutant: None,
        }
    }

    /// An attacker on the primary path: a rogue certificate, a handshake and a side connection
    /// of its own.
    #[must_use]
    pub fn with_primary_attacker(mut self) -> Self {
        self.name = "active on the primary path";
        self.primary = Access::Active;
        self.connections[0] = 1;
        self.moves[0] = Moves {
            to_server: 3,
            to_client: 0,
            hellos: 1,
        };
        self.primaries_end = false;
        self
    }

    /// An attacker on the first side path.
    #[must_use]
    pub fn with_side_attacker(mut self) -> Self {
        self.name = "active on the side path";
        self.sides[0] = Access::Active;
        self.moves[1] = Moves {
            to_server: 3,
            to_client: 2,
            hellos: 1,
        };
        self
    }

    /// Attackers on both, with fewer moves each; they talk or do not.
    #[must_use]
    pub fn with_both_attackers(self, talk: bool) -> Self {
        let mut both = self.with_primary_attacker().with_side_attacker();
        both.name = match talk {
            true => "active on both paths, in touch",
            false => "active on both paths, apart",
        };
        both.talk = talk;
        both.connections = [0, 0];
        both.moves[0].to_server = 0;
        both.moves[1].hellos = 0;
        if talk {
            both.moves[1].to_server = 2;
        }
        both
    }

    /// An attacker on the primary path who makes associations change hands: registrations end,
    /// their tombstones expire at any time, and others take their place.
    #[must_use]
    pub fn with_changing_registrations(self) -> Self {
        let mut changing = self
            .with_primary_attacker()
            .named("active on the primary path, registrations change hands");
        changing.moves[0].to_server = 2;
        changing.primaries_end = true;
        changing.early_expiry = true;
        changing
    }

    /// No attacker on any path, but one elsewhere that occupies lookup slots and evicts unconfirmed peers.
    #[must_use]
    pub fn with_waits_flooded(mut self) -> Self {
        self.name = "waiting places flooded from elsewhere";
        self.connections[0] = 2;
        self.moves[0].to_server = 3;
        self.registry.waits = 1;
        self
    }

    /// No attacker on any path, but one elsewhere that can occupy the registry's only slot.
    #[must_use]
    pub fn with_registry_flooded(mut self) -> Self {
        self.name = "registry flooded from elsewhere";
        self.connections[0] = 1;
        self.moves[0].to_server = 2;
        self.moves[0].hellos = 1;
        self.registry.handshakes = 1;
        self
    }

    /// Another side path, without an attacker.
    #[must_use]
    pub fn with_another_side(mut self) -> Self {
        self.sides.push(Access::None);
        self
    }

    /// The same with another name.
    #[must_use]
    pub fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// The same with one binding only, at both ends.
    #[must_use]
    pub fn with_binding(mut self, binding: Binding) -> Self {
        self.bindings = binding.into();
        self
    }

    /// The same with a mutation.
    #[must_use]
    pub fn mutated(mut self, mutant: Mutant) -> Self {
        self.mutant = Some(mutant);
        self
    }

    /// Can the attackers' own handshakes take every place in the registry?
    pub fn may_fill_the_registry(&self) -> bool {
        let own = self.moves.iter().map(|moves| usize::from(moves.hellos));
        own.sum::<usize>() >= self.registry.handshakes
    }

    /// Does anybody sit actively on any path?
    pub fn is_attacked(&self) -> bool {
        self.primary == Access::Active || self.attacks_side()
    }

    /// Does anybody sit actively on a side path?
    pub fn attacks_side(&self) -> bool {
        self.sides.contains(&Access::Active)
    }

    /// Is every path attacked actively, by attackers who talk? Nothing helps then.
    pub fn is_hopeless(&self) -> bool {
        self.talk
            && self.rogue_ca
            && self.primary == Access::Active
            && self.sides.iter().all(|access| *access == Access::Active)
    }

    /// Can this attacker read what passes on the primary path?
    pub fn reads_primary(&self, attacker: Attacker) -> bool {
        self.primary != Access::None && (attacker == Attacker::Primary || self.talk)
    }

    /// Can this attacker read what passes on this side path?
    pub fn reads_side(&self, attacker: Attacker, side: usize) -> bool {
        self.sides[side] != Access::None && (attacker == Attacker::Side || self.talk)
    }
}
