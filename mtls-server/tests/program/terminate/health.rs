//! The health of the target on the status page.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::Value;

use crate::common::{Running, Site, tool};
use crate::terminate::backend::Backend;

/// A page of the status server: its HTTP status, and its body; `None` without curl.
fn page(address: SocketAddr, path: &str) -> Option<(String, String)> {
    let url = format!("http://{address}{path}");
    let arguments = ["-q", "-s", "--noproxy", "*", "-w", "\n%{http_code}", &url];
    let output = String::from_utf8(tool("curl", &arguments, "")?.stdout).expect("text");
    let (body, status) = output.rsplit_once('\n').expect("a status");
    Some((status.to_owned(), body.to_owned()))
}

fn target_of(status: &str) -> Value {
    let status: Value = serde_json::from_str(status).expect("JSON");
    status["backend"]["health"].clone()
}

/// `terminate` with a status page, and where that is.
fn terminate(site: &Site, target: &str) -> (Running, SocketAddr) {
    let options = ["--status", "127.0.0.1:0", "--health-interval", "100ms"];
    let server = site.terminate(target, &options);
    let status = server.status_address();
    (server, status)
}

#[test]
fn a_target_that_is_down_makes_the_server_not_ready_until_it_is_back() {
    let site = Site::new();
    let path: PathBuf = site.root.path().join("app.sock");
    let (mut server, at) = terminate(&site, &format!("unix:{}", path.display()));
    // No client asks for anything.
    let line = server.wait_for("cannot be reached");
    assert!(line.contains("app.sock"), "{line}");
    let Some(ready) = page(at, "/readyz") else {
        return;
    };
    assert_eq!(ready, ("503".into(), "target-down\n".into()));
    let (_, status) = page(at, "/status").expect("curl");
    let target = target_of(&status);
    assert_eq!(target["up"], false, "{status}");
    assert!(target["error"].is_string(), "{status}");
    let (_, metrics) = page(at, "/metrics").expect("curl");
    assert!(metrics.contains("multipath_tls_target_up 0.0"), "{metrics}");

    let _backend = Backend::unix(path);
    server.wait_for("takes connections again");
    assert_eq!(page(at, "/readyz"), Some(("200".into(), "ready\n".into())));
    let (_, status) = page(at, "/status").expect("curl");
    assert_eq!(target_of(&status)["up"], true, "{status}");
    let (_, metrics) = page(at, "/metrics").expect("curl");
    assert!(metrics.contains("multipath_tls_target_up 1.0"), "{metrics}");
}

#[test]
fn an_https_target_with_a_certificate_of_another_authority_is_down() {
    let site = Site::new();
    let backend = Backend::tls(&site.pki.server);
    let (mut server, at) = {
        let ca = site.pem("rogue-ca.pem").display().to_string();
        let options = ["--status", "127.0.0.1:0", "--target-ca", &ca];
        let server = site.terminate(&backend.url, &options);
        let status = server.status_address();
        (server, status)
    };
    server.wait_for("cannot be reached");
    let Some((status, _)) = page(at, "/readyz") else {
        return;
    };
    assert_eq!(status, "503");
}
