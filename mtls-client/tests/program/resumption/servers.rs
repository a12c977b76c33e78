//! Servers that know nothing of multipath TLS, in their default configurations.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::lab::{Lab, closed_port, has, has_with};

/// No server takes this long to start.
const START: Duration = Duration::from_secs(30);

/// A server in processes of its own, which end with it.
pub(super) struct Server {
    process: Child,
    pub(super) address: SocketAddr,
}

impl Server {
    /// Runs a command until it listens.
    pub(super) async fn start(mut command: Command, address: SocketAddr) -> Self {
        // `s_server` ends with its standard input. Apache and sslsplit have children.
        command.process_group(0).stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("to run");
        let mut server = Self { process, address };
        let began = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            let ended = server.process.try_wait().expect("a process");
            assert!(ended.is_none(), "{command:?} has ended: {ended:?}");
            assert!(began.elapsed() < START, "{command:?} does not listen");
            sleep(Duration::from_millis(20)).await;
        }
        server
    }

    pub(super) fn target(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let group = self.process.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = group.and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// An address for a server.
pub(super) async fn free_address() -> SocketAddr {
    closed_port().await
}

impl Lab {
    pub(super) fn write(&self, name: &str, text: &str) -> String {
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
    pub(super) async fn nginx(&self, settings: &str) -> Option<Server> {
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

    pub(super) async fn apache(&self) -> Option<Server> {
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
    pub(super) async fn haproxy(&self, to: &[SocketAddr]) -> Option<Server> {
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

    pub(super) async fn lighttpd(&self) -> Option<Server> {
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

    pub(super) async fn gnutls(&self, options: &[&str]) -> Option<Server> {
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

    pub(super) async fn node(&self) -> Option<Server> {
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
    pub(super) async fn python(&self, statements: &str) -> Option<Server> {
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

    /// OpenSSL's test server, which serves one connection at a time.
    pub(super) async fn s_server(&self, options: &[&str]) -> Option<Server> {
        if !has("openssl") {
            return None;
        }
        let address = free_address().await;
        let pem = self.combined();
        let mut openssl = Command::new("openssl");
        openssl.args(["s_server", "-quiet", "-cert", &pem, "-key", &pem]);
        openssl
            .args(["-accept", &address.to_string()])
            .args(options);
        Some(Server::start(openssl, address).await)
    }

    pub(super) async fn caddy(&self) -> Option<Server> {
        if !has_with("caddy", "version") {
            return None;
        }
        let address = free_address().await;
        let (pem, dir) = (self.combined(), self.path("caddy"));
        let text = format!(
            "{{\nadmin off\nauto_https disable_redirects\n}}\nhttps://{address} {{\n\
             bind 127.0.0.1\ntls {pem} {pem}\nrespond \"caddy\"\n}}\n"
        );
        let file = self.write("Caddyfile", &text);
        let mut caddy = Command::new("caddy");
        caddy.args(["run", "--adapter", "caddyfile", "--config", &file]);
        caddy.env("HOME", &dir);
        Some(Server::start(caddy, address).await)
    }

    /// The server of Java's own library.
    pub(super) async fn java(&self) -> Option<Server> {
        if !has_with("javac", "-version") || !has("openssl") {
            return None;
        }
        let address = free_address().await;
        let (pem, store) = (self.combined(), self.path("store.p12"));
        let mut export = Command::new("openssl");
        export.args(["pkcs12", "-export", "-passout", "pass:secret", "-in", &pem]);
        let exported = export.args(["-out", &store]).status().await;
        assert!(exported.expect("to run").success());
        let source = self.write("Site.java", JAVA);
        let mut java = Command::new("java");
        java.args([&source, &store, &address.port().to_string()]);
        Some(Server::start(java, address).await)
    }
}

const JAVA: &str = r#"
import com.sun.net.httpserver.*;
import java.io.FileInputStream;
import java.net.InetSocketAddress;
import java.security.KeyStore;
import javax.net.ssl.*;

public class Site {
    public static void main(String[] arguments) throws Exception {
        char[] password = "secret".toCharArray();
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(new FileInputStream(arguments[0]), password);
        KeyManagerFactory keys = KeyManagerFactory.getInstance("SunX509");
        keys.init(store, password);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), null, null);
        int port = Integer.parseInt(arguments[1]);
        HttpsServer server = HttpsServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        server.setHttpsConfigurator(new HttpsConfigurator(context));
        server.createContext("/", exchange -> {
            exchange.sendResponseHeaders(204, -1);
            exchange.close();
        });
        server.setExecutor(java.util.concurrent.Executors.newCachedThreadPool());
        server.start();
    }
}
"#;
