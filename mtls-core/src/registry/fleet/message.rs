//! The messages between machines of a fleet, in bytes. All of them are sealed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::engine::MachineId;
use super::seal::FleetKeys;
use crate::proto::binding::{Association, Binding, SideContext, SideSecret, SideSecrets};
use crate::proto::server::{Confirmation, HandshakeKeys, RegistrationId};
use crate::registry::{ConfirmedSide, Found, RegistryKey, ServiceId};

const RECORD_LABEL: &[u8] = b"mtls/1 fleet record";
const MESSAGE_LABEL: &[u8] = b"mtls/1 fleet message";
/// The text of a record without secrets; others begin with the kind of their keys, 0 or 1.
const RESERVED: u8 = 2;
/// The receiver of a message to all machines, beyond every machine's number.
const TO_ALL: u32 = u32::MAX;

/// One question to all machines, with a number of its own so that old answers fit no other.
pub(super) type QuestionId = [u8; 16];

/// A message to one machine, or to all.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) from: MachineId,
    pub(super) body: Body,
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    /// Requests the machine that holds this handshake.
    Who(QuestionId, RegistryKey),
    /// The state of the handshake on this machine.
    Answer(QuestionId, Holds),
    /// The handshake that the receiver waits for, whose first flight has been flushed.
    Flushed(RegistryKey, Found),
    /// A side connection has asked for the handshake.
    Opened(RegistryKey, RegistrationId),
    /// A side connection has confirmed the handshake.
    Confirmed(ServiceId, ConfirmedSide),
    /// A side connection had a wrong value for the handshake.
    Disputed(ServiceId, Confirmation),
    /// The sender's process of this incarnation ends.
    Left(u64),
}

/// A record of an engine, opened.
#[derive(Clone, Debug)]
pub(super) enum Record {
    /// The secrets of the handshake do not exist yet.
    Reserved(RegistrationId),
    Registered(Found),
}

impl Record {
    pub(super) fn registration(&self) -> RegistrationId {
        match self {
            Self::Reserved(registration) => *registration,
            Self::Registered(found) => found.registration,
        }
    }
}

/// The state of a handshake on one machine.
#[derive(Clone, Debug)]
pub(super) enum Holds {
    /// The handshake.
    Found(Found),
    /// Nothing.
    Nothing,
    /// Nothing, and it may have turned the handshake away because it was full.
    Full,
}

impl Message {
    pub(super) fn seal(&self, keys: &FleetKeys, to: Option<MachineId>) -> Option<Vec<u8>> {
        let mut text = Writer::default();
        text.put(&self.from.0.to_be_bytes());
        self.body.write(&mut text);
        keys.seal(&message_context(to), &text.0)
    }

    /// Opens a message to `me` or to all; `None` for what no machine of the fleet sent.
    pub(super) fn open(keys: &FleetKeys, me: MachineId, sealed: &[u8]) -> Option<Self> {
        let text = [Some(me), None]
            .into_iter()
            .find_map(|to| keys.open(&message_context(to), sealed).ok())?;
        let mut text = Reader(&text);
        let from = MachineId(u16::from_be_bytes(text.take()?));
        let body = Body::read(&mut text)?;
        text.0.is_empty().then_some(Self { from, body })
    }
}

fn message_context(to: Option<MachineId>) -> Vec<u8> {
    let to = to.map_or(TO_ALL, |machine| u32::from(machine.0));
    [MESSAGE_LABEL, &to.to_be_bytes()].concat()
}

/// A record for an engine: the registration's id in plain, its secrets sealed.
pub(super) fn seal_record(keys: &FleetKeys, key: &RegistryKey, found: &Found) -> Option<Vec<u8>> {
    let id = found.registration.0.to_be_bytes();
    let mut text = Writer::default();
    text.put_keys(&found.keys);
    let sealed = keys.seal(&record_context(key, &id), &text.0)?;
    Some([&id[..], &sealed].concat())
}

/// A record for an engine, for a handshake whose secrets do not exist yet.
pub(super) fn seal_reservation(
    keys: &FleetKeys,
    key: &RegistryKey,
    registration: RegistrationId,
) -> Option<Vec<u8>> {
    let id = registration.0.to_be_bytes();
    let sealed = keys.seal(&record_context(key, &id), &[RESERVED])?;
    Some([&id[..], &sealed].concat())
}

/// Opens a record; `None` for one that no machine of the fleet wrote for this handshake.
pub(super) fn open_record(keys: &FleetKeys, key: &RegistryKey, record: &[u8]) -> Option<Record> {
    let (id, sealed) = record.split_first_chunk::<16>()?;
    let text = keys.open(&record_context(key, id), sealed).ok()?;
    let registration = RegistrationId(u128::from_be_bytes(*id));
    if text[..] == [RESERVED] {
        return Some(Record::Reserved(registration));
    }
    let mut text = Reader(&text);
    let secrets = text.take_keys()?;
    text.0
        .is_empty()
        .then(|| Record::Registered(Found::new(registration, Arc::new(secrets))))
}

fn record_context(key: &RegistryKey, id: &[u8; 16]) -> Vec<u8> {
    [RECORD_LABEL, key.service.as_bytes(), &key.association.0, id].concat()
}

impl Body {
    fn write(&self, text: &mut Writer) {
        match self {
            Self::Who(question, key) => {
                text.put(&[0]);
                text.put(question);
                text.put_key(key);
            }
            Self::Answer(question, holds) => {
                text.put(&[1]);
                text.put(question);
                holds.write(text);
            }
            Self::Flushed(key, found) => {
                text.put(&[2]);
                text.put_key(key);
                text.put_found(found);
            }
            Self::Opened(key, registration) => {
                text.put(&[3]);
                text.put_key(key);
                text.put(&registration.0.to_be_bytes());
            }
            Self::Confirmed(service, side) => {
                text.put(&[4]);
                text.put(service.as_bytes());
                text.put_confirmation(&side.confirmation);
                text.put_address(side.peer);
            }
            Self::Disputed(service, confirmation) => {
                text.put(&[5]);
                text.put(service.as_bytes());
                text.put_confirmation(confirmation);
            }
            Self::Left(incarnation) => {
                text.put(&[6]);
                text.put(&incarnation.to_be_bytes());
            }
        }
    }

    fn read(text: &mut Reader<'_>) -> Option<Self> {
        Some(match text.take::<1>()? {
            [0] => Self::Who(text.take()?, text.take_key()?),
            [1] => Self::Answer(text.take()?, Holds::read(text)?),
            [2] => Self::Flushed(text.take_key()?, text.take_found()?),
            [3] => Self::Opened(text.take_key()?, text.take_registration()?),
            [4] => {
                let service = ServiceId::from_bytes(text.take()?);
                let confirmation = text.take_confirmation()?;
                Self::Confirmed(
                    service,
                    ConfirmedSide::new(confirmation, text.take_address()?),
                )
            }
            [5] => Self::Disputed(
                ServiceId::from_bytes(text.take()?),
                text.take_confirmation()?,
            ),
            [6] => Self::Left(u64::from_be_bytes(text.take()?)),
            _ => return None,
        })
    }
}

impl Holds {
    fn write(&self, text: &mut Writer) {
        match self {
            Self::Found(found) => {
                text.put(&[0]);
                text.put_found(found);
            }
            Self::Nothing => text.put(&[1]),
            Self::Full => text.put(&[2]),
        }
    }

    fn read(text: &mut Reader<'_>) -> Option<Self> {
        Some(match text.take::<1>()? {
            [0] => Self::Found(text.take_found()?),
            [1] => Self::Nothing,
            [2] => Self::Full,
            _ => return None,
        })
    }
}

/// Zeroized on drop, with what it outgrows left behind: it starts larger than every message.
struct Writer(Zeroizing<Vec<u8>>);

impl Default for Writer {
    fn default() -> Self {
        Self(Zeroizing::new(Vec::with_capacity(256)))
    }
}

impl Writer {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn put_key(&mut self, key: &RegistryKey) {
        self.put(key.service.as_bytes());
        self.put(&key.association.0);
    }

    fn put_found(&mut self, found: &Found) {
        self.put(&found.registration.0.to_be_bytes());
        self.put_keys(&found.keys);
    }

    fn put_keys(&mut self, keys: &HandshakeKeys) {
        let HandshakeKeys::Tls13(secrets) = keys else {
            return self.put(&[0]);
        };
        self.put(&[1]);
        for secret in [&secrets.exporter, &secrets.hello] {
            self.put(&[u8::from(secret.is_some())]);
            if let Some(secret) = secret {
                self.put(secret.as_bytes());
            }
        }
    }

    fn put_confirmation(&mut self, confirmation: &Confirmation) {
        self.put(&confirmation.association.0);
        self.put(&confirmation.registration.0.to_be_bytes());
        self.put(&[confirmation.binding as u8]);
        self.put(confirmation.context.as_bytes());
    }

    fn put_address(&mut self, address: SocketAddr) {
        match address.ip() {
            IpAddr::V4(ip) => {
                self.put(&[4]);
                self.put(&ip.octets());
            }
            IpAddr::V6(ip) => {
                self.put(&[6]);
                self.put(&ip.octets());
            }
        }
        self.put(&address.port().to_be_bytes());
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn take_key(&mut self) -> Option<RegistryKey> {
        Some(RegistryKey {
            service: ServiceId::from_bytes(self.take()?),
            association: Association(self.take()?),
        })
    }

    fn take_registration(&mut self) -> Option<RegistrationId> {
        Some(RegistrationId(u128::from_be_bytes(self.take()?)))
    }

    fn take_found(&mut self) -> Option<Found> {
        let registration = self.take_registration()?;
        Some(Found::new(registration, Arc::new(self.take_keys()?)))
    }

    fn take_keys(&mut self) -> Option<HandshakeKeys> {
        match self.take::<1>()? {
            [0] => Some(HandshakeKeys::Older),
            [1] => Some(HandshakeKeys::Tls13(SideSecrets {
                exporter: self.take_secret()?,
                hello: self.take_secret()?,
            })),
            _ => None,
        }
    }

    fn take_secret(&mut self) -> Option<Option<SideSecret>> {
        match self.take::<1>()? {
            [0] => Some(None),
            [1] => Some(Some(SideSecret::new(self.take()?))),
            _ => None,
        }
    }

    fn take_confirmation(&mut self) -> Option<Confirmation> {
        Some(Confirmation {
            association: Association(self.take()?),
            registration: self.take_registration()?,
            binding: Binding::from_bit(self.take::<1>()?[0])?,
            context: SideContext::from_bytes(self.take()?),
        })
    }

    fn take_address(&mut self) -> Option<SocketAddr> {
        let ip = match self.take::<1>()? {
            [4] => IpAddr::from(self.take::<4>()?),
            [6] => IpAddr::from(self.take::<16>()?),
            _ => return None,
        };
        Some(SocketAddr::new(ip, u16::from_be_bytes(self.take()?)))
    }
}

#[cfg(test)]
mod tests;
