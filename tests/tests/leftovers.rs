//! Nothing of a run outlives it, however it ends: neither namespaces nor processes.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use mtls_lab::netns::{Namespace, unavailable};
use mtls_lab::{Result, child, eventually};
use rustix::process::{Pid, Signal, kill_process};

/// The ways in which a run ends before its time: an interrupt, a timeout, and none can catch it.
const ENDINGS: [Signal; 3] = [Signal::INT, Signal::TERM, Signal::KILL];

/// Set for the process that is [`the_parent`].
const PARENT: &str = "MTLS_LAB_PARENT";

/// Not a test: starts a process in a namespace, prints its number, and waits for a signal.
#[test]
#[ignore = "only of use to the other tests here"]
fn the_parent() {
    std::env::var(PARENT).expect("only the other tests start this one");
    let namespace = Namespace::new().expect("a namespace");
    let child = namespace.command("sleep").arg("1000").spawn();
    println!("\nchild {}", child.expect("to start").id());
    std::thread::park();
}

/// A process that is killed and waited for when this is dropped.
struct Run(Child);

impl Run {
    fn end(&mut self, ending: Signal) -> Result {
        let pid = Pid::from_raw(self.0.id().cast_signed()).ok_or("no process")?;
        kill_process(pid, ending)?;
        assert!(!self.0.wait()?.success());
        Ok(())
    }

    /// The descriptors by which it holds network namespaces.
    fn namespaces(&self) -> Vec<PathBuf> {
        let folder = format!("/proc/{}/fd", self.0.id());
        let open = fs::read_dir(folder).into_iter().flatten().flatten();
        let files = open.map(|entry| entry.path());
        let is_net = |file: &PathBuf| {
            fs::read_link(file).is_ok_and(|link| link.to_string_lossy().starts_with("net:"))
        };
        files.filter(is_net).collect()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn skipped() -> bool {
    let reason = unavailable();
    if let Some(reason) = &reason {
        println!("skipped: {reason}");
    }
    reason.is_some()
}

/// A shell starts its background jobs with SIGINT ignored, and so their children, these tests too.
fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal=INT,TERM").arg(program);
    command
}

fn start_latency(out: &Path) -> Result<Run> {
    let mut command = command(env!("CARGO_BIN_EXE_mtls-lab"));
    command.args(["latency", "--samples", "1000000", "--out"]);
    command.arg(out).stderr(Stdio::null());
    Ok(Run(command.spawn()?))
}

/// The kernel removes a pair of interfaces with the namespace of either of them.
#[tokio::test]
async fn the_namespaces_of_an_aborted_measurement_are_removed() -> Result {
    if skipped() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let here = fs::metadata("/proc/self/ns/net")?.ino();
    for ending in ENDINGS {
        let watcher = Namespace::new()?;
        let mut run = start_latency(folder.path())?;
        eventually("the client's and the server's namespace", || {
            run.namespaces().len() >= 2
        })
        .await?;
        let namespaces = run.namespaces();
        for (index, namespace) in namespaces.iter().enumerate() {
            assert_ne!(fs::metadata(namespace)?.ino(), here);
            watcher.ip(&format!(
                "link add watch{index} type veth peer name watch netns {}",
                namespace.display()
            ))?;
        }
        run.end(ending)?;
        for index in 0..namespaces.len() {
            eventually("the end of a namespace", || {
                watcher.ip(&format!("link show watch{index}")).is_err()
            })
            .await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_process_in_a_namespace_ends_with_the_run_that_started_it() -> Result {
    if skipped() {
        return Ok(());
    }
    for ending in ENDINGS {
        let mut command = command(std::env::current_exe()?);
        command.args([
            "leftovers::the_parent",
            "--exact",
            "--ignored",
            "--nocapture",
        ]);
        command.env(PARENT, "").stdout(Stdio::piped());
        let mut run = Run(command.spawn()?);
        let said = run.0.stdout.take().ok_or("no output")?;
        let mut lines = BufReader::new(said).lines().map_while(Result::ok);
        let child = lines.find_map(|line| Some(line.strip_prefix("child ")?.to_owned()));
        let child = child.ok_or("no child")?;
        assert!(is_running(&child));
        run.end(ending)?;
        eventually("the end of the child", || !is_running(&child)).await?;
    }
    Ok(())
}

/// A zombie has ended, too: it waits only for its parent to notice.
fn is_running(process: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}

#[test]
fn a_program_that_is_not_installed_is_not_found() {
    assert!(child::is_installed("sh"));
    assert!(!child::is_installed("no-such-program"));
}
