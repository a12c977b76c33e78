//! The thread that carries packets from one TUN device to another.

use std::io::{self, Write as _};
use std::num::NonZeroU64;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::setpriority_process;
use rustix::thread::set_current_timer_slack;
use tun_rs::SyncDevice;

use super::pipe::{LinkSettings, Pipe, PushOutcome};
use crate::Result;

/// The largest packet that a device gives.
const MAX_PACKET: usize = 64 * 1024;
/// How many packets are taken from one device before the others have their turn.
const BATCH: usize = 64;
/// How soon a change of settings, or the end, is noticed.
const NOTICE: Duration = Duration::from_millis(20);
/// A sleep that would be shorter is spent awake: waking up takes that long, and not always the
/// same time.
const AWAKE: Duration = Duration::from_micros(60);

/// A packet that an attacker on a link sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// In the direction of the packet that they have read.
    On(Vec<u8>),
    /// The same, so much later. The packets behind it wait for it.
    Late(Vec<u8>, Duration),
    /// To its sender.
    Back(Vec<u8>),
}

/// An attacker on one direction of a link: takes each packet, and says what is sent in its place.
pub type Attack = Box<dyn FnMut(Vec<u8>) -> Vec<Sent> + Send>;

/// The attacker on each direction, if there is one.
#[derive(Default)]
struct Attacks(Mutex<Vec<Option<Attack>>>);

impl std::fmt::Debug for Attacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attacks").finish_non_exhaustive()
    }
}

impl Attacks {
    fn set(&self, direction: usize, attack: Attack) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() <= direction {
            all.resize_with(direction + 1, || None);
        }
        all[direction] = Some(attack);
    }

    fn apply(&self, direction: usize, packet: Vec<u8>) -> Vec<Sent> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(direction) {
            Some(Some(attack)) => attack(packet),
            _ => vec![Sent::On(packet)],
        }
    }
}

/// Carries packets until it is dropped.
#[derive(Debug)]
pub struct Emulator {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// One direction: packets that one device gives are handed to another.
pub(super) struct Direction {
    pub(super) from: Arc<SyncDevice>,
    pub(super) to: Arc<SyncDevice>,
    pub(super) settings: LinkSettings,
}

/// The traffic that a direction has carried so far. Bytes are those of IP packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Packets that went in.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets of these that were lost, as the settings say.
    pub lost: u64,
    /// Packets of these for which there was no room.
    pub overflowed: u64,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    changed: AtomicBool,
    settings: Mutex<Vec<LinkSettings>>,
    counters: Vec<Counters>,
    travelling: AtomicUsize,
    attacks: Attacks,
}

#[derive(Debug, Default)]
struct Counters {
    packets: AtomicU64,
    bytes: AtomicU64,
    lost: AtomicU64,
    overflowed: AtomicU64,
}

impl Emulator {
    /// Starts to carry. Losses are the same for the same seed and the same packets.
    pub(super) fn start(directions: Vec<Direction>, seed: u64) -> Result<Self> {
        for direction in &directions {
            direction.from.set_nonblocking(true)?;
            direction.to.set_nonblocking(true)?;
        }
        let settings = directions.iter().map(|d| d.settings).collect::<Vec<_>>();
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            changed: AtomicBool::new(false),
            counters: directions.iter().map(|_| Counters::default()).collect(),
            settings: Mutex::new(settings),
            travelling: AtomicUsize::new(0),
            attacks: Attacks::default(),
        });
        let carrier = Carrier::new(directions, Arc::clone(&shared), seed);
        let thread = std::thread::Builder::new()
            .name("links".into())
            .spawn(move || carrier.run())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Changes one direction, from about now on.
    pub(super) fn set(&self, direction: usize, settings: LinkSettings) {
        let mut all = self.shared.settings();
        if let Some(own) = all.get_mut(direction) {
            *own = settings;
            self.shared.changed.store(true, Ordering::Release);
        }
    }

    /// Puts an attacker on one direction.
    pub(super) fn attack(&self, direction: usize, attack: Attack) {
        self.shared.attacks.set(direction, attack);
    }

    /// The traffic that a direction has carried; zero for one that does not exist.
    pub(super) fn carried(&self, direction: usize) -> Carried {
        let counters = self.shared.counters.get(direction);
        counters.map(Counters::read).unwrap_or_default()
    }

    /// How many packets are on their way.
    pub(super) fn travelling(&self) -> usize {
        self.shared.travelling.load(Ordering::Acquire)
    }

    /// Whether a change of settings has been noticed.
    pub(super) fn is_settled(&self) -> bool {
        !self.shared.changed.load(Ordering::Acquire)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // If it has panicked, nothing has arrived since, which every end has noticed.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn settings(&self) -> std::sync::MutexGuard<'_, Vec<LinkSettings>> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counters {
    fn count(&self, bytes: usize, outcome: PushOutcome) {
        self.packets.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        match outcome {
            PushOutcome::Queued => 0,
            PushOutcome::Lost => self.lost.fetch_add(1, Ordering::Relaxed),
            PushOutcome::Overflowed => self.overflowed.fetch_add(1, Ordering::Relaxed),
        };
    }

    fn read(&self) -> Carried {
        Carried {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            overflowed: self.overflowed.load(Ordering::Relaxed),
        }
    }
}

/// The state of the thread.
struct Carrier {
    directions: Vec<(Direction, Pipe)>,
    shared: Arc<Shared>,
    buffer: Vec<u8>,
}

impl Carrier {
    fn new(directions: Vec<Direction>, shared: Arc<Shared>, seed: u64) -> Self {
        let with_pipe = |(number, direction): (u64, Direction)| {
            let pipe = Pipe::new(direction.settings, seed.wrapping_add(number));
            (direction, pipe)
        };
        Self {
            directions: (0..).zip(directions).map(with_pipe).collect(),
            shared,
            buffer: vec![0; MAX_PACKET],
        }
    }

    fn run(mut self) {
        hurry();
        while !self.shared.stop.load(Ordering::Acquire) {
            if self.shared.changed.swap(false, Ordering::AcqRel) {
                let settings = self.shared.settings();
                for ((_, pipe), settings) in self.directions.iter_mut().zip(settings.iter()) {
                    pipe.set(*settings);
                }
            }
            let moved = self.wait().and_then(|readable| {
                for direction in readable {
                    self.take_in(direction)?;
                }
                self.hand_out()
            });
            if let Err(error) = moved {
                // The devices are gone, and with them all senders.
                let _ = writeln!(io::stderr(), "the emulated links have ended: {error}");
                return;
            }
        }
    }

    /// Until something can be read, or is due; which directions have something to read.
    fn wait(&self) -> io::Result<Vec<usize>> {
        let due = self.directions.iter().filter_map(|(_, pipe)| pipe.due());
        let left = due.min().map_or(NOTICE, |due| {
            due.saturating_duration_since(Instant::now()).min(NOTICE)
        });
        let timeout = Timespec::try_from(left.saturating_sub(AWAKE)).map_err(io::Error::other)?;
        let from = self.directions.iter().map(|(direction, _)| &direction.from);
        let mut devices: Vec<PollFd<'_>> = from
            .map(|device| PollFd::from_borrowed_fd(device.as_fd(), PollFlags::IN))
            .collect();
        match poll(&mut devices, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let readable = devices.iter().enumerate();
        Ok(readable
            .filter(|(_, device)| !device.revents().is_empty())
            .map(|(direction, _)| direction)
            .collect())
    }

    fn take_in(&mut self, direction: usize) -> io::Result<()> {
        for _ in 0..BATCH {
            let read = match self.directions[direction].0.from.recv(&mut self.buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            let packet = self.buffer[..read].to_vec();
            for sent in self.shared.attacks.apply(direction, packet) {
                // Both directions of a link are next to each other.
                match sent {
                    Sent::On(packet) => self.push(direction, packet, Duration::ZERO),
                    Sent::Late(packet, late) => self.push(direction, packet, late),
                    Sent::Back(packet) => self.push(direction ^ 1, packet, Duration::ZERO),
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, direction: usize, packet: Vec<u8>, late: Duration) {
        let len = packet.len();
        let pipe = &mut self.directions[direction].1;
        let outcome = pipe.push_late(packet, Instant::now(), late);
        if outcome == PushOutcome::Queued {
            self.shared.travelling.fetch_add(1, Ordering::AcqRel);
        }
        self.shared.counters[direction].count(len, outcome);
    }

    fn hand_out(&mut self) -> io::Result<()> {
        for (direction, pipe) in &mut self.directions {
            while let Some(packet) = pipe.pop(Instant::now()) {
                // A device that takes no packet now loses it, as a full receiver does.
                let sent = direction.to.send(&packet);
                self.shared.travelling.fetch_sub(1, Ordering::AcqRel);
                match sent {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// Asks for exact timers and an early turn; without root the second is refused, and that is fine.
fn hurry() {
    let _ = set_current_timer_slack(Some(NonZeroU64::MIN));
    let _ = setpriority_process(None, -20);
}
