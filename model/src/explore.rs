//! The model as the checker explores it.

use stateright::{Model, Property};

use super::client::{Client, LinkEvent};
use super::forgery::Forger;
use super::properties;
use super::server::Server;
use super::state::{Link, State};
use super::symbols::Attacker;
use super::world::{Action, World};

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let scenario = &self.scenario;
        let sides = scenario.sides.len();
        let (client, sent) =
            Client::new(scenario.bindings, sides, scenario.pooled, scenario.mutant);
        let server = Server::new(
            scenario.bindings,
            self.connections(),
            scenario.registry,
            scenario.mutant,
        );
        let mut state = State {
            client,
            server,
            deadline_passed: false,
            links: vec![Link::default(); sides],
            knowledge: Default::default(),
            moves: scenario.moves,
        };
        state.client_sent(self, sent);
        for side in 0..sides {
            if !self.is_mine(side) || scenario.pooled {
                let sent = state.client.link(side, LinkEvent::Greeting);
                state.side_sent(self, side, sent);
            }
        }
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.primary_actions(state, actions);
        self.side_actions(state, actions);
        self.server_actions(state, actions);
        for attacker in Attacker::ALL {
            self.attacker_actions(state, attacker, actions);
        }
        if !state.deadline_passed && self.is_quiet(state) {
            actions.push(Action::Deadline);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        // Most of what an attacker could want to send it cannot make: no state is copied for that.
        let forged = match action {
            Action::Forge(attacker, connection, forgery) => Some(
                Forger::new(&self.scenario, last, attacker).frame_to_server(connection, forgery)?,
            ),
            Action::Deceive(_, forgery) => {
                Some(Forger::new(&self.scenario, last, Attacker::Side).frame_to_client(forgery)?)
            }
            _ => None,
        };
        let mut state = last.clone();
        match (action, forged) {
            (Action::Forge(attacker, connection, _), Some(frame)) => {
                let frames = state.server.frame(connection, &frame);
                // A frame that changes nothing costs no move, and is none.
                if state.server == last.server && frames.is_empty() {
                    return None;
                }
                state.moves[attacker as usize].to_server -= 1;
                state.server_sent(self, connection, frames);
            }
            (Action::Deceive(side, _), Some(frame)) => {
                state.moves[Attacker::Side as usize].to_client -= 1;
                let sent = state.client.frame(side, &frame);
                state.side_sent(self, side, sent);
            }
            (other, _) => state.step(self, other),
        }
        state.answer_attackers(self);
        // A step that changes nothing is none.
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::of(&self.scenario)
    }
}
