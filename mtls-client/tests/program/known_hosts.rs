//! Known hosts: what is remembered, what follows from it, and the command `hosts`.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::lab::{Lab, Run, Whose, closed_port};
use crate::site::PAGE;

const LIE: &str = "hello from the attacker\n";

/// The real server, and an attacker at another address and the same port, which is on all paths of a
/// client that reaches it.
struct Place {
    lab: Lab,
    port: u16,
    /// The bytes of requests that the attacker has read.
    read: Arc<AtomicUsize>,
}

impl Place {
    async fn new() -> Self {
        let mut lab = Lab::new();
        let port = lab.site().await.port();
        let listener = TcpListener::bind(("127.0.0.2", port))
            .await
            .expect("a port");
        let (_, read) = lab.plain_tls_on(listener, Whose::Rogue, LIE);
        Self { lab, port, read }
    }

    /// Runs `get` for this name, which leads to the server or to the attacker.
    async fn get(&self, name: &str, attacked: bool, options: &[&str]) -> Run {
        let address = if attacked { "127.0.0.2" } else { "127.0.0.1" };
        let resolve = format!("{name}:{}:{address}", self.port);
        let url = format!("https://{name}:{}/", self.port);
        let (ca, file) = (self.lab.both_cas(), self.file());
        let typed = ["get", "-s", "--cacert", &ca, "--resolve", &resolve, &url];
        let known = ["--known-hosts", &file];
        let known = match options.contains(&"--no-known-hosts") {
            true => &known[..0],
            false => &known[..],
        };
        self.lab.run([&typed[..], known, options].concat()).await
    }

    fn file(&self) -> String {
        self.lab.path("state/hosts.json")
    }

    async fn hosts(&self, words: &[&str]) -> Run {
        let file = self.file();
        let typed = [&["hosts"], words, &["--known-hosts", &file]].concat();
        self.lab.run(typed).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remembered_server_cannot_be_downgraded_under_any_policy() {
    let place = Place::new().await;
    let policies = [["--policy", "prefer"], ["--policy", "observe"]];
    for policy in &policies {
        let run = place.get("server.test", true, policy).await.exits_with(0);
        assert_eq!(
            run.stdout, LIE,
            "the attack works against a server that is not known"
        );
    }
    place
        .get("server.test", false, &["--remember"])
        .await
        .exits_with(0);
    place.read.store(0, Ordering::Relaxed);
    for policy in &policies {
        let run = place.get("server.test", true, policy).await.exits_with(113);
        let forget = format!("hosts forget server.test:{}", place.port);
        let run = run.mentions(&["must be verified", "greets", &forget]);
        assert_eq!(run.stdout, "");
        // The same host in another spelling.
        place
            .get("SERVER.test.", true, policy)
            .await
            .exits_with(113);
        // The server itself is verified, whatever the policy says.
        let run = place.get("server.test", false, policy).await.exits_with(0);
        assert_eq!(run.stdout, PAGE);
    }
    assert_eq!(
        place.read.load(Ordering::Relaxed),
        0,
        "bytes that the attacker has read"
    );
    // Another host is as it was, and so is everything without known hosts.
    for (name, options) in [
        ("localhost", &["--policy", "prefer"][..]),
        ("server.test", &["--policy", "prefer", "--no-known-hosts"]),
    ] {
        let run = place.get(name, true, options).await.exits_with(0);
        assert_eq!(run.stdout, LIE);
    }
    let entry = format!("server.test:{}", place.port);
    place.hosts(&["forget", &entry]).await.exits_with(0);
    let run = place
        .get("server.test", true, &policies[0])
        .await
        .exits_with(0);
    assert_eq!(run.stdout, LIE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_not_verified_is_never_remembered() {
    let place = Place::new().await;
    let options = ["--policy", "prefer", "--remember"];
    place.get("server.test", true, &options).await.exits_with(0);
    let listed = place.hosts(&["list", "--json"]).await.exits_with(0);
    assert_eq!(listed.json().len(), 1);
    assert_eq!(listed.json()[0]["support"], "neither");
    assert_eq!(listed.json()[0]["origin"], "observed");
    let run = place.get("server.test", true, &["--remember"]).await;
    run.exits_with(112);
    // It does not protect an attacker: the next verified connection replaces it.
    place
        .get("server.test", false, &["--remember"])
        .await
        .exits_with(0);
    let listed = place.hosts(&["list", "--json"]).await.exits_with(0);
    assert_eq!(listed.json()[0]["support"], "greets");
    assert_eq!(listed.json()[0]["origin"], "user");
}

#[tokio::test(flavor = "multi_thread")]
async fn known_hosts_are_listed_shown_and_copied() {
    let place = Place::new().await;
    let host = format!("server.test:{}", place.port);
    let listed = place.hosts(&["list"]).await.exits_with(0);
    assert_eq!(
        listed.stdout.lines().count(),
        1,
        "the headings: {}",
        listed.stdout
    );
    place
        .get("server.test", false, &["--remember=30d"])
        .await
        .exits_with(0);
    let listed = place.hosts(&["list"]).await.exits_with(0);
    assert!(
        listed.stdout.contains(&format!("{host}  greets")),
        "{}",
        listed.stdout
    );
    let line = &place.hosts(&["list", "--json"]).await.exits_with(0).json()[0];
    let [recorded, expires] = ["recorded", "expires"].map(|key| line[key].as_u64().unwrap());
    assert_eq!(expires - recorded, 30 * 24 * 3600);
    let key = line["keys"][0].as_str().unwrap();
    let shown = place.hosts(&["show", &host]).await.exits_with(0);
    assert!(shown.stdout.contains(key), "{}", shown.stdout);
    let exported = place.hosts(&["export"]).await.exits_with(0).stdout;
    let copy = place.lab.path("copy.json");
    std::fs::write(&copy, &exported).expect("to write");
    place.hosts(&["forget", &host]).await.exits_with(0);
    place.hosts(&["import", &copy]).await.exits_with(0);
    assert_eq!(place.hosts(&["export"]).await.stdout, exported);
    for (words, status) in [
        (&["show", "other.test"][..], 2),
        (&["forget", "other.test"], 2),
        (&["import", "/dev/null"], 113),
        (&["import", "/nowhere"], 2),
    ] {
        place.hosts(words).await.exits_with(status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_import_shows_no_secret_and_controls_no_terminal() {
    let place = Place::new().await;
    let file = place.lab.path("import");
    let secret = "MC4CAQAwBQYDK2VwBCIEIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g";
    let entry = r#"{"host":"a.test:1","entry":{"support":"greets"}}"#;
    for text in [
        format!("\"{secret}\""),
        format!(r#"{{"version":1,"hosts":[],"{secret}":1}}"#),
        format!(
            r#"{{"version":1,"hosts":[{}]}}"#,
            entry.replace("greets", secret)
        ),
        r#"{"version":1,"hosts":[],"\u001b[31mred\u009b1m":1}"#.to_owned(),
    ] {
        std::fs::write(&file, &text).expect("to write");
        let run = place.hosts(&["import", &file]).await.exits_with(113);
        let run = run.mentions(&[&file, "the imported text", "line 1"]);
        assert!(!run.stderr.contains(&secret[40..]), "{}", run.stderr);
        let controls = |c: char| c.is_control() && c != '\n';
        assert!(!run.stderr.contains(controls), "{:?}", run.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn known_hosts_that_are_no_regular_file_are_refused_without_waiting() {
    let place = Place::new().await;
    let fifo = place.lab.path("fifo");
    let made = tokio::process::Command::new("mkfifo")
        .arg(&fifo)
        .status()
        .await;
    assert!(made.expect("mkfifo").success());
    let typed = ["hosts", "list", "--known-hosts", &fifo];
    let run = place.lab.run(typed).await.exits_with(113);
    run.mentions(&["regular file"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn known_hosts_that_cannot_be_used_are_113_before_anything_is_sent() {
    let place = Place::new().await;
    place
        .get("server.test", false, &["--remember"])
        .await
        .exits_with(0);
    place.read.store(0, Ordering::Relaxed);
    let file = place.file();
    let good = std::fs::read_to_string(&file).expect("the file");
    let damages: [(&str, &dyn Fn()); 3] = [
        ("damaged", &|| {
            std::fs::write(&file, &good[..good.len() / 2]).expect("to write")
        }),
        ("damaged", &|| {
            std::fs::write(&file, good.replace("greets", "none")).expect("to write")
        }),
        ("chmod go-w", &|| {
            std::fs::write(&file, &good).expect("to write");
            let all = std::fs::Permissions::from_mode(0o666);
            std::fs::set_permissions(&file, all).expect("permissions");
        }),
    ];
    for (words, damage) in damages {
        damage();
        for policy in ["require", "prefer", "observe"] {
            let run = place.get("server.test", true, &["--policy", policy]).await;
            run.exits_with(113)
                .mentions(&[words, &file, "--known-hosts FILE"]);
        }
        place
            .hosts(&["list"])
            .await
            .exits_with(113)
            .mentions(&[words]);
    }
    assert_eq!(
        place.read.load(Ordering::Relaxed),
        0,
        "bytes that the attacker has read"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_cannot_be_remembered_are_reported() {
    let place = Place::new().await;
    // A file is where the directory should be.
    std::fs::write(place.lab.path("state"), "").expect("to write");
    let url = format!("https://server.test:{}/", place.port);
    let resolve = format!("server.test:{}:127.0.0.1", place.port);
    let (ca, file) = (place.lab.ca(), place.lab.path("state/hosts.json"));
    let typed = [
        "get",
        "--cacert",
        &ca,
        "--resolve",
        &resolve,
        "--remember",
        &url,
    ];
    let run = place
        .lab
        .run([&typed[..], &["--known-hosts", &file]].concat())
        .await;
    // It is no store, so nothing is known of any host.
    run.exits_with(113).mentions(&["cannot be read"]);
    let typed = ["get", "--remember", "--no-known-hosts", &url];
    place.lab.run(typed).await.exits_with(2);
    let without_home = place.lab.run(["get", "--remember", &url]).await;
    without_home
        .exits_with(2)
        .mentions(&["--known-hosts", "HOME"]);
}

/// A TLS server that counts its connections, and speaks no side protocol.
async fn counting(lab: &mut Lab) -> (SocketAddr, Arc<AtomicUsize>) {
    let (tls, _) = lab.plain_tls(Whose::Server, PAGE).await;
    lab.counting_relay(tls, false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_support_is_tried_once_under_prefer_and_always_under_require() {
    let mut lab = Lab::new();
    let (server, count) = counting(&mut lab).await;
    let (url, file) = (format!("https://{server}/"), lab.path("hosts.json"));
    let known = ["--known-hosts", &file];
    let connections = async |words: &[&str], status: i32| {
        count.store(0, Ordering::Relaxed);
        let typed = [words, &known, &[&url]].concat();
        let run = match words[0] {
            "check" => lab.check(&typed[1..]).await,
            _ => lab.get(&typed).await,
        };
        (run.exits_with(status), count.load(Ordering::Relaxed))
    };
    let prefer = ["--policy", "prefer"];
    assert_eq!(connections(&prefer, 0).await.1, 2);
    let (run, second) = connections(&[&prefer[..], &["-v"]].concat(), 0).await;
    assert_eq!(second, 1, "no side connection");
    run.mentions(&["UNVERIFIED", "a short time ago"]);
    // Another side path may lead elsewhere, and `require` and `check` rely on nothing.
    let other = [&prefer[..], &["--side", "src:127.0.0.3"]].concat();
    assert_eq!(connections(&other, 0).await.1, 2);
    assert_eq!(connections(&["--policy", "require"], 112).await.1, 2);
    let checked = connections(&["check", "--policy", "prefer"], 0).await;
    assert_eq!(checked.1, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_raw_key_of_a_known_server_is_113_until_it_is_accepted() {
    let mut lab = Lab::new();
    let first = lab.smkex_site().await;
    let port = first.port();
    let bind = async |ip: &str| TcpListener::bind((ip, port)).await.expect("a port");
    let listener = bind("127.0.0.2").await;
    // The server after a restart. An attacker on all paths looks the same: SMKEX alone does not
    // detect them.
    lab.smkex_site_on(listener);
    let file = lab.path("hosts.json");
    let get = async |ip: &str, options: &[&str]| {
        let resolve = format!("device.test:{port}:{ip}");
        let url = format!("https://device.test:{port}/");
        let typed = [
            "get",
            "--smkex",
            "--known-hosts",
            &file,
            "--resolve",
            &resolve,
            &url,
        ];
        lab.run([&typed[..], options].concat()).await
    };
    get("127.0.0.1", &["--remember"]).await.exits_with(0);
    get("127.0.0.1", &[]).await.exits_with(0);
    let run = get("127.0.0.2", &[]).await.exits_with(113);
    assert_eq!(run.stdout, "");
    run.mentions(&["another raw public key", "--accept-new-key", "hosts forget"]);
    let target = format!("device.test:{port}");
    let resolve = format!("{target}:127.0.0.2");
    let typed = ["check", "--smkex", "--json", "--known-hosts", &file];
    let typed = [&typed[..], &["--resolve", &resolve, &target]].concat();
    let line = &lab.run(typed).await.exits_with(113).json()[0];
    assert_eq!(line["verdict"], "error", "refused, although it is verified");
    assert_eq!(line["reason"], "known-key-changed");
    // Nor does remembering it again accept it.
    get("127.0.0.2", &["--remember"]).await.exits_with(113);
    get("127.0.0.2", &["--accept-new-key"]).await.exits_with(0);
    get("127.0.0.2", &[]).await.exits_with(0);
    get("127.0.0.1", &[]).await.exits_with(113);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remembered_key_is_pinned_and_not_verified_where_the_side_path_is_down() {
    let mut lab = Lab::new();
    let site = lab.smkex_site().await;
    let port = site.port();
    let other = TcpListener::bind(("127.0.0.2", port))
        .await
        .expect("a port");
    lab.smkex_site_on(other);
    let file = lab.path("hosts.json");
    let down = format!("http://{}", closed_port().await);
    let check = async |ip: &str, options: &[&str]| {
        let resolve = format!("device.test:{port}:{ip}");
        let target = format!("device.test:{port}");
        let known = ["--known-hosts", &file, "--resolve", &resolve, &target];
        lab.run([&["check", "--smkex"], &known[..], options].concat())
            .await
    };
    let allowed = ["--allow-pinned", "--side", &down, "--json"];
    check("127.0.0.1", &allowed).await.exits_with(111);
    check("127.0.0.1", &["--remember"]).await.exits_with(0);
    check("127.0.0.1", &["--side", &down]).await.exits_with(111);
    let run = check("127.0.0.1", &allowed).await.exits_with(0);
    let line = &run.json()[0];
    assert_eq!(line["verdict"], "pinned");
    assert_eq!(line["reason"], "side-unreachable");
    assert_eq!(line["binding"], serde_json::Value::Null);
    run.mentions(&["not verified"]);
    // An attacker shows another key.
    check("127.0.0.2", &allowed).await.exits_with(113);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remembered_certificate_key_is_pinned_too() {
    let place = Place::new().await;
    let down = format!("http://{}", closed_port().await);
    let options = ["--side", &down, "--allow-pinned"];
    place
        .get("server.test", false, &options)
        .await
        .exits_with(111);
    place
        .get("server.test", false, &["--remember"])
        .await
        .exits_with(0);
    let run = place
        .get("server.test", false, &options)
        .await
        .exits_with(0);
    assert_eq!(run.stdout, PAGE);
    // Not the attacker's, whose certificate is trusted.
    let run = place
        .get("server.test", true, &options)
        .await
        .exits_with(111);
    assert_eq!(run.stdout, "");
}

/// A response with this field, over a verified connection.
fn response(value: &str) -> &'static [u8] {
    let text = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nMultipath-TLS: {value}\r\nConnection: close\r\n\r\nok"
    );
    text.leak().as_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_remembered_at_its_request_and_forgotten() {
    let mut lab = Lab::new();
    let file = lab.path("hosts.json");
    let side = "side.test:9443";
    let value = format!("max-age=600;side-endpoint=\"{side}\"");
    let site = lab.raw_site(response(&value)).await;
    let known = ["--known-hosts", &file];
    let list = async |lab: &Lab| {
        let run = lab
            .run([&["hosts", "list", "--json"], &known[..]].concat())
            .await;
        run.exits_with(0).json()
    };
    let url = format!("https://{site}/");
    lab.get(&[&known[..], &[&url]].concat()).await.exits_with(0);
    let listed = list(&lab).await;
    assert_eq!(listed[0]["host"], site.to_string());
    assert_eq!(listed[0]["support"], "greets");
    assert_eq!(listed[0]["origin"], "field");
    assert_eq!(listed[0]["side_endpoint"], side);
    // The next connection uses that side verifier, which does not exist.
    let run = lab
        .get(&[&known[..], &["--policy", "prefer", &url]].concat())
        .await;
    run.exits_with(113).mentions(&[side]);
    lab.run([&["hosts", "forget", &site.to_string()], &known[..]].concat())
        .await
        .exits_with(0);
    let leaving = lab.raw_site(response("max-age=600, max-age=0")).await;
    let url = format!("https://{leaving}/");
    lab.get(&[&known[..], &[&url]].concat()).await.exits_with(0);
    assert_eq!(list(&lab).await.len(), 0);
    let broken = lab.raw_site(response("max-age=tomorrow")).await;
    let url = format!("https://{broken}/");
    let run = lab.get(&[&known[..], &[&url]].concat()).await.exits_with(0);
    run.mentions(&["the field Multipath-TLS is ignored"]);
    assert_eq!(list(&lab).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attackers_response_makes_and_removes_no_entry() {
    let mut lab = Lab::new();
    let file = lab.path("hosts.json");
    let acceptor = crate::lab::server_config(&lab.pki.rogue, &[b"http/1.1"]);
    let acceptor = tokio_rustls::TlsAcceptor::from(acceptor);
    for (value, policy) in [("max-age=600", "prefer"), ("max-age=600", "observe")] {
        let acceptor = acceptor.clone();
        let attacker = lab
            .listen(move |stream| {
                let acceptor = acceptor.clone();
                async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let _ = stream.read_u8().await;
                    let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, response(value)).await;
                    let _ = tokio::io::AsyncWriteExt::shutdown(&mut stream).await;
                }
            })
            .await;
        let (ca, url) = (lab.both_cas(), format!("https://{attacker}/"));
        let typed = [
            "get",
            "--cacert",
            &ca,
            "--policy",
            policy,
            "--known-hosts",
            &file,
            &url,
        ];
        let run = lab.run(typed).await.exits_with(0);
        assert_eq!(run.stdout, "ok", "the attack works");
        let listed = lab
            .run(["hosts", "list", "--json", "--known-hosts", &file])
            .await
            .json();
        assert!(
            listed.iter().all(|line| line["support"] == "neither"),
            "{listed:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_processes_lose_no_entry() {
    const PROCESSES: usize = 12;
    let mut lab = Lab::new();
    let mut sites = Vec::new();
    for _ in 0..PROCESSES {
        sites.push(lab.site().await.to_string());
    }
    let file = lab.path("state/hosts.json");
    let get = async |site: &String| {
        let url = format!("https://{site}/");
        let typed = ["--remember", "--known-hosts", &file, &url];
        lab.get(&typed).await.exits_with(0);
    };
    futures_util::future::join_all(sites.iter().map(get)).await;
    let run = lab
        .run(["hosts", "list", "--json", "--known-hosts", &file])
        .await;
    let mut known: Vec<_> = run
        .json()
        .iter()
        .map(|line| line["host"].as_str().unwrap().to_owned())
        .collect();
    known.sort_unstable();
    sites.sort_unstable();
    assert_eq!(known, sites);
}

/// Mounts a small file system, and leaves no space on it.
const FULL_DISK: &str = "\
mkdir -p \"$1\" && mount -t tmpfs -o size=8k tmpfs \"$1\" || exit 99
cp \"$2\" \"$1/hosts.json\" && chmod 600 \"$1/hosts.json\"
cat /dev/zero > \"$1/filler\" 2>/dev/null
shift 2; exec \"$@\"";

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_reported_and_changes_nothing() {
    let place = Place::new().await;
    place
        .get("server.test", false, &["--remember"])
        .await
        .exits_with(0);
    let (disk, file) = (place.lab.path("disk"), place.file());
    let full = format!("{disk}/hosts.json");
    let url = format!("https://localhost:{}/", place.port);
    let run = async |typed: &[&str]| {
        let mut command = tokio::process::Command::new("unshare");
        command.args(["-m", "sh", "-c", FULL_DISK, "sh", &disk, &file]);
        command.arg(env!("CARGO_BIN_EXE_mtls-client")).args(typed);
        Run::of(command).await
    };
    let ca = place.lab.ca();
    let typed = [
        "get",
        "--deadline",
        "30s",
        "--cacert",
        &ca,
        "--remember",
        "--known-hosts",
        &full,
        &url,
    ];
    let got = run(&typed).await;
    if [1, 99].contains(&got.code) {
        println!("skipped: no mount namespaces without root");
        return;
    }
    // It was verified; that it is not remembered is said.
    let got = got
        .exits_with(0)
        .mentions(&["cannot be written", "No space left", "localhost"]);
    assert_eq!(got.stdout, PAGE);
    let listed = run(&["hosts", "list", "--json", "--known-hosts", &full])
        .await
        .exits_with(0);
    assert_eq!(listed.json().len(), 1);
    let forget = [
        "hosts",
        "forget",
        "--known-hosts",
        &full,
        &format!("server.test:{}", place.port),
    ];
    run(&forget).await.exits_with(113);
    // The entry that is there still counts.
    let resolve = format!("server.test:{}:127.0.0.2", place.port);
    let url = format!("https://server.test:{}/", place.port);
    let (cas, prefer) = (place.lab.both_cas(), "prefer");
    let typed = [
        "get",
        "--deadline",
        "30s",
        "--cacert",
        &cas,
        "--policy",
        prefer,
        "--resolve",
        &resolve,
        "--known-hosts",
        &full,
        &url,
    ];
    run(&typed).await.exits_with(113);
}
