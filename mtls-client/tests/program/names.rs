//! Names on paths that are bound: the `hosts` file, and the nameservers, in namespaces of the test's own.

use tokio::process::Command;

use crate::lab::{Lab, Run, has};

/// Runs the program (`$0 $@`) where `v0` leads to no other host, with these files in `/etc`.
const SCRIPT: &str = "
    mount --make-rprivate / &&
    printf %s \"$HOSTS\" >\"$DIR/hosts\" && mount --bind \"$DIR/hosts\" /etc/hosts &&
    printf %s \"$RESOLV\" >\"$DIR/resolv.conf\" && mount --bind \"$DIR/resolv.conf\" /etc/resolv.conf &&
    ip link set lo up && ip link add v0 type veth peer name e0 &&
    ip addr add 10.9.0.1/24 dev v0 && ip addr add fd09::1/64 dev v0 nodad &&
    ip link set v0 up && ip link set e0 up && exec \"$0\" \"$@\"";

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

async fn check(lab: &Lab, hosts: &str, resolv: &str, options: &[&str]) -> Run {
    let mut command = Command::new("unshare");
    command.args(["-n", "-m", "bash", "-c", SCRIPT]);
    command.arg(env!("CARGO_BIN_EXE_mtls-client"));
    command
        .args(["check", "--connect-timeout", "700ms"])
        .args(options);
    command.arg("www.example.test").kill_on_drop(true);
    command.env("HOSTS", hosts).env("RESOLV", resolv);
    command.env("DIR", lab.path("."));
    Run::of(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_path_needs_no_nameserver_for_names_in_the_hosts_file() {
    if !has_namespaces() {
        return;
    }
    let lab = Lab::new();
    for resolv in [LOOPBACK, "", "nameserver 10.9.0.2\n"] {
        for path in ["if:v0", "src:10.9.0.1", "src:fd09::1"] {
            let run = check(&lab, BOTH, resolv, &["--primary", path]).await;
            run.exits_with(28).mentions(&["while connecting"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nameserver_on_the_loopback_is_used_if_the_command_line_names_it() {
    if !has_namespaces() {
        return;
    }
    let lab = Lab::new();
    let path = ["--primary", "if:v0"];
    let run = check(&lab, "", LOOPBACK, &path).await.exits_with(6);
    run.mentions(&["on the loopback (127.0.0.11)", "`--dns`"]);
    for dns in ["127.0.0.11", "if:v0=127.0.0.11"] {
        let typed = [&path[..], &["--dns", dns]].concat();
        let run = check(&lab, "", LOOPBACK, &typed).await;
        // There is none, so nothing comes back.
        run.exits_with(28).mentions(&["while resolving", "--dns"]);
    }
    let run = check(&lab, "", "", &path).await.exits_with(6);
    run.mentions(&["the system's settings name none", "`--dns`"]);
}
