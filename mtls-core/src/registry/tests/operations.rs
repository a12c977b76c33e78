//! Sequences of operations, against the model.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::registry::model::{KEYS, Operation, PEERS, run};

fn operation() -> impl Strategy<Value = Operation> {
    let registration = || any::<usize>();
    prop_oneof![
        4 => (0..KEYS).prop_map(|key| Operation::Register { key }),
        4 => registration().prop_map(|registration| Operation::Flush { registration }),
        2 => registration().prop_map(|registration| Operation::Drop { registration }),
        2 => registration().prop_map(|registration| Operation::Confirm { registration }),
        1 => registration().prop_map(|registration| Operation::Dispute { registration }),
        6 => (0..KEYS, any::<bool>(), 0..PEERS, any::<bool>()).prop_map(
            |(key, immediate, peer, known)| Operation::LookUp { key, immediate, peer, known }
        ),
        1 => any::<usize>().prop_map(|look_up| Operation::GiveUp { look_up }),
        2 => (0_u64..6_000).prop_map(|millis| Operation::Wait { millis }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_sequence_of_operations_gives_what_the_model_gives(
        operations in vec(operation(), 0..100),
    ) {
        run(&operations);
    }
}
