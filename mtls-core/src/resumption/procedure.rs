//! The decision procedure of one side path, without I/O (`docs/protocol.md`, section 11.3).

use crate::verdict::resumption::{ResumptionDirection, ResumptionFailure};

/// How many times a session of the side path is tried on each path.
const MAX_ROUNDS: u8 = 3;
/// How many connections one verification makes at most, the primary connection included.
pub(super) const MAX_CONNECTIONS: u8 = 8;

/// Decides whether the primary path and one side path lead to the same ticket domain.
///
/// The driver calls [`next`](Self::next), makes the attempt, reports its result by
/// [`handle`](Self::handle), and so on until there is an outcome. It calls
/// [`handle_deadline`](Self::handle_deadline) when the time is up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Procedure {
    setup: Setup,
    /// Whether the side path showed the key of the primary path; `None` before its first full
    /// handshake.
    same_key: Option<bool>,
    /// Sessions of the side path that have not been offered yet.
    tickets: u8,
    /// A full handshake over the side path brought no ticket.
    no_tickets: bool,
    connections: u8,
    rounds: u8,
    reversed_in_round: bool,
    controls: Controls,
    stage: Stage,
}

/// Facts that are known before the first attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Setup {
    /// The primary connection brought a ticket.
    pub(super) ticket: bool,
    /// The primary path can be dialled again.
    pub(super) can_reverse: bool,
    /// The client has a certificate: the handshake of [`Attempt::Forward`] is not completed
    /// unless it resumes, so it brings no ticket.
    pub(super) withholds_certificate: bool,
    /// The side path was connected before, for the side protocol.
    pub(super) was_connected: bool,
}

/// How often the side path resumed its own sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Controls {
    tried: u8,
    resumed: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    Forward,
    /// Sessions of the side path are tried.
    Rounds,
    /// The outcome is known; the side path's certificates are wanted as evidence.
    Evidence(ResumptionOutcome),
    Ended(ResumptionOutcome),
}

/// The next connection to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Attempt {
    /// Offers the primary connection's ticket over the side path.
    Forward,
    /// Makes a full handshake over the side path, for its key and its tickets.
    Full,
    /// Offers a ticket of the side path on a new connection over the primary path.
    Reversed,
    /// Offers a ticket of the side path on a new connection over the side path.
    Control,
}

/// The result of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum AttemptResult {
    /// The ticket was resumed, with TLS 1.3, a handshake that is complete and, but for a control, an
    /// equal application protocol.
    Resumed {
        /// How many tickets the connection brought.
        tickets: u8,
    },
    /// A full handshake.
    Full {
        /// Whether the server showed the key of the primary connection.
        same_key: bool,
        /// How many tickets the connection brought.
        tickets: u8,
    },
    /// The alert `illegal_parameter` or `decrypt_error` in answer to a ticket.
    Disputed,
    /// The server closed the connection in answer to a ticket, or the handshake was given up
    /// because it would have shown the client's certificate.
    NotResumed,
    /// TLS failed in another way.
    Failed,
    /// No connection.
    Unreachable,
}

/// The result of the procedure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ResumptionOutcome {
    Verified(ResumptionDirection),
    Failed(ResumptionFailure),
}

/// The next step of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    Attempt(Attempt),
    Done(ResumptionOutcome),
}

impl Procedure {
    pub(super) fn new(setup: Setup) -> Self {
        Self {
            setup,
            same_key: None,
            tickets: 0,
            no_tickets: false,
            connections: 1,
            rounds: 0,
            reversed_in_round: false,
            controls: Controls::default(),
            stage: match setup.ticket {
                true => Stage::Forward,
                false => Stage::Rounds,
            },
        }
    }

    /// Whether the side path showed the key of the primary path in a full handshake.
    pub(super) fn same_key(&self) -> Option<bool> {
        self.same_key
    }

    /// The next attempt, or the outcome. Ask for it once for each result.
    pub(super) fn next(&mut self) -> Step {
        let attempt = match self.stage {
            Stage::Ended(outcome) => return Step::Done(outcome),
            Stage::Forward => Attempt::Forward,
            Stage::Evidence(outcome) if self.connections_left() == 0 => return Step::Done(outcome),
            Stage::Evidence(_) => Attempt::Full,
            Stage::Rounds => match self.next_in_rounds() {
                Some(attempt) => attempt,
                None => return Step::Done(ResumptionOutcome::Failed(self.conclude(true))),
            },
        };
        self.connections += 1;
        Step::Attempt(attempt)
    }

    /// `None` when nothing more can be learnt.
    fn next_in_rounds(&mut self) -> Option<Attempt> {
        if self.same_key.is_none() {
            return Some(Attempt::Full);
        }
        if self.rounds == MAX_ROUNDS || self.connections_left() == 0 {
            return None;
        }
        if self.tickets == 0 {
            // One connection for a ticket, and one to offer it.
            let worth_it = !self.no_tickets && self.connections_left() >= 2;
            return worth_it.then_some(Attempt::Full);
        }
        self.tickets -= 1;
        if self.setup.can_reverse && !self.reversed_in_round {
            self.reversed_in_round = true;
            return Some(Attempt::Reversed);
        }
        self.reversed_in_round = false;
        self.rounds += 1;
        Some(Attempt::Control)
    }

    /// Takes the result of the attempt that [`next`](Self::next) returned.
    pub(super) fn handle(&mut self, attempt: Attempt, result: AttemptResult) {
        if let Stage::Evidence(outcome) = self.stage {
            if let AttemptResult::Full { same_key, .. } = result {
                self.same_key.get_or_insert(same_key);
            }
            self.stage = Stage::Ended(outcome);
            return;
        }
        if result == AttemptResult::Disputed {
            let disputed = ResumptionOutcome::Failed(ResumptionFailure::TicketDisputed);
            self.stage = match self.same_key {
                None => Stage::Evidence(disputed),
                Some(_) => Stage::Ended(disputed),
            };
            return;
        }
        match attempt {
            Attempt::Forward => self.handle_forward(result),
            Attempt::Full => self.handle_full(result),
            Attempt::Reversed => self.handle_reversed(result),
            Attempt::Control => self.handle_control(result),
        }
    }

    /// The deadline has passed during an attempt.
    pub(super) fn handle_deadline(&mut self) {
        let outcome = match self.stage {
            Stage::Evidence(outcome) | Stage::Ended(outcome) => outcome,
            Stage::Forward | Stage::Rounds => ResumptionOutcome::Failed(self.conclude(false)),
        };
        self.stage = Stage::Ended(outcome);
    }

    fn handle_forward(&mut self, result: AttemptResult) {
        self.stage = Stage::Rounds;
        match result {
            AttemptResult::Resumed { .. } => self.verified(ResumptionDirection::Forward),
            AttemptResult::Full {
                tickets: 0,
                same_key,
            } if self.setup.withholds_certificate => {
                self.same_key = Some(same_key);
            }
            AttemptResult::NotResumed => {}
            result => self.handle_full(result),
        }
    }

    fn handle_full(&mut self, result: AttemptResult) {
        match result {
            AttemptResult::Full { same_key, tickets } => {
                self.same_key.get_or_insert(same_key);
                self.tickets = self.tickets.saturating_add(tickets);
                self.no_tickets = tickets == 0;
            }
            failure => self.side_failed(failure),
        }
    }

    /// A failure here, other than a dispute, decides nothing: an attacker on the primary path can
    /// cause it at will.
    fn handle_reversed(&mut self, result: AttemptResult) {
        if let AttemptResult::Resumed { .. } = result {
            self.verified(ResumptionDirection::Reversed);
        }
    }

    fn handle_control(&mut self, result: AttemptResult) {
        match result {
            AttemptResult::Resumed { tickets } => {
                self.controls.resumed += 1;
                self.tickets = self.tickets.saturating_add(tickets);
            }
            AttemptResult::Full { tickets, .. } => {
                self.tickets = self.tickets.saturating_add(tickets);
            }
            AttemptResult::NotResumed => {}
            failure => return self.side_failed(failure),
        }
        self.controls.tried += 1;
    }

    fn side_failed(&mut self, result: AttemptResult) {
        // The fallback is for a side path that cannot be dialled at all. An attacker on the primary
        // path can delay its handshake until the deadline leaves no time to dial the side path again.
        let never_connected = self.connections == 2 && !self.setup.was_connected;
        self.failed(match result {
            AttemptResult::Unreachable if never_connected => ResumptionFailure::SideUnreachable,
            _ => ResumptionFailure::SideFailed,
        });
    }

    /// The table of `docs/protocol.md`, section 11.4, for a procedure that ran to its end or was
    /// cut short by the deadline.
    fn conclude(&self, complete: bool) -> ResumptionFailure {
        match (self.controls, self.same_key) {
            (
                Controls {
                    tried: 1..,
                    resumed,
                },
                _,
            ) if resumed == self.controls.tried => ResumptionFailure::Split,
            (Controls { resumed: 1.., .. }, _) => ResumptionFailure::Inconclusive,
            (_, None) => ResumptionFailure::SideFailed,
            (_, Some(false)) => ResumptionFailure::OtherKey,
            (_, Some(true)) if complete => ResumptionFailure::Unsupported,
            (_, Some(true)) => ResumptionFailure::Inconclusive,
        }
    }

    fn connections_left(&self) -> u8 {
        MAX_CONNECTIONS.saturating_sub(self.connections)
    }

    fn verified(&mut self, direction: ResumptionDirection) {
        self.stage = Stage::Ended(ResumptionOutcome::Verified(direction));
    }

    fn failed(&mut self, failure: ResumptionFailure) {
        self.stage = Stage::Ended(ResumptionOutcome::Failed(failure));
    }
}

#[cfg(any(test, feature = "__fuzzing"))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;
