//! The command `watch`: verifies servers again and again, and reports changes.
//!
//! [`schedule`] says when to check a target, and [`observation`] is the result of a check. [`state`]
//! keeps all results and finds the changes; [`lines`] prints them, and [`deliver`] brings them to a
//! command or a [`webhook`]. [`http`] serves the page and the [`metrics`].

pub(crate) mod args;
mod deliver;
mod http;
mod lines;
mod metrics;
mod notify;
mod observation;
mod schedule;
mod state;
mod store;
mod webhook;

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{join_all, pending};
use futures_util::stream::FuturesUnordered;
use mtls_core::Evidence;
use mtls_core::path::Endpoint;
use mtls_core::pem::redact;
use rustls::crypto::SecureRandom;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use self::args::Args;
use self::deliver::{Receiver, Sink};
use self::lines::Lines;
use self::observation::{Kind, Observation, now};
use self::schedule::{Job, Reach, Schedule};
use self::state::{Change, Seen, State};
use self::store::{Snapshot, Store};
use self::webhook::Webhook;
use super::check::targets;
use crate::connect::client::{Client, SideEndpoint};
use crate::connect::close::close;
use crate::connect::provider::provider;
use crate::connect::roots;
use crate::connect::settings::Settings;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::messages;
use crate::output::text::printable;
use crate::output::time::utc;
use crate::runtime;

/// The pause between two writes of the state.
const SAVE_PAUSE: Duration = Duration::from_secs(1);
/// The maximum age of a result that is not in the state file yet; a change is written at once.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);

/// Everything that the parts share.
struct Watch {
    state: Mutex<State>,
    store: Option<Store>,
    receivers: Vec<Receiver>,
    lines: Lines,
    json: bool,
    evidence_dir: Option<PathBuf>,
    /// The state has something to save.
    changed: Notify,
    every: Duration,
    started: u64,
}

/// The targets, and the checks at a time.
struct Plan {
    targets: Vec<Endpoint>,
    jobs: usize,
    random: &'static dyn SecureRandom,
}

pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    args.check()?;
    let mut targets = args.targets.clone();
    for file in &args.input {
        targets.extend(targets::read(file)?);
    }
    let mut known = std::collections::BTreeSet::new();
    targets.retain(|target| known.insert(target.to_string()));
    let plan = Plan {
        targets,
        jobs: args.jobs.into(),
        random: provider().secure_random,
    };
    let (lines, writer) = lines::start().map_err(|error| runtime::not_started(&error))?;
    let verbose = args.connection.output.verbose;
    let exit = runtime::block_on(verbose, watch(args, plan, lines));
    writer.finish();
    exit
}

async fn watch(args: Args, plan: Plan, lines: Lines) -> Result<Exit, Failure> {
    let listener = match args.metrics {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let state = load(args.state.as_deref(), &plan.targets)?;
    let receivers = receivers(&args, &state)?;
    let is_public = args.unsafe_metrics;
    let mut settings = super::settings(args.connection)?;
    settings.known_hosts.try_always();
    let client = Client::without_reuse(&settings)?;
    let watch = Watch {
        state: Mutex::new(state),
        store: args.state.map(Store::new),
        receivers,
        lines,
        json: settings.output.json,
        evidence_dir: settings.verify.evidence_dir.clone(),
        changed: Notify::new(),
        every: args.every,
        started: now(),
    };
    let watch = Arc::new(watch);
    watch
        .save()
        .map_err(|error| Failure::usage("--state", error))?;
    let stop = stop_signal()?;
    notify::notify("READY=1");
    tokio::select! {
        () = stop => {}
        never = checks(&watch, &client, &settings, &plan) => match never {},
        never = keep(&watch) => match never {},
        never = notify::stay_alive() => match never {},
        never = http::serve(&watch, listener, is_public) => match never {},
        never = deliver_all(&watch) => match never {},
    }
    notify::notify("STOPPING=1");
    if let Err(error) = watch.save() {
        messages::warn(&format!("--state: could not save: {error}"));
    }
    Ok(Exit::Success)
}

async fn listen(address: std::net::SocketAddr) -> Result<TcpListener, Failure> {
    let failure = |error: io::Error| {
        let message = format!("could not listen on {address}: {error}; choose another --metrics");
        Failure::new(Exit::Connect, "could-not-listen", message)
    };
    let listener = TcpListener::bind(address).await.map_err(failure)?;
    let address = listener.local_addr().map_err(failure)?;
    messages::note(&format!("status page and metrics on http://{address}/"));
    Ok(listener)
}

/// The state of these targets.
fn load(file: Option<&Path>, targets: &[Endpoint]) -> Result<State, Failure> {
    let mut state = file.map_or_else(|| Ok(State::new()), read)?;
    let names: Vec<_> = targets.iter().map(ToString::to_string).collect();
    state.select(&names);
    Ok(state)
}

/// Reads the state. A damaged file is kept under another name.
fn read(path: &Path) -> Result<State, Failure> {
    let failure = |error: io::Error| {
        let reason = format!("could not read {}: {error}", path.display());
        Failure::usage("--state", reason)
    };
    let bytes = match store::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::new()),
        read => read.map_err(failure)?,
    };
    State::parse(&bytes).or_else(|error| {
        let error = error.to_string();
        let mut damaged = path.as_os_str().to_owned();
        damaged.push(".damaged");
        std::fs::rename(path, &damaged).map_err(|error| Failure::usage("--state", error))?;
        messages::warn(&format!(
            "--state: {} is damaged: {}; it was renamed to {}, and all targets are new",
            path.display(),
            redact(&error),
            damaged.display()
        ));
        Ok(State::new())
    })
}

fn receivers(args: &Args, state: &State) -> Result<Vec<Receiver>, Failure> {
    let mut sinks = Vec::new();
    if let Some(command) = &args.exec {
        sinks.push(Sink::Exec(command.clone()));
    }
    if let Some(url) = &args.webhook {
        let (url, tls) = (url.clone(), roots::plain_config(&args.connection.tls)?);
        sinks.push(Sink::Webhook(Box::new(Webhook { url, tls })));
    }
    let receiver = |sink: Sink| {
        let pending = state.pending.get(sink.name()).cloned();
        Receiver::new(sink, pending.unwrap_or_default())
    };
    Ok(sinks.into_iter().map(receiver).collect())
}

fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let failure = |error: io::Error| {
        let message = format!("could not install signal handlers: {error}");
        Failure::new(Exit::Connect, "no-signals", message)
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(failure)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failure)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Checks all targets, each at its time.
async fn checks(
    watch: &Watch,
    client: &Client<'_>,
    settings: &Settings,
    plan: &Plan,
) -> Infallible {
    let mut schedule = Schedule::new(watch.every, plan.jobs);
    for (index, target) in plan.targets.iter().enumerate() {
        let (reach, wait) = watch.due(target);
        schedule.add(index, reach, Instant::now() + wait);
    }
    let mut running = FuturesUnordered::new();
    loop {
        while let Some(job) = schedule.next(Instant::now()) {
            running.push(check(watch, client, settings, plan, job));
        }
        let next = schedule.next_time();
        let until = next.unwrap_or_else(Instant::now);
        tokio::select! {
            Some((job, began, reach)) = running.next(), if !running.is_empty() => {
                let mut random = [0; 2];
                // Without random bytes there is less jitter.
                let _ = plan.random.fill(&mut random);
                schedule.end(job, reach, began, u16::from_ne_bytes(random));
            }
            () = sleep_until(until), if next.is_some() => {}
            else => pending().await,
        }
    }
}

async fn check(
    watch: &Watch,
    client: &Client<'_>,
    settings: &Settings,
    plan: &Plan,
    job: Job,
) -> (Job, Instant, Reach) {
    let target = &plan.targets[job.target];
    let began = Instant::now();
    let until = settings.times.max_time.map(|limit| began + limit);
    let side_endpoint = match job.target {
        0 => SideEndpoint::Configured,
        _ => SideEndpoint::Target,
    };
    let (attempt, stream) = client.connect(target, side_endpoint, until).await;
    let result = Observation::of(&attempt, stream.as_ref());
    if !settings.output.silent {
        let notices = attempt.notices.into_iter();
        notices.for_each(|notice| watch.lines.warn(notice));
    }
    // A server that requires verification sees a client that confirms and then closes.
    if let Some(stream) = stream {
        close(stream).await;
    }
    let reach = match result.verdict {
        Kind::Error => Reach::Failing,
        _ => Reach::Reached,
    };
    watch.record(target, result, attempt.evidence).await;
    (job, began, reach)
}

async fn deliver_all(watch: &Watch) -> Infallible {
    let all = watch
        .receivers
        .iter()
        .map(|one| one.run(&watch.changed, &watch.lines));
    join_all(all).await;
    // Without receivers there is nothing to wait for.
    pending().await
}

/// Saves the state when it has changed, and now and then.
async fn keep(watch: &Watch) -> Infallible {
    loop {
        tokio::select! {
            () = watch.changed.notified() => {}
            () = sleep(SAVE_INTERVAL) => {}
        }
        if let Err(error) = watch.save_in_thread().await {
            let warning = format!("--state: could not save: {error}");
            watch.lines.warn(warning);
        }
        sleep(SAVE_PAUSE).await;
    }
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When a target is due, if an earlier run has checked it. The clock may have jumped.
    fn due(&self, target: &Endpoint) -> (Reach, Duration) {
        let state = self.lock();
        let last = state.targets.get(&target.to_string());
        let Some(last) = last.and_then(|target| target.current.as_ref()) else {
            return (Reach::Reached, Duration::ZERO);
        };
        let age = now().checked_sub(last.unix_time).map(Duration::from_secs);
        let wait = age.map_or(Duration::ZERO, |age| self.every.saturating_sub(age));
        match last.verdict {
            Kind::Error => (Reach::Failing, wait),
            _ => (Reach::Reached, wait),
        }
    }

    /// Keeps a result, and reports it if the verdict has changed.
    ///
    /// A signal can end the wait for the evidence. Then the result is not kept either, and the next
    /// run finds the change again.
    async fn record(
        &self,
        target: &Endpoint,
        result: Observation,
        evidence: Option<Box<Evidence>>,
    ) {
        let name = target.to_string();
        let mut file = None;
        if self.lock().is_change(&name, &result) {
            file = self.save_evidence(evidence).await;
        }
        let change = self.lock().record(&name, result);
        if let Some(mut change) = change {
            change.evidence = file;
            self.report(&change);
            self.changed.notify_one();
        }
    }

    async fn save_evidence(&self, evidence: Option<Box<Evidence>>) -> Option<String> {
        let (evidence, dir) = (evidence?, self.evidence_dir.clone()?);
        let saved = tokio::task::spawn_blocking(move || evidence.save(&dir)).await;
        match saved.unwrap_or_else(|error| Err(error.into())) {
            Ok(path) => Some(path.display().to_string()),
            Err(error) => {
                self.lines.warn(format!("evidence NOT saved: {error}"));
                None
            }
        }
    }

    fn report(&self, change: &Change) {
        let json = serde_json::to_value(change).unwrap_or_default();
        self.lines.change(match self.json {
            true => format!("{json}\n"),
            false => line(change),
        });
        if change.is_notified() {
            for receiver in &self.receivers {
                receiver.push(json.clone());
            }
        }
    }

    /// The state to write; `None` without a file.
    fn snapshot(&self) -> io::Result<Option<Snapshot>> {
        let Some(store) = &self.store else {
            return Ok(None);
        };
        let mut state = self.lock();
        let pending = self.receivers.iter();
        state.pending = pending
            .map(|one| (one.name().to_owned(), one.pending()))
            .collect();
        Ok(Some(store.snapshot(serde_json::to_vec(&*state)?)))
    }

    /// Writes the state at once, for the start and the end.
    fn save(&self) -> io::Result<()> {
        self.snapshot()?.map_or(Ok(()), Snapshot::write)
    }

    /// Writes the state in a thread, because a disk can be slow.
    async fn save_in_thread(&self) -> io::Result<()> {
        let Some(snapshot) = self.snapshot()? else {
            return Ok(());
        };
        tokio::task::spawn_blocking(|| snapshot.write()).await?
    }
}

/// A change for people.
fn line(change: &Change) -> String {
    let from = change
        .from
        .as_ref()
        .map_or_else(|| "new".to_owned(), described);
    let time = utc(change.unix_time);
    let target = printable(&change.target);
    let to = described(&change.to);
    let message = change.message.as_deref().map(printable);
    let message = message.map_or_else(String::new, |message| format!(": {message}"));
    let evidence = change.evidence.as_deref();
    let evidence = evidence.map_or_else(String::new, |file| format!("; evidence: {file}"));
    format!("{time}  {target}  {from} -> {to}{message}{evidence}\n")
}

fn described(seen: &Seen) -> String {
    let mut text = seen.verdict.as_str().to_owned();
    if let Some(reason) = &seen.reason {
        text += &format!(" ({})", printable(reason));
    }
    if seen.verdict == Kind::Verified && seen.method.as_deref() == Some("resumption") {
        text += " by resumption (weaker)";
    }
    text
}
