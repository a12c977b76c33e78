//! A fleet over engines in memory.

use std::net::IpAddr;

use mtls_core::proto::binding::{
    Association, Binding, Bindings, SideContext, SideSecret, SideSecrets,
};
use mtls_core::proto::server::{Confirmation, HandshakeKeys, LookupMode, RegistrationId};
use mtls_core::registry::fleet::double::{MemoryEngine, MemoryStore};
use mtls_core::registry::fleet::{FleetKeys, FleetRegistry, FleetSettings, MachineId};
use mtls_core::registry::{
    ConfirmedSide, LookupReply, LookupRequester, PendingRegistry, RegisterError, Registration,
    RegistryKey, ServiceId,
};
use tokio::time::sleep;

pub(crate) const SECRET: [u8; 32] = [0x5a; 32];

pub(crate) struct Fleet {
    pub(crate) stores: Vec<MemoryStore>,
    pub(crate) machines: Vec<FleetRegistry<MemoryEngine>>,
}

pub(crate) fn settings(machine: u16) -> FleetSettings {
    let keys = FleetKeys::new(&[7; FleetKeys::KEY_LEN]);
    FleetSettings::new(MachineId(machine), keys)
}

impl Fleet {
    /// Machines 0, 1, …, which know each other, on engines that have run for a while.
    pub(crate) async fn new(machines: u16, engines: usize) -> Self {
        Self::with(machines, engines, |_| {}).await
    }

    pub(crate) async fn with(
        machines: u16,
        engines: usize,
        change: impl Fn(&mut FleetSettings),
    ) -> Self {
        let stores: Vec<_> = (0..engines).map(|_| MemoryStore::default()).collect();
        sleep(settings(0).member_life).await;
        let start = |machine| {
            let mut settings = settings(machine);
            change(&mut settings);
            let engines = stores.iter().map(MemoryStore::engine).collect();
            FleetRegistry::start(engines, settings).expect("settings in order")
        };
        let machines: Vec<_> = (0..machines).map(start).collect();
        for machine in &machines {
            machine.ready().await;
        }
        Self { stores, machines }
    }

    pub(crate) fn key(&self, byte: u8) -> RegistryKey {
        RegistryKey {
            service: ServiceId::from_name("shop"),
            association: Association([byte; 16]),
        }
    }

    pub(crate) async fn register(
        &self,
        machine: usize,
        key: RegistryKey,
    ) -> Result<Box<dyn Registration>, RegisterError> {
        self.machines[machine].register(key, keys()).await
    }

    pub(crate) async fn look_up(&self, machine: usize, key: RegistryKey) -> LookupReply {
        self.machines[machine]
            .look_up(key, LookupMode::Immediate, requester())
            .await
    }

    pub(crate) async fn assert_found(&self, machine: usize, key: RegistryKey) -> RegistrationId {
        match self.look_up(machine, key).await {
            LookupReply::Found(found) => found.registration,
            other => panic!("expected the handshake, got {other:?}"),
        }
    }

    /// The registry must not answer *unknown* for this handshake: clients report that as an interception.
    pub(crate) async fn assert_unavailable(&self, machine: usize, key: RegistryKey) {
        let reply = self.look_up(machine, key).await;
        assert!(matches!(reply, LookupReply::Unavailable), "{reply:?}");
    }

    pub(crate) async fn assert_unknown(&self, machine: usize, key: RegistryKey) {
        let reply = self.look_up(machine, key).await;
        assert!(matches!(reply, LookupReply::Unknown), "{reply:?}");
    }
}

pub(crate) fn keys() -> HandshakeKeys {
    HandshakeKeys::Tls13(SideSecrets {
        exporter: Some(SideSecret::new(SECRET)),
        hello: Some(SideSecret::new(SECRET)),
    })
}

pub(crate) fn requester() -> LookupRequester {
    LookupRequester::new(IpAddr::from([192, 0, 2, 1]), false)
}

pub(crate) fn confirmed(key: RegistryKey, registration: RegistrationId) -> ConfirmedSide {
    let nonce = [0; 32];
    let context = SideContext::new(
        &key.association,
        &nonce,
        Bindings::ALL,
        &nonce,
        Binding::Hello,
    );
    let confirmation = Confirmation {
        association: key.association,
        registration,
        binding: Binding::Hello,
        context,
    };
    ConfirmedSide::new(confirmation, ([192, 0, 2, 1], 443).into())
}
