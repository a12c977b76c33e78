//! Names on paths that are bound: the `hosts` file, and the nameservers, in namespaces of the test's own.

use futures_util::future::join_all;
use tokio::process::Command;

use crate::lab::{Lab, PATIENCE, Run, has};

/// Runs the program (`$0 $@`) where `v0` leads to no other host, with these files in `/etc`. The system
/// looks for no neighbour, which it would soon report as missing.
const SCRIPT: &str = "
    mount --make-rprivate / &&
    printf %s \"$HOSTS\" >\"$DIR/hosts\" && mount --bind \"$DIR/hosts\" /etc/hosts &&
    printf %s \"$RESOLV\" >\"$DIR/resolv.conf\" && mount --bind \"$DIR/resolv.conf\" /etc/resolv.conf &&
    ip link set lo up && ip link add v0 type veth peer name e0 &&
    ip addr add 10.9.0.1/24 dev v0 && ip addr add fd09::1/64 dev v0 nodad &&
    ip link set v0 up && ip link set e0 up &&
    ip neigh add 10.9.0.9 lladdr 02:00:00:00:00:09 dev v0 nud permanent &&
    ip neigh add fd09::9 lladdr 02:00:00:00:00:09 dev v0 nud permanent && exec \"$0\" \"$@\"";

const BOTH: &str = "10.9.0.9 www.example.test\nfd09::9 www.example.test\n";
const LOOPBACK: &str = "nameserver 127.0.0.11\n";

/// Whether this process may make namespaces.
fn has_namespaces() -> bool {
    let tools = has("unshare") && has("mount");
    let may = || {
        std::process::Command::new("unshare")
            .args(["-n", "-m", "ip", "link"])
            .output()
    };
    let may = tools && may().is_ok_and(|output| output.status.success());
    if !may {
        println!("skipped: no namespaces without root, or no `ip`");
    }
    may
}

/// Runs of the same lab at the same time need directories of their own, with these names.
async fn check(lab: &Lab, dir: &str, hosts: &str, resolv: &str, options: &[&str]) -> Run {
    let dir = lab.path(dir);
    std::fs::create_dir_all(&dir).expect("a directory");
    let mut command = Command::new("unshare");
    command.args(["-n", "-m", "bash", "-c", SCRIPT]);
    command.arg(env!("CARGO_BIN_EXE_mtls-client"));
    command
        .args(["check", "--connect-timeout", PATIENCE])
        .args(options);
    command.arg("www.example.test").kill_on_drop(true);
    command.env("HOSTS", hosts).env("RESOLV", resolv);
    command.env("DIR", dir);
    Run::of(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_path_needs_no_nameserver_for_names_in_the_hosts_file() {
    if !has_namespaces() {
        return;
    }
    let lab = Lab::new();
    let paths = ["if:v0", "src:10.9.0.1", "src:fd09::1"];
    let resolvs = [LOOPBACK, "", "nameserver 10.9.0.2\n"];
    let cases = resolvs.map(|resolv| paths.map(|path| (resolv, path)));
    let connecting = async |(number, (resolv, path)): (usize, (&str, &str))| {
        let dir = number.to_string();
        let run = check(&lab, &dir, BOTH, resolv, &["--primary", path]).await;
        run.exits_with(28).mentions(&["while connecting"]);
    };
    join_all(
        cases
            .as_flattened()
            .iter()
            .copied()
            .enumerate()
            .map(connecting),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nameserver_on_the_loopback_is_used_if_the_command_line_names_it() {
    if !has_namespaces() {
        return;
    }
    let lab = Lab::new();
    let path = ["--primary", "if:v0"];
    let run = check(&lab, "one", "", LOOPBACK, &path).await.exits_with(6);
    run.mentions(&["on the loopback (127.0.0.11)", "`--dns`"]);
    for dns in ["127.0.0.11", "if:v0=127.0.0.11"] {
        let typed = [&path[..], &["--dns", dns]].concat();
        let run = check(&lab, "one", "", LOOPBACK, &typed).await;
        // There is none, so nothing comes back.
        run.exits_with(28).mentions(&["while resolving", "--dns"]);
    }
    let run = check(&lab, "one", "", "", &path).await.exits_with(6);
    run.mentions(&["the system's settings name none", "`--dns`"]);
}
