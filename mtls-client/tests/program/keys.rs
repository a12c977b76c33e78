//! Key files of every kind: a key never reaches the output, and the problem is named.

use std::path::Path;

use mtls_certs::Leaf;

use crate::damage::{File, damaged, find_key, unusual};
use crate::lab::{Lab, Run, program};
use crate::site::PAGE;

fn damaged_of(leaf: &Leaf) -> Vec<File> {
    damaged(leaf.key_pem(), leaf.key_der().secret_der())
}

fn write(path: &str, content: impl AsRef<[u8]>) {
    std::fs::write(Path::new(path), content).expect("to write");
}

#[track_caller]
fn assert_no_key(leaf: &Leaf, name: &str, run: &Run) {
    for output in [&run.stdout, &run.stderr] {
        let found = find_key(
            output.as_bytes(),
            leaf.key_pem(),
            leaf.key_der().secret_der(),
        );
        assert_eq!(found, None, "{name}: {output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_piece_of_a_damaged_key_is_shown_whatever_option_names_its_file() {
    let lab = Lab::new();
    let alice = lab.pki.ca.issue_client("alice").expect("a certificate");
    let (cert, file) = (lab.path("cert"), lab.path("damaged"));
    write(&cert, alice.chain_pem());
    for (name, content) in damaged_of(&alice) {
        write(&file, content);
        for (typed, code) in [
            (&["--cert", &cert, "--key", &file][..], 58),
            (&["--cert", &file], 58),
            (&["--cacert", &file], 77),
        ] {
            let run = lab
                .run([&["check", "-vv", "127.0.0.1:1"], typed].concat())
                .await;
            assert_no_key(&alice, name, &run);
            assert!(run.stderr.contains(&file), "{name}: {}", run.stderr);
            run.exits_with(code);
        }
        let mut command = program();
        command.args(["check", "-vv", "--system-roots", "127.0.0.1:1"]);
        command
            .env("SSL_CERT_FILE", &file)
            .env_remove("SSL_CERT_DIR");
        let run = Run::of(command).await;
        assert_no_key(&alice, name, &run);
        run.exits_with(77);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_the_place_of_its_files_name_is_not_shown() {
    let lab = Lab::new();
    let alice = lab.pki.ca.issue_client("alice").expect("a certificate");
    let cert = lab.path("cert");
    write(&cert, alice.chain_pem());
    let key = alice.key_pem();
    let body: String = key.lines().filter(|line| !line.starts_with('-')).collect();
    let der = alice.key_der().secret_der().to_vec();
    let hex: String = der.iter().map(|byte| format!("{byte:02x}")).collect();
    for value in [
        key,
        &key.replace('\n', "\\n"),
        &key.replace('\n', "\r"),
        &key.replace("-----", "----"),
        &key.replace("-----", "----- "),
        &body,
        &body.replace('+', "-").replace('/', "_"),
        &format!("KEY={body}"),
        &hex,
        &format!("{der:?}"),
    ] {
        let joined = format!("--key={value}");
        for typed in [
            &["--cert", &cert, &joined][..],
            &["--cert", &cert, "--key", value],
            &["--cert", value],
            &["--cacert", value],
            &["--primary", value],
            &["--resolve", value],
            &["--policy", value],
        ] {
            let run = lab.run([&["check", "127.0.0.1:1"], typed].concat()).await;
            assert_no_key(&alice, "a name", &run);
            assert_ne!(run.code, 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_and_key_of_every_unusual_form_are_accepted_by_the_server() {
    let mut lab = Lab::new();
    let site = lab.site_for_clients().await;
    let alice = lab.pki.ca.issue_client("alice").expect("a certificate");
    let (cert, key) = (lab.path("cert"), lab.path("key"));
    write(
        &cert,
        format!("\u{feff}{}", alice.chain_pem().replace('\n', "\\n")),
    );
    for (name, content) in unusual(alice.key_pem(), alice.chain_pem()) {
        write(&key, content);
        let url = format!("https://{site}/");
        let run = lab.get(&["-s", "--cert", &cert, "--key", &key, &url]).await;
        assert_eq!(run.stdout, PAGE, "{name}: {}", run.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trusted_cas_are_read_from_every_unusual_form() {
    let mut lab = Lab::new();
    let site = lab.site().await;
    let ca = lab.pki.ca.cert_pem();
    let file = lab.path("ca");
    for content in [
        format!("\u{feff}{ca}"),
        ca.replace(" CERT", " X509 CERT"),
        ca.replace('\n', "\\n"),
        format!("# the CA\r\n{}", ca.replace('\n', "\r\n")),
    ] {
        write(&file, &content);
        let run = lab
            .run(["get", "-s", "--cacert", &file, &format!("https://{site}/")])
            .await;
        assert_eq!(run.stdout, PAGE, "{content}: {}", run.stderr);
    }
}
