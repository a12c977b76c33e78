//! Client certificates: mutual TLS inside multipath TLS.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::lab::Lab;
use crate::site::PAGE;

fn write(path: &str, text: &str, mode: u32) {
    std::fs::write(path, text).expect("to write");
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(Path::new(path), permissions).expect("a mode");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_requests_a_certificate_receives_it() {
    let mut lab = Lab::new();
    let site = lab.site_for_clients().await;
    let alice = lab.pki.ca.issue_client("alice").expect("a certificate");
    let (cert, key, both) = (
        lab.path("alice.pem"),
        lab.path("alice.key"),
        lab.path("both"),
    );
    write(&cert, alice.chain_pem(), 0o644);
    write(&key, alice.key_pem(), 0o600);
    write(
        &both,
        &(alice.chain_pem().to_owned() + alice.key_pem()),
        0o600,
    );
    let url = format!("https://{site}/");
    for typed in [&["--cert", &cert, "--key", &key][..], &["--cert", &both]] {
        let run = lab.get(&[&["-s", &url], typed].concat()).await;
        assert_eq!(run.exits_with(0).stdout, PAGE);
        let target = site.to_string();
        lab.check(&[&["-s", &target], typed].concat())
            .await
            .exits_with(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_client_certificate_the_message_names_the_options() {
    let mut lab = Lab::new();
    let site = lab.site_for_clients().await;
    let run = lab.get(&["-s", &format!("https://{site}/")]).await;
    run.exits_with(56)
        .mentions(&["requires a client certificate", "--cert"]);
    let mallory = lab.pki.rogue_ca.issue_client("mallory").expect("one");
    let file = lab.path("mallory");
    write(
        &file,
        &(mallory.chain_pem().to_owned() + mallory.key_pem()),
        0o600,
    );
    let run = lab
        .get(&["-s", "--cert", &file, &format!("https://{site}/")])
        .await;
    run.exits_with(56)
        .mentions(&["requires a client certificate"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_other_users_can_read_causes_a_warning() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    let alice = lab.pki.ca.issue_client("alice").expect("a certificate");
    let file = lab.path("alice");
    let both = alice.chain_pem().to_owned() + alice.key_pem();
    for (mode, warned) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
        write(&file, &both, mode);
        let run = lab.check(&["--cert", &file, &site]).await.exits_with(0);
        let warning = format!("(mode {mode:o}); restrict it: chmod 600 {file}");
        assert_eq!(
            run.stderr.contains(&warning),
            warned,
            "{mode:o}: {}",
            run.stderr
        );
        let run = lab
            .check(&["-s", "--cert", &file, &site])
            .await
            .exits_with(0);
        assert_eq!(run.stderr, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_cannot_be_used_is_58_and_the_file_is_named() {
    let lab = Lab::new();
    let (alice, bob) = (
        lab.pki.ca.issue_client("alice").expect("a certificate"),
        lab.pki.ca.issue_client("bob").expect("a certificate"),
    );
    let (cert, key, missing) = (lab.path("cert"), lab.path("key"), lab.path("missing"));
    write(&cert, alice.chain_pem(), 0o644);
    write(&key, bob.key_pem(), 0o600);
    for (typed, words) in [
        (
            &["--cert", &missing][..],
            &["--cert", &missing, "No such file"][..],
        ),
        (&["--cert", &cert], &["--cert", &cert, "--key FILE"]),
        (&["--cert", &cert, "--key", &missing], &["--key", &missing]),
        (&["--cert", &key], &["--cert", "no certificate in it"]),
        (&["--cert", &cert, "--key", &cert], &["no private key"]),
        (
            &["--cert", &cert, "--key", &key],
            &[&key, &cert, "does not belong to"],
        ),
    ] {
        let run = lab.check(&[typed, &["a.test"]].concat()).await;
        let run = run.exits_with(58).mentions(words);
        assert!(!run.stderr.contains("BEGIN"), "{}", run.stderr);
    }
}
