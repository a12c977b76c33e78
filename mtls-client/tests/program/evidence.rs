//! `evidence`: saved cases are listed, explained, checked without a network, and exported.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::lab::{Lab, Run, Whose, has};

const LIE: &str = "hello from the attacker\n";

/// Has `check` intercepted, and returns the JSON file of the evidence.
async fn intercepted(lab: &mut Lab) -> PathBuf {
    let real = lab.site().await.to_string();
    let (attacker, _) = lab.plain_tls(Whose::Rogue, LIE).await;
    let (target, cas, dir) = (attacker.to_string(), lab.both_cas(), lab.path("evidence"));
    let paths = ["--side-endpoint", &real, "--evidence-dir", &dir];
    let typed = [&["check", "--cacert", &cas], &paths[..], &[&target]].concat();
    lab.run(typed).await.exits_with(110);
    let files = std::fs::read_dir(&dir).expect("the evidence");
    let mut files = files.map(|file| file.expect("a file").path());
    let json = files.find(|path| path.extension().is_some_and(|end| end == "json"));
    json.expect("a JSON file")
}

async fn verify(lab: &Lab, file: &Path) -> Run {
    let (file, cas) = (file.display().to_string(), lab.both_cas());
    lab.run(["evidence", "verify", "--cacert", &cas, &file])
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interception_verifies_offline_with_the_attackers_signature() {
    let mut lab = Lab::new();
    let file = intercepted(&mut lab).await;
    let run = verify(&lab, &file).await.exits_with(0);
    for part in [
        "valid",
        "the key of the certificate made the signature ECDSA_NISTP256_SHA256",
        "the certificates were trusted for 127.0.0.1 then",
    ] {
        assert!(run.stdout.contains(part), "{part}: {}", run.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_a_ca_that_the_reader_does_not_trust_are_60() {
    let mut lab = Lab::new();
    let file = intercepted(&mut lab).await.display().to_string();
    let run = lab.run(["evidence", "verify", &file]).await.exits_with(60);
    assert!(run.stdout.contains("NOT trusted"), "{}", run.stdout);
    assert!(run.stdout.contains("--cacert"), "{}", run.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_modified_byte_of_any_file_is_116() {
    let mut lab = Lab::new();
    let file = intercepted(&mut lab).await;
    for path in [file.clone(), file.with_extension("pem")] {
        let original = std::fs::read(&path).expect("a file");
        for at in [
            0,
            original.len() / 3,
            original.len() / 2,
            original.len() - 1,
        ] {
            let mut changed = original.clone();
            changed[at] ^= 1;
            std::fs::write(&path, &changed).expect("to write");
            verify(&lab, &file)
                .await
                .exits_with(116)
                .mentions(&["is not valid evidence"]);
        }
        std::fs::write(&path, &original).expect("to write");
    }
    verify(&lab, &file).await.exits_with(0);
    let typed = ["evidence", "verify", "--cacert", &lab.ca(), "/dev/null/no"];
    lab.run(typed)
        .await
        .exits_with(26)
        .mentions(&["/dev/null/no"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cases_are_listed_and_explained_in_plain_words() {
    let mut lab = Lab::new();
    let file = intercepted(&mut lab).await;
    let dir = lab.path("evidence");
    let run = lab.run(["evidence", "list", &dir]).await.exits_with(0);
    let name = file.file_name().expect("a name").to_string_lossy();
    for part in ["interception", "unknown-handshake", &name] {
        assert!(run.stdout.contains(part), "{part}: {}", run.stdout);
    }
    let typed = ["evidence", "list", "--json", &dir];
    let lines = lab.run(typed).await.exits_with(0).json();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["kind"], "interception");
    let run = lab
        .run(["evidence".as_ref(), "show".as_ref(), file.as_os_str()])
        .await;
    let run = run.exits_with(0);
    let prose: Vec<_> = run.stdout.split_whitespace().collect();
    let prose = prose.join(" ");
    for part in [
        "INTERCEPTION: 127.0.0.1:",
        "another way through the network",
        "an attacker was on one of the two paths",
        "signed with its key",
        "The reporter cannot forge that without the key",
        "are the reporter's statement",
    ] {
        assert!(prose.contains(part), "{part}: {}", run.stdout);
    }
    // A damaged case does not hide the others.
    std::fs::write(format!("{dir}/broken.json"), "{}").expect("to write");
    let run = lab.run(["evidence", "list", &dir]).await.exits_with(116);
    assert!(run.stdout.contains(&*name), "{}", run.stdout);
    run.mentions(&["broken.json"]);
    // A case that is not valid is neither explained nor exported.
    std::fs::write(file.with_extension("pem"), "").expect("to write");
    let (file, export) = (file.display().to_string(), lab.path("export"));
    for typed in [&["show", &file][..], &["export", &file, &export]] {
        let run = lab.run([&["evidence"], typed].concat()).await;
        assert_eq!(run.exits_with(116).stdout, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_can_be_checked_with_openssl_alone() {
    if !has("openssl") {
        return;
    }
    let mut lab = Lab::new();
    let file = intercepted(&mut lab).await.display().to_string();
    let dir = lab.path("export");
    lab.run(["evidence", "export", &file, &dir])
        .await
        .exits_with(0);
    let readme = std::fs::read_to_string(format!("{dir}/README.txt")).expect("a text");
    let commands = readme.lines().filter(|line| line.starts_with("  openssl "));
    let commands: Vec<_> = commands.collect();
    assert_eq!(commands.len(), 2, "{readme}");
    let shell = |script: String| {
        let mut shell = Command::new("sh");
        shell.args(["-ec", &script]).current_dir(&dir);
        Run::of(shell)
    };
    let run = shell(commands.join("\n")).await.exits_with(0);
    assert!(
        run.stdout.contains("Verified Successfully"),
        "{}",
        run.stdout
    );
    let changed = format!("printf x >> primary.input\n{}", commands.join("\n"));
    shell(changed).await.exits_with(1);
    let again = lab.run(["evidence", "export", &file, &dir]).await;
    again
        .exits_with(23)
        .mentions(&["directory that does not exist"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspicion_has_the_signatures_of_both_paths() {
    let mut lab = Lab::new();
    let (real, _) = lab.plain_tls(Whose::Server, "the page\n").await;
    let (attacker, _) = lab.plain_tls(Whose::Rogue, LIE).await;
    let (target, real, dir) = (attacker.to_string(), real.to_string(), lab.path("evidence"));
    let (cas, method) = (
        lab.both_cas(),
        ["--method", "resumption", "--deadline", "20s"],
    );
    let paths = ["--side-endpoint", &real, "--evidence-dir", &dir];
    let typed = ["check", "--cacert", &cas];
    let typed = [&typed[..], &method, &paths, &[&target]].concat();
    lab.run(typed).await.exits_with(115);
    let typed = ["evidence", "list", "--json", &dir];
    let lines = lab.run(typed).await.exits_with(0).json();
    assert_eq!(lines[0]["kind"], "suspicion");
    let file = format!("{dir}/{}", lines[0]["file"].as_str().expect("a name"));
    let run = verify(&lab, Path::new(&file)).await.exits_with(0);
    for part in ["primary: the key", "side: the key"] {
        assert!(run.stdout.contains(part), "{part}: {}", run.stdout);
    }
    let side = format!("{}.side.pem", file.strip_suffix(".json").expect("a name"));
    std::fs::write(side, "").expect("to write");
    verify(&lab, Path::new(&file)).await.exits_with(116);
}
