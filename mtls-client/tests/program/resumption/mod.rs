//! Servers that know nothing of multipath TLS, in their default configurations, verified by
//! resumption. Those that are not installed are skipped by name.

mod interceptors;
mod servers;

use self::servers::Server;
use crate::lab::{Lab, Run};

/// The options of all tests here; the side path has another source address.
const PATHS: [&str; 4] = ["--side", "src:127.0.0.2", "--deadline", "20s"];
const BY_RESUMPTION: [&str; 2] = ["--method", "resumption"];

impl Lab {
    async fn by_resumption(&self, server: &Server, options: &[&str]) -> Run {
        let target = server.target();
        let last = ["--json", target.as_str()];
        self.check(&[&BY_RESUMPTION[..], &PATHS, options, &last].concat())
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
async fn caddy_is_verified_by_resumption() {
    let lab = Lab::new();
    lab.is_verified(lab.caddy().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn java_is_verified_by_resumption() {
    let lab = Lab::new();
    lab.is_verified(lab.java().await).await;
}

/// It serves one connection at a time, so the side connection has to end before the primary one.
#[tokio::test(flavor = "multi_thread")]
async fn s_server_is_verified_by_tickets_in_advance_of_every_kind() {
    let lab = Lab::new();
    for options in [
        &[][..],
        &["-num_tickets", "1"],
        &["-no_ticket"],
        // With protection against replay, each ticket is resumed once.
        &["-early_data"],
        &["-no_ticket", "-num_tickets", "1", "-early_data"],
    ] {
        let Some(server) = lab.s_server(options).await else {
            return;
        };
        let run = lab.by_resumption(&server, &["--prefetch"]).await;
        let verdict = &run.exits_with(0).json()[0];
        assert_eq!(verdict["verdict"], "verified", "{options:?}");
        assert_eq!(verdict["paths"][1]["resumed"], "prefetched", "{options:?}");
    }
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
    let written = ["-w", "%{verdict} %{verification_method}", &url];
    let options = [&["--method", "auto"], &PATHS[..], &written].concat();
    let run = lab.get(&options).await.exits_with(0);
    assert_eq!(run.stdout, "nginx\nverified resumption");
    let run = lab.get(&[&PATHS[..], &[&url]].concat()).await;
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
    let (one, two) = (one.target(), two.target());
    let options = [&BY_RESUMPTION[..], &PATHS, &[one.as_str(), two.as_str()]].concat();
    let run = lab.check(&options).await.exits_with(0);
    let rows = run.stdout.matches("resumption (weaker)").count();
    assert_eq!(rows, 2, "{}", run.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_page_of_a_server_inherits_its_verification() {
    let lab = Lab::new();
    let Some(nginx) = lab.nginx("keepalive_timeout 0;").await else {
        return;
    };
    let url = format!("https://{}/", nginx.target());
    let format = "%{verdict} %{verification_method} [%{verification_age}]\n";
    let pages = ["-w", format, &url, &url];
    let both = |inherit: &[&'static str]| [&BY_RESUMPTION[..], &PATHS, inherit, &pages].concat();
    let run = lab.get(&both(&[])).await.exits_with(0);
    assert_eq!(run.stdout, "nginx\nverified resumption []\n".repeat(2));
    let run = lab.get(&both(&["--inherit", "1h", "-v"])).await;
    let run = run.exits_with(0);
    let second = run
        .stdout
        .strip_prefix("nginx\nverified resumption []\nnginx\n");
    let age = second.and_then(|line| {
        line.strip_prefix("verified resumption [")?
            .strip_suffix("]\n")
    });
    assert!(
        age.is_some_and(|age| age.parse::<u64>().is_ok()),
        "{}",
        run.stdout
    );
    run.mentions(&[
        "resumption, inherited",
        "origin",
        "ago over direct, src:127.0.0.2",
    ]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_in_advance_verify_each_page_by_its_own_handshake() {
    let lab = Lab::new();
    let Some(nginx) = lab.nginx("keepalive_timeout 0;").await else {
        return;
    };
    let target = nginx.target();
    let url = format!("https://{target}/");
    let page = lab.path("page");
    let pages = ["-o", &page, "-o", &page, "-o", &page, &url, &url, &url];
    let options = [
        &BY_RESUMPTION[..],
        &["--prefetch", "--json"],
        &PATHS,
        &pages,
    ];
    let run = lab.get(&options.concat()).await.exits_with(0);
    assert_eq!(run.json().len(), 3);
    for verdict in run.json() {
        assert_eq!(verdict["verdict"], "verified");
        assert_eq!(verdict["tls"]["handshake"], "resumed");
        assert_eq!(verdict["paths"][1]["resumed"], "prefetched");
    }
    let one = [&BY_RESUMPTION[..], &["--prefetch"], &PATHS, &[&target]].concat();
    let run = lab.check(&one).await.exits_with(0);
    let words = "fetched over the side path in advance";
    assert!(run.stdout.contains(words), "{}", run.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tickets_in_advance_a_connection_is_verified_as_usual() {
    let lab = Lab::new();
    let Some(nginx) = lab.nginx("ssl_session_tickets off;").await else {
        return;
    };
    let target = nginx.target();
    let run = lab.by_resumption(&nginx, &["--prefetch"]).await;
    assert_eq!(run.exits_with(112).json()[0]["reason"], "unsupported");
    let dead = [
        "--side",
        "socks5h://127.0.0.1:9",
        "--policy",
        "prefer",
        "--prefetch",
    ];
    let options = [&BY_RESUMPTION[..], &dead, &[&target]].concat();
    let run = lab.check(&options).await.exits_with(0);
    run.mentions(&["warning", &target, "no session tickets in advance"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn options_that_cannot_use_tickets_in_advance_are_refused() {
    let lab = Lab::new();
    let sides = ["--side", "src:127.0.0.2", "--side", "src:127.0.0.3"];
    for (options, word) in [
        (&["--prefetch"][..], "--method resumption"),
        (&["--prefetch", "--method", "auto"], "--method resumption"),
        (&["--prefetch", "--smkex"], "--smkex"),
        (&["--prefetch", "--cert", "a.pem"], "--cert"),
        (
            &[&["--prefetch"], &BY_RESUMPTION[..], &sides].concat(),
            "--side",
        ),
    ] {
        let run = lab.run([&["check"], options, &["localhost"]].concat());
        run.await.exits_with(2).mentions(&["--prefetch", word]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn smkex_cannot_be_verified_by_resumption() {
    let lab = Lab::new();
    let run = lab
        .run(["check", "--smkex", "--method", "auto", "localhost"])
        .await;
    run.exits_with(2).mentions(&["--smkex", "--method"]);
}
