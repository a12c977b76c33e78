//! `get --write-out`.

use crate::lab::{Lab, Whose};
use crate::site::{BIG, PAGE};

#[tokio::test(flavor = "multi_thread")]
async fn facts_follow_the_page() {
    let mut lab = Lab::new();
    for (site, version) in [(lab.site().await, "2"), (lab.h1_site().await, "1.1")] {
        let url = format!("https://{site}/");
        let format = "%{http_code} %{http_version} %{method} %{size_download} %{url_effective} \
                      %{verdict} %{binding} %{tls_version} %{remote_ip}:%{remote_port} \
                      %{local_ip} %{num_redirects} %{exitcode}%{errormsg} \
                      %header{content-length}\\n";
        let run = lab.get(&["-s", "-w", format, &url]).await.exits_with(0);
        let length = PAGE.len();
        let expected = format!(
            "{PAGE}200 {version} GET {length} {url} verified exporter TLSv1.3 {site} 127.0.0.1 \
             0 0 {length}\n"
        );
        assert_eq!(run.stdout, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_in_their_order() {
    let mut lab = Lab::new();
    let site = lab.site().await;
    let url = format!("https://{site}/to?/to?/big");
    let format = "%{time_redirect} %{time_connect} %{time_appconnect} %{time_verdict} \
                  %{time_pretransfer} %{time_starttransfer} %{time_total}";
    let typed = ["-sL", "-o", "/dev/null", "-w", format, &url];
    let run = lab.get(&typed).await.exits_with(0);
    let times: Vec<f64> = run
        .stdout
        .split(' ')
        .map(|time| time.parse().expect("seconds"))
        .collect();
    assert_eq!(times.len(), 7);
    assert!(times[0] > 0.0);
    assert!(times.is_sorted(), "{times:?}");
    let format = "%{num_redirects} %{size_download} %{url_effective}";
    let typed = ["-sL", "-o", "/dev/null", "-w", format, &url];
    let run = lab.get(&typed).await.exits_with(0);
    assert_eq!(run.stdout, format!("2 {BIG} https://{site}/big"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_that_is_not_followed_is_reported() {
    let mut lab = Lab::new();
    let site = lab.site().await;
    let url = format!("https://{site}/to/307?/next");
    let typed = [
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{redirect_url}",
    ];
    let run = lab.get(&[&typed[..], &[&url]].concat()).await.exits_with(0);
    assert_eq!(run.stdout, format!("307 https://{site}/next"));
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_of_a_failure_are_written_too() {
    let mut lab = Lab::new();
    let site = lab.site().await;
    let closed = crate::lab::closed_port().await;
    let (plain, _) = lab.plain_tls(Whose::Server, "").await;
    let format = "%{http_code} %{verdict} %{reason} %{exitcode} %{size_download}\\n";
    let urls = [site, plain, closed].map(|at| format!("https://{at}/status/404"));
    let typed = ["-sf", "-w", format, &urls[0], &urls[1], &urls[2]];
    let run = lab.get(&typed).await.exits_with(7);
    let expected = "404 verified  22 0\n\
                    000 unverified no-greeting 112 0\n\
                    000 error could-not-connect 7 0\n";
    assert_eq!(run.stdout, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interception_that_the_policy_accepts_is_reported() {
    let mut lab = Lab::new();
    let real = lab.site().await.to_string();
    let (attacker, _) = lab.plain_tls(Whose::Rogue, "the attacker's page\n").await;
    let (cas, url) = (lab.both_cas(), format!("https://{attacker}/"));
    let typed = ["get", "-s", "--policy", "observe", "--cacert", &cas];
    let rest = [
        "--side-endpoint",
        &real,
        "-w",
        "%{verdict} %{exitcode}",
        &url,
    ];
    let run = lab.run([&typed[..], &rest].concat()).await.exits_with(110);
    assert_eq!(run.stdout, "the attacker's page\nintercepted 110");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_format_can_be_in_a_file_and_go_to_standard_error() {
    let mut lab = Lab::new();
    let site = lab.site().await;
    let file = lab.path("format");
    std::fs::write(&file, "%{stderr}code %{http_code}\n\\n%{stdout}end").unwrap();
    let url = format!("https://{site}/empty");
    let run = lab
        .get(&["-s", "-w", &format!("@{file}"), &url])
        .await
        .exits_with(0);
    assert_eq!(
        (run.stdout.as_str(), run.stderr.as_str()),
        ("end", "code 200\n")
    );
}
