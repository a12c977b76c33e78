//! Follows a server's handshake, from quinn's tasks to the task that accepts the connection.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures_util::future::BoxFuture;
use quinn::ConnectionId;
use tokio::sync::oneshot;

use super::gate::{Gate, Hold};
use crate::error::{ApiMisuse, Error};
use crate::proto::binding::Association;
use crate::proto::hello::Negotiated;
use crate::registry::{Registration, Reservation};
use crate::side::server::service::SideService;
use crate::sync::lock;
use crate::tls::quic::server::{Flight, Follow};

/// The registration of a handshake, if it was registered.
pub(super) type Registered = Result<Option<Arc<dyn Registration>>, Error>;

/// Registers a handshake as soon as its first flight is written.
pub(super) struct Registrar {
    sides: Arc<SideService>,
    gate: Arc<Gate>,
    reservation: Mutex<Option<Box<dyn Reservation>>>,
    flight: Mutex<Option<oneshot::Sender<FlightSent>>>,
    /// The application data of the client may be read from now on.
    may_finish: AtomicBool,
}

/// A first flight that has left, or is held.
pub(super) struct FlightSent {
    pub(super) association: Option<Association>,
    pub(super) negotiated: Option<Negotiated>,
    pub(super) registering: Registering,
}

/// The state of a registration.
pub(super) enum Registering {
    Done(Registered),
    /// The registry answers later, and the flight is held until then.
    Pending(BoxFuture<'static, Registered>, Option<Hold>),
}

impl Registrar {
    /// With the receiver of the flight.
    pub(super) fn new(
        sides: Arc<SideService>,
        gate: Arc<Gate>,
    ) -> (Self, oneshot::Receiver<FlightSent>) {
        let (sender, receiver) = oneshot::channel();
        let registrar = Self {
            sides,
            gate,
            reservation: Mutex::default(),
            flight: Mutex::new(Some(sender)),
            may_finish: AtomicBool::new(false),
        };
        (registrar, receiver)
    }

    /// Lets the client's part of the handshake be processed, and so its application data be read. A client
    /// whose answer is there before is refused: this thread was suspended for a round trip then.
    pub(super) fn let_finish(&self) {
        self.may_finish.store(true, Ordering::Release);
    }

    fn register(&self, flight: Flight) -> Registering {
        let Some(association) = flight.association else {
            return Registering::Done(Ok(None));
        };
        let reservation = lock(&self.reservation).take();
        let sides = Arc::clone(&self.sides);
        let mut registering: BoxFuture<'static, Registered> = Box::pin(async move {
            let registered = sides.register(association, reservation, flight.keys);
            pin!(registered).await
        });
        // A registry in memory answers at once.
        match registering
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(registered) => Registering::Done(registered),
            Poll::Pending => Registering::Pending(registering, self.hold(flight.source)),
        }
    }

    fn hold(&self, source: Option<ConnectionId>) -> Option<Hold> {
        let source = source.filter(|_| self.gate.has_socket())?;
        Some(self.gate.hold(source))
    }
}

impl Follow for Registrar {
    fn client_hello(&self, association: Association) {
        *lock(&self.reservation) = self.sides.reserve(association);
    }

    fn first_flight(&self, flight: Flight) {
        let (association, negotiated) = (flight.association, flight.negotiated);
        let registering = self.register(flight);
        // quinn sends the flight before its task ends.
        if let Registering::Done(Ok(Some(registration))) = &registering {
            registration.flushed();
        }
        if let Some(sender) = lock(&self.flight).take() {
            let _ = sender.send(FlightSent {
                association,
                negotiated,
                registering,
            });
        }
    }

    fn may_finish(&self) -> bool {
        self.may_finish.load(Ordering::Acquire)
    }
}

impl Registering {
    /// Waits for the registry, and lets the flight go.
    pub(super) async fn finish(self) -> Registered {
        match self {
            Self::Done(registered) => registered,
            Self::Pending(_, None) => Err(ApiMisuse::QuicEndpoint.into()),
            Self::Pending(registering, Some(hold)) => {
                let registration = registering.await?;
                hold.release().await;
                if let Some(registration) = &registration {
                    registration.flushed();
                }
                Ok(registration)
            }
        }
    }
}
