//! A server whose file descriptors are all in use.

use std::process::Command;

use crate::common::{HUNG, Running, Site, get};
use tokio::net::TcpStream;
use tokio::time::{Duration, sleep, timeout};

/// The descriptors that the server may have.
const LIMIT: usize = 96;

/// The same command with few descriptors.
fn with_few_descriptors(command: &Command) -> Command {
    let mut limited = Command::new("sh");
    let script = format!("ulimit -n {LIMIT}; exec \"$0\" \"$@\"");
    limited.args(["-c", &script]).arg(command.get_program());
    limited.args(command.get_args()).env_remove("RUST_LOG");
    limited
}

fn descriptors(server: &Running) -> usize {
    let directory = format!("/proc/{}/fd", server.id());
    std::fs::read_dir(directory).expect("a process").count()
}

#[tokio::test]
async fn a_server_whose_descriptors_are_all_in_use_serves_again_when_clients_leave() {
    let site = Site::new();
    let command = site.command(&["--listen", "127.0.0.1:0"]);
    let mut server = Running::start(with_few_descriptors(&command));
    let mut flood = Vec::new();
    for _ in 0..2 * LIMIT {
        flood.push(TcpStream::connect(server.address).await.expect("a backlog"));
    }
    let used_up = async {
        while descriptors(&server) < LIMIT {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(HUNG, used_up).await.expect("no descriptor left");
    drop(flood);
    let connecting = site.connect(server.address);
    let mut stream = timeout(HUNG, connecting).await.expect("a connection");
    assert!(stream.verdict().verified().is_some());
    let response = timeout(HUNG, get(&mut stream, "/")).await;
    assert!(response.expect("a response").contains("the index"));
    // A message for each failed accept would fill a disk.
    assert!(server.log().len() < 20, "{:#?}", server.log());
}
