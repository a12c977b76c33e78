//! Changes to the protocol, each of which the checker must find.

/// A change to the protocol that must not survive the checker.
///
/// The machines carry no switches for these: each is made around them, at the point where the
/// changed code would differ. Each states the change that it represents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// `Role::label` returns the same label for both roles. Made by giving both ends the client's value for both.
    UnlabelledRoles,
    /// Values are computed from the two randoms instead of the transcript. Made where the
    /// transcript is hashed; an attacker can choose its randoms freely, which the model always
    /// allows.
    RandomsOnly,
    /// The connector hands the stream out when the Proofs have come, before their values are
    /// compared. Made in the judge.
    AcceptBeforeVerify,
    /// A wrong value is one more reason to be unverified, on which `Prefer` falls back. Made in
    /// the judge.
    SoftFailure,
    /// A Reject or silence after the greeting is a reason to fall back too:
    /// `SideFailure::allows_fallback` is too generous. Made in the judge.
    FallbackOnReject,
    /// The judge is content with one side path of several.
    OneSideIsEnough,
    /// A registration that is dropped or confirmed is forgotten at once: no tombstone. Made in
    /// the registry.
    ForgetfulTombstones,
    /// An early wait that ends is answered with Reject(unknown). Made on the wire, as the frame
    /// leaves the server.
    EarlyUnknown,
    /// `confirm` looks at the association alone, not at the `RegistrationId`. Made in the registry.
    LooseConfirmation,
    /// A server under `Prefer` decides when TLS completes, and not when the client's first
    /// application bytes arrive. Made where TLS completes.
    EarlyDecision,
}
