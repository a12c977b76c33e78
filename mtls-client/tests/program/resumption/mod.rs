//! Servers that know nothing of multipath TLS, in their default configurations, verified by
//! resumption. Those that are not installed are skipped by name.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::lab::{Lab, Run, has_with};

/// No server takes this long to start.
const START: Duration = Duration::from_secs(30);

/// The side path of all tests here: another source address.
const SIDE: &str = "src:127.0.0.2";

/// A server in a process of its own, which ends with it.
struct Server {
    _process: Child,
    address: SocketAddr,
}

impl Server {
    /// Runs a command until it listens.
    async fn start(mut command: Command, address: SocketAddr) -> Self {
        command.kill_on_drop(true).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = command.spawn().expect("to run");
        let began = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            let ended = process.try_wait().expect("a process");
            assert!(ended.is_none(), "{command:?} has ended: {ended:?}");
            assert!(began.elapsed() < START, "{command:?} does not listen");
            sleep(Duration::from_millis(20)).await;
        }
        Self {
            _process: process,
            address,
        }
    }

    fn target(&self) -> String {
        self.address.to_string()
    }
}

async fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("a port");
    listener.local_addr().expect("an address")
}

impl Lab {
    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).expect("to write");
        path
    }

    /// The chain and the key of the server in one file.
    fn combined(&self) -> String {
        let server = &self.pki.server;
        self.write(
            "combined.pem",
            &format!("{}{}", server.chain_pem(), server.key_pem()),
        )
    }

    /// nginx with `settings` in its `http` block. Debian's configuration turns TLS 1.3 on.
    async fn nginx(&self, settings: &str) -> Option<Server> {
        if !has_with("nginx", "-v") {
            return None;
        }
        let address = free_address().await;
        let pem = self.combined();
        let dir = self.path(&format!("nginx-{}", address.port()));
        std::fs::create_dir(&dir).expect("a directory");
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {dir};\n"))
            .concat();
        let text = format!(
            "daemon off;\nmaster_process off;\npid {dir}/pid;\nerror_log {dir}/error.log;\n\
             events {{}}\nhttp {{\naccess_log off;\n{temporary}{settings}\nserver {{\n\
             ssl_protocols TLSv1.2 TLSv1.3;\nlisten {address} ssl;\nssl_certificate {pem};\n\
             ssl_certificate_key {pem};\nlocation / {{ return 200 \"nginx\\n\"; }}\n}}\n}}\n"
        );
        let file = self.write(&format!("nginx-{}.conf", address.port()), &text);
        let mut nginx = Command::new("nginx");
        nginx.args(["-e", &format!("{dir}/error.log"), "-c", &file]);
        Some(Server::start(nginx, address).await)
    }

    async fn apache(&self) -> Option<Server> {
        if !has_with("apache2", "-v") {
            return None;
        }
        let address = free_address().await;
        let (pem, modules) = (self.combined(), "/usr/lib/apache2/modules");
        let dir = self.path("apache");
        std::fs::create_dir(&dir).expect("a directory");
        let text = format!(
            "ServerName localhost\nServerRoot {dir}\nDefaultRuntimeDir {dir}\nPidFile {dir}/pid\n\
             ErrorLog {dir}/error.log\nListen {address}\nDocumentRoot {dir}\n\
             LoadModule mpm_event_module {modules}/mod_mpm_event.so\n\
             LoadModule authz_core_module {modules}/mod_authz_core.so\n\
             LoadModule ssl_module {modules}/mod_ssl.so\n\
             SSLEngine on\nSSLCertificateFile {pem}\n"
        );
        let file = self.write("apache.conf", &text);
        let mut apache = Command::new("apache2");
        apache.args(["-D", "FOREGROUND", "-f", &file]);
        Some(Server::start(apache, address).await)
    }

    /// HAProxy that terminates TLS, or passes `to` these servers by the source of the connection.
    async fn haproxy(&self, to: &[SocketAddr]) -> Option<Server> {
        if !has_with("haproxy", "-v") {
            return None;
        }
        let address = free_address().await;
        let pem = self.combined();
        let timeouts = "timeout connect 5s\ntimeout client 30s\ntimeout server 30s\n";
        // The source 127.0.0.1 gets the first one, 127.0.0.2 the second, and so on.
        let by_source = |(n, at): (usize, &SocketAddr)| {
            let source = n + 1;
            format!("server s{n} {at}\nuse-server s{n} if {{ src 127.0.0.{source} }}\n")
        };
        let servers: String = to.iter().enumerate().map(by_source).collect();
        let text = match to {
            [] => format!(
                "defaults\nmode http\n{timeouts}frontend f\nbind {address} ssl crt {pem}\n\
                 http-request return status 200\n"
            ),
            _ => format!("defaults\nmode tcp\n{timeouts}listen f\nbind {address}\n{servers}"),
        };
        let file = self.write(&format!("haproxy-{}.cfg", address.port()), &text);
        let mut haproxy = Command::new("haproxy");
        haproxy.args(["-db", "-f", &file]);
        Some(Server::start(haproxy, address).await)
    }

    async fn lighttpd(&self) -> Option<Server> {
        const TLS: &str = "/usr/lib/lighttpd/mod_openssl.so";
        if !has_with("lighttpd", "-v") || !std::fs::exists(TLS).expect("a file system") {
            println!("skipped: `lighttpd` needs {TLS}");
            return None;
        }
        let address = free_address().await;
        let pem = self.combined();
        let dir = self.path("lighttpd");
        std::fs::create_dir(&dir).expect("a directory");
        let (host, port) = (address.ip(), address.port());
        let text = format!(
            "server.document-root = \"{dir}\"\nserver.bind = \"{host}\"\nserver.port = {port}\n\
             server.modules = (\"mod_openssl\")\nssl.engine = \"enable\"\nssl.pemfile = \"{pem}\"\n"
        );
        let file = self.write("lighttpd.conf", &text);
        let mut lighttpd = Command::new("lighttpd");
        lighttpd.args(["-D", "-f", &file]);
        Some(Server::start(lighttpd, address).await)
    }

    async fn gnutls(&self, options: &[&str]) -> Option<Server> {
        if !has_with("gnutls-serv", "--version") {
            return None;
        }
        let address = free_address().await;
        let pem = self.combined();
        let mut gnutls = Command::new("gnutls-serv");
        gnutls.args(["--http", "--x509certfile", &pem, "--x509keyfile", &pem]);
        gnutls
            .args(["-p", &address.port().to_string()])
            .args(options);
        Some(Server::start(gnutls, address).await)
    }

    async fn node(&self) -> Option<Server> {
        if !has_with("node", "--version") {
            return None;
        }
        let address = free_address().await;
        let pem = self.combined();
        let script = format!(
            "const fs = require('fs'); const pem = fs.readFileSync('{pem}');\
             require('https').createServer({{ cert: pem, key: pem }}, (_, response) =>\
             response.end('node\\n')).listen({}, '127.0.0.1');",
            address.port()
        );
        let mut node = Command::new("node");
        node.args(["-e", &script]);
        Some(Server::start(node, address).await)
    }

    /// Python's server, whose OpenSSL is set up by these statements on `context`. They stand for
    /// the options of `openssl s_server`, which serves one connection at a time.
    async fn python(&self, statements: &str) -> Option<Server> {
        if !has_with("python3", "--version") {
            return None;
        }
        let address = free_address().await;
        let pem = self.combined();
        let script = format!(
            "import http.server, ssl\n\
             class Handler(http.server.BaseHTTPRequestHandler):\n    \
                 def do_GET(self):\n        \
                     self.send_response(200); self.end_headers(); self.wfile.write(b'python')\n\
             class Server(http.server.ThreadingHTTPServer):\n    \
                 def finish_request(self, request, address):\n        \
                     super().finish_request(context.wrap_socket(request, server_side=True), address)\n\
             context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n\
             context.load_cert_chain('{pem}')\n{statements}\n\
             Server(('127.0.0.1', {}), Handler).serve_forever()\n",
            address.port()
        );
        let mut python = Command::new("python3");
        python.args(["-c", &script]);
        Some(Server::start(python, address).await)
    }

    async fn by_resumption(&self, server: &Server, options: &[&str]) -> Run {
        let target = server.target();
        let shared = [
            "--method",
            "resumption",
            "--side",
            SIDE,
            "--deadline",
            "20s",
            "--json",
        ];
        self.check(&[&shared, options, &[target.as_str()]].concat())
            .await
    }

    async fn is_verified(&self, server: Option<Server>) {
        let Some(server) = server else {
            return;
        };
        let run = self.by_resumption(&server, &[]).await.exits_with(0);
        let [verdict] = &run.json()[..] else {
            panic!("expected one verdict:\n{}", run.stdout);
        };
        assert_eq!(verdict["verdict"], "verified");
        assert_eq!(verdict["method"], "resumption");
        assert_eq!(verdict["proves"], "same-ticket-domain");
    }

    /// Without tickets that can be resumed, the keys are the same, and `prefer` continues.
    async fn is_unsupported(&self, server: Option<Server>) {
        let Some(server) = server else {
            return;
        };
        let run = self.by_resumption(&server, &[]).await.exits_with(112);
        let verdict = &run.json()[0];
        assert_eq!(verdict["reason"], "unsupported");
        assert_eq!(verdict["paths"][1]["same_key"], true);
        self.by_resumption(&server, &["--policy", "prefer"])
            .await
            .exits_with(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_is_verified_by_resumption() {
    let lab = Lab::new();
    lab.is_verified(lab.nginx("").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_without_tickets_and_cache_hands_out_tickets_that_never_resume() {
    let lab = Lab::new();
    lab.is_unsupported(lab.nginx("ssl_session_tickets off;").await)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_without_tickets_and_with_a_cache_is_verified_by_resumption() {
    let lab = Lab::new();
    let settings = "ssl_session_tickets off;\nssl_session_cache shared:all:1m;";
    lab.is_verified(lab.nginx(settings).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apache_is_verified_by_resumption() {
    let lab = Lab::new();
    lab.is_verified(lab.apache().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_is_verified_by_resumption() {
    let lab = Lab::new();
    lab.is_verified(lab.haproxy(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lighttpd_is_verified_by_resumption() {
    let lab = Lab::new();
    lab.is_verified(lab.lighttpd().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_is_verified_by_resumption() {
    let lab = Lab::new();
    lab.is_verified(lab.node().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gnutls_is_verified_by_resumption_unless_it_has_no_tickets() {
    let lab = Lab::new();
    lab.is_verified(lab.gnutls(&[]).await).await;
    lab.is_unsupported(lab.gnutls(&["--noticket"]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_is_verified_by_resumption_with_tickets_of_both_kinds() {
    let lab = Lab::new();
    for statements in [
        "",
        "context.num_tickets = 1",
        "context.options |= ssl.OP_NO_TICKET",
    ] {
        lab.is_verified(lab.python(statements).await).await;
    }
    lab.is_unsupported(lab.python("context.num_tickets = 0").await)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_tls_12_alone_is_unsupported() {
    let lab = Lab::new();
    let tls12 = "context.maximum_version = ssl.TLSVersion.TLSv1_2";
    lab.is_unsupported(lab.python(tls12).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_automatic_method_gets_a_page_of_a_server_that_does_not_greet() {
    let lab = Lab::new();
    let Some(nginx) = lab.nginx("").await else {
        return;
    };
    let url = format!("https://{}/", nginx.target());
    let run = lab
        .get(&[
            "--method",
            "auto",
            "--side",
            SIDE,
            "--deadline",
            "20s",
            "-w",
            "%{verdict} %{verification_method}",
            &url,
        ])
        .await
        .exits_with(0);
    assert_eq!(run.stdout, "nginx\nverified resumption");
    let run = lab.get(&["--side", SIDE, "--deadline", "20s", &url]).await;
    run.exits_with(112).mentions(&["--method auto"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_by_source_without_a_common_ticket_key_is_a_suspicion_and_no_interception() {
    let lab = Lab::new();
    let (Some(one), Some(two)) = (lab.nginx("").await, lab.nginx("").await) else {
        return;
    };
    let Some(balancer) = lab.haproxy(&[one.address, two.address]).await else {
        return;
    };
    let evidence = lab.path("evidence");
    let run = lab
        .by_resumption(&balancer, &["--evidence-dir", &evidence])
        .await;
    let run = run.exits_with(115);
    assert_eq!(run.json()[0]["reason"], "split");
    let report: Vec<_> = run.stderr.split_whitespace().collect();
    let report = report.join(" ");
    for words in [
        "SUSPICION",
        "no proof of an interception",
        "received over the side path",
    ] {
        assert!(report.contains(words), "{words}: {report}");
    }
    let mut files: Vec<_> = std::fs::read_dir(&evidence)
        .expect("a directory")
        .map(|file| {
            file.expect("a file")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    files.sort();
    let [json, pem, side] = &files[..] else {
        panic!("expected three files: {files:?}");
    };
    assert!(
        json.starts_with("suspicion-") && json.ends_with(".json"),
        "{json}"
    );
    assert!(
        pem.ends_with(".pem") && side.ends_with(".side.pem"),
        "{files:?}"
    );
    let observed = lab.by_resumption(&balancer, &["--policy", "observe"]).await;
    observed.exits_with(115);
}

#[tokio::test(flavor = "multi_thread")]
async fn back_ends_with_a_common_ticket_key_are_verified_by_resumption() {
    let lab = Lab::new();
    let key: Vec<u8> = (0..80).collect();
    std::fs::write(lab.path("ticket.key"), key).expect("to write");
    let settings = format!("ssl_session_ticket_key {};", lab.path("ticket.key"));
    let (Some(one), Some(two)) = (lab.nginx(&settings).await, lab.nginx(&settings).await) else {
        return;
    };
    let Some(balancer) = lab.haproxy(&[one.address, two.address]).await else {
        return;
    };
    lab.is_verified(Some(balancer)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_targets_name_the_weaker_method_in_their_rows() {
    let lab = Lab::new();
    let (Some(one), Some(two)) = (lab.nginx("").await, lab.nginx("").await) else {
        return;
    };
    let options = [
        "--method",
        "resumption",
        "--side",
        SIDE,
        "--deadline",
        "20s",
    ];
    let targets = [one.target(), two.target()];
    let run = lab
        .check(&[&options[..], &[&targets[0], &targets[1]]].concat())
        .await;
    let run = run.exits_with(0);
    assert_eq!(
        run.stdout.matches("resumption (weaker)").count(),
        2,
        "{}",
        run.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn smkex_cannot_be_verified_by_resumption() {
    let lab = Lab::new();
    let run = lab
        .run(["check", "--smkex", "--method", "auto", "localhost"])
        .await;
    run.exits_with(2).mentions(&["--smkex", "--method"]);
}
