//! Unmodified servers behind it, and clients of every kind in front.

use mtls_core::Policy;
use mtls_core::proto::binding::Binding;
use tokio::task::spawn_blocking;

use crate::common::{REQUIRE, Site, get, patient, text, tool};
use crate::passthrough::world::*;

const VERSIONS: [(&str, &str); 2] = [("--http1.1", "1.1"), ("--http2", "2")];

#[tokio::test(flavor = "multi_thread")]
async fn plain_curl_reaches_nginx_by_both_versions_of_http() {
    let site = Site::new();
    let Some(nginx) = nginx(&site, "", "").await else {
        return;
    };
    let through = passthrough(nginx.address, &[]);
    for (option, version) in VERSIONS {
        let page = url(through.address, "/index.html");
        let arguments = [option, "-w", " %{http_version}", page.as_str()];
        let Some(output) = curl(&site, through.address, &arguments).await else {
            return;
        };
        let expected = format!("<p>the index {version}");
        assert_eq!(text(&output.stdout), expected, "{}", text(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn library_client_is_verified_by_the_hello_binding() {
    let site = Site::new();
    let Some(nginx) = nginx(&site, "", "").await else {
        return;
    };
    let through = passthrough(nginx.address, &REQUIRE);
    let mut stream = site.connect(through.address).await;
    assert_eq!(stream.verdict().binding(), Some(Binding::Hello));
    let answer = get(&mut stream, "/index.html").await;
    assert!(answer.ends_with("<p>the index"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn side_connections_are_answered_on_a_listener_of_their_own() {
    let site = Site::new();
    let Some(nginx) = nginx(&site, "", "").await else {
        return;
    };
    let options = ["--policy", "require", "--side-listen", "127.0.0.2:0"];
    let mut through = passthrough(nginx.address, &options);
    let side = through.next_side_address();
    let connector = mtls_core::MultipathConnector::builder(
        site.client_config(),
        patient(Policy::Require)
            .side(mtls_core::path::Path::system())
            .side_endpoint(side.into()),
    )
    .build()
    .expect("a connector");
    let stream = connector.connect(&through.address.into()).await;
    let verdict = stream.expect("a verified stream").verdict();
    assert_eq!(verdict.binding(), Some(Binding::Hello));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_requires_the_exporter_binding_gets_no_binding() {
    let site = Site::new();
    let Some(nginx) = nginx(&site, "", "").await else {
        return;
    };
    let through = passthrough(nginx.address, &[]);
    let error = refusal(&exporter_connector(&site), through.address).await;
    let message = error.to_string();
    assert!(message.contains("none of the bindings"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_through_both_relays_is_verified_in_front_of_nginx() {
    let site = Site::new();
    let Some(nginx) = nginx(&site, "", "").await else {
        return;
    };
    let through = passthrough(nginx.address, &REQUIRE);
    let mut proxy = local_proxy(through.address).await;
    for (option, version) in VERSIONS {
        let page = url(proxy.address, "/index.html");
        let arguments = [option, "-w", " %{http_version}", page.as_str()];
        let Some(output) = curl(&site, proxy.address, &arguments).await else {
            return;
        };
        let expected = format!("<p>the index {version}");
        assert_eq!(text(&output.stdout), expected, "{}", text(&output.stderr));
        let report = proxy.reports.recv().await.expect("a tunnel");
        let verdict = report.verdict.expect("a verdict");
        assert_eq!(verdict.binding(), Some(Binding::Hello));
        assert!(verdict.verified().is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_gets_the_address_of_the_client() {
    let site = Site::new();
    let Some(haproxy) = haproxy(&site, "accept-proxy").await else {
        return;
    };
    let through = passthrough(haproxy.address, &["--send-proxy"]);
    for (option, version) in [("--http1.1", "HTTP/1.1"), ("--http2", "HTTP/2.0")] {
        let page = url(through.address, "/");
        let arguments = [
            option,
            "--interface",
            "127.0.0.9",
            "-w",
            " %{local_port}",
            &page,
        ];
        let Some(output) = curl(&site, through.address, &arguments).await else {
            return;
        };
        let answer = text(&output.stdout);
        let (body, port) = answer.rsplit_once(' ').expect("an answer");
        let expected = format!("haproxy sees 127.0.0.9:{port} by {version}");
        assert_eq!(body, expected, "{}", text(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_gets_the_address_of_the_client() {
    let site = Site::new();
    let extra = "location /who { return 200 \"$proxy_protocol_addr:$proxy_protocol_port\"; }";
    let Some(nginx) = nginx(&site, "proxy_protocol", extra).await else {
        return;
    };
    let through = passthrough(nginx.address, &["--send-proxy"]);
    let page = url(through.address, "/who");
    let arguments = ["--interface", "127.0.0.8", "-w", " %{local_port}", &page];
    let Some(output) = curl(&site, through.address, &arguments).await else {
        return;
    };
    let answer = text(&output.stdout);
    let (body, port) = answer.rsplit_once(' ').expect("an answer");
    assert_eq!(
        body,
        format!("127.0.0.8:{port}"),
        "{}",
        text(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn second_hello_of_openssl_passes_under_require() {
    let site = Site::new();
    let Some(server) = s_server(&site, &["-groups", "P-256"]).await else {
        return;
    };
    let through = passthrough(server.address, &REQUIRE);
    let mut proxy = local_proxy(through.address).await;
    let (at, ca) = (proxy.address.to_string(), site.pem("ca.pem"));
    let run = spawn_blocking(move || {
        let ca = ca.display().to_string();
        // The first group is the one of the first hello's key share.
        let arguments = [
            "s_client",
            "-connect",
            &at,
            "-groups",
            "X25519:P-256",
            "-CAfile",
            &ca,
            "-verify_return_error",
            "-verify_hostname",
            "localhost",
            "-servername",
            "localhost",
            "-msg",
            "-ign_eof",
            "-no_ssl3",
        ];
        tool("openssl", &arguments, "abc\nCLOSE\n")
    });
    let Some(output) = run.await.expect("to run") else {
        return;
    };
    let log = text(&output.stdout);
    assert_eq!(log.matches(", ClientHello").count(), 2, "{log}");
    assert!(log.contains("cba"), "{log} {}", text(&output.stderr));
    let report = proxy.reports.recv().await.expect("a tunnel");
    let verdict = report.verdict.expect("a verdict");
    assert_eq!(verdict.binding(), Some(Binding::Hello));
}

#[tokio::test(flavor = "multi_thread")]
async fn policy_require_refuses_plain_clients_without_an_explanation() {
    let site = Site::new();
    let Some(nginx) = nginx(&site, "", "").await else {
        return;
    };
    let through = passthrough(
        nginx.address,
        &["--policy", "require", "--deadline", "200ms"],
    );
    let page = url(through.address, "/index.html");
    let Some(output) = curl(&site, through.address, &[&page]).await else {
        return;
    };
    assert!(!output.status.success());
    assert_eq!(text(&output.stdout), "");
    let access = std::fs::read_to_string(site.root.path().join("access.log"));
    assert_eq!(access.expect("a log"), "", "no request reached nginx");
}
