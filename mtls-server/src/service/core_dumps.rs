//! Core dumps.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Disables core dumps of this process: they would contain private keys.
///
/// The limit alone has no effect where the system pipes core dumps to a program (core(5)), so the
/// process is also marked as not dumpable.
pub(crate) fn disable() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let limited = setrlimit(Resource::Core, none);
    let marked = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    if let Err(error) = limited.and(marked) {
        tracing::warn!(%error, "cannot disable core dumps, which would contain private keys");
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::dumpable_behavior;

    use super::*;

    #[test]
    fn the_process_is_marked_as_not_dumpable() {
        disable();
        let behavior = dumpable_behavior().expect("a state");
        assert_eq!(behavior, DumpableBehavior::NotDumpable);
    }
}
