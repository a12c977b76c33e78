//! The program `mtls-certs` as a user runs it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const PUBLIC: [&str; 4] = ["ca.pem", "server.pem", "rogue-ca.pem", "rogue.pem"];
const PRIVATE: [&str; 4] = ["ca.key", "server.key", "rogue-ca.key", "rogue.key"];

/// A directory of one test, removed at its end.
struct TempDir(PathBuf);

impl TempDir {
    fn new(test: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("certs-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_mtls-certs"))
}

fn init(dir: &Path, options: &[&str]) -> Output {
    program()
        .arg("init")
        .arg(dir)
        .args(options)
        .output()
        .expect("mtls-certs runs")
}

fn init_ok(dir: &Path, options: &[&str]) -> Output {
    let output = init(dir, options);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    output
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Every file of `dir` with its content and mode.
fn contents(dir: &Path) -> BTreeMap<String, (Vec<u8>, u32)> {
    fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| {
            let entry = entry.expect("an entry");
            let content = fs::read(entry.path()).expect("a file");
            let mode = entry.metadata().expect("metadata").permissions().mode() & 0o7777;
            (
                entry.file_name().into_string().expect("a plain name"),
                (content, mode),
            )
        })
        .collect()
}

/// Runs openssl, or says why the test is skipped.
fn openssl(args: &[&str], dir: &Path) -> Option<Output> {
    match Command::new("openssl")
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
    {
        Ok(output) => Some(output),
        Err(error) => {
            println!("skipped: cannot run openssl: {error}");
            None
        }
    }
}

#[test]
fn init_writes_exactly_the_eight_files_with_private_keys_for_the_owner_only() {
    let dir = TempDir::new("files");
    let output = init_ok(&dir.join("new/pki"), &[]);
    let written = contents(&dir.join("new/pki"));
    let mut expected: Vec<&str> = PUBLIC.into_iter().chain(PRIVATE).collect();
    expected.sort_unstable();
    assert_eq!(written.keys().collect::<Vec<_>>(), expected);
    for name in PRIVATE {
        assert_eq!(written[name].1, 0o600, "{name}");
    }
    for name in expected {
        assert!(stdout(&output).contains(name), "{name} is not explained");
    }
}

#[test]
fn keys_are_private_under_any_umask() {
    let dir = TempDir::new("umask");
    let status = Command::new("sh")
        .args(["-c", "umask 000 && exec \"$0\" init \"$1\""])
        .arg(env!("CARGO_BIN_EXE_mtls-certs"))
        .arg(dir.join("pki"))
        .stdout(Stdio::null())
        .status()
        .expect("sh runs");
    assert!(status.success());
    let written = contents(&dir.join("pki"));
    for name in PRIVATE {
        assert_eq!(written[name].1, 0o600, "{name}");
    }
    for name in PUBLIC {
        assert_eq!(written[name].1, 0o644, "{name}");
    }
}

#[test]
fn second_init_changes_nothing_and_names_the_remedy() {
    let dir = TempDir::new("second");
    init_ok(&dir.0, &[]);
    let before = contents(&dir.0);
    let output = init(&dir.0, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("server.key"),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("--force"), "{}", stderr(&output));
    assert!(output.stdout.is_empty());
    assert_eq!(contents(&dir.0), before);
}

#[test]
fn one_file_in_the_way_keeps_all_others_from_being_written() {
    for name in PUBLIC.into_iter().chain(PRIVATE) {
        let dir = TempDir::new(&format!("one-{name}"));
        fs::write(dir.join(name), "mine").expect("a file");
        let before = contents(&dir.0);
        let output = init(&dir.0, &[]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(name), "{}", stderr(&output));
        assert_eq!(contents(&dir.0), before);
    }
}

#[test]
fn force_replaces_every_file_and_narrows_the_mode_of_keys() {
    let dir = TempDir::new("force");
    init_ok(&dir.0, &[]);
    for name in PRIVATE {
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o666)).expect("a mode");
    }
    let before = contents(&dir.0);
    init_ok(&dir.0, &["--force"]);
    let after = contents(&dir.0);
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        after.keys().collect::<Vec<_>>()
    );
    for (name, (content, _)) in &after {
        assert_ne!(content, &before[name].0, "{name} is the old one");
    }
    for name in PRIVATE {
        assert_eq!(after[name].1, 0o600, "{name}");
    }
}

#[test]
fn force_never_writes_a_key_into_a_file_that_another_already_holds_open() {
    use std::io::Read;
    let dir = TempDir::new("open");
    fs::write(dir.join("ca.key"), "old").expect("a file");
    let mut held = fs::File::open(dir.join("ca.key")).expect("the old file");
    init_ok(&dir.0, &["--force"]);
    let mut seen = String::new();
    held.read_to_string(&mut seen).expect("readable");
    assert_eq!(seen, "old");
}

#[test]
fn link_in_the_place_of_a_key_is_never_followed() {
    let dir = TempDir::new("link");
    let target = dir.join("elsewhere");
    fs::create_dir(dir.join("pki")).expect("a directory");
    symlink(&target, dir.join("pki/server.key")).expect("a dangling link");
    assert_eq!(init(&dir.join("pki"), &[]).status.code(), Some(1));
    assert!(!target.exists());
    init_ok(&dir.join("pki"), &["--force"]);
    assert!(!target.exists());
    let metadata = fs::symlink_metadata(dir.join("pki/server.key")).expect("the key");
    assert!(metadata.is_file());
}

#[test]
fn directory_in_the_place_of_a_file_changes_nothing_even_with_force() {
    let dir = TempDir::new("directory");
    init_ok(&dir.0, &[]);
    fs::remove_file(dir.join("rogue.key")).expect("removed");
    fs::create_dir(dir.join("rogue.key")).expect("a directory");
    let ca = fs::read(dir.join("ca.pem")).expect("the ca");
    let output = init(&dir.0, &["--force"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("rogue.key"), "{}", stderr(&output));
    assert_eq!(fs::read(dir.join("ca.pem")).expect("the ca"), ca);
    assert_eq!(fs::read_dir(&dir.0).expect("entries").count(), 8);
}

#[test]
fn failure_halfway_leaves_no_file_behind() {
    let dir = TempDir::new("halfway");
    // A limit on the size of files: certificates of many names exceed it, the CA's does not.
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; ulimit -f 2 && exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_mtls-certs"))
        .arg("init")
        .arg(&dir.0);
    for host in 0..100 {
        command.arg(format!("--host=host-number-{host}.example.test"));
    }
    let output = command.output().expect("sh runs");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("server.pem"),
        "{}",
        stderr(&output)
    );
    assert_eq!(contents(&dir.0), BTreeMap::new());
}

#[test]
fn file_in_the_place_of_the_directory_is_named() {
    let dir = TempDir::new("notdir");
    fs::write(dir.join("pki"), "mine").expect("a file");
    let output = init(&dir.join("pki"), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("pki"), "{}", stderr(&output));
    assert_eq!(fs::read(dir.join("pki")).expect("the file"), b"mine");
}

#[test]
fn wrong_command_line_is_exit_status_2_and_writes_nothing() {
    let dir = TempDir::new("usage");
    for options in [
        &["--host", "localhost:443"][..],
        &["--host", ""],
        &["--nonsense"],
    ] {
        let output = init(&dir.join("pki"), options);
        assert_eq!(output.status.code(), Some(2), "{options:?}");
        assert!(!dir.join("pki").exists());
    }
    let output = program().output().expect("mtls-certs runs");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn help_teaches_by_example() {
    for args in [&["--help"][..], &["init", "--help"]] {
        let output = program().args(args).output().expect("mtls-certs runs");
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).contains("mtls-certs init pki --host example.test"));
    }
}

#[test]
fn openssl_verifies_each_server_under_its_own_ca_only() {
    let dir = TempDir::new("openssl");
    init_ok(&dir.0, &["--host", "example.test", "--host", "192.0.2.7"]);
    for (ca, chain, accepted) in [
        ("ca.pem", "server.pem", true),
        ("rogue-ca.pem", "rogue.pem", true),
        ("ca.pem", "rogue.pem", false),
        ("rogue-ca.pem", "server.pem", false),
    ] {
        for name in [
            ["-verify_hostname", "example.test"],
            ["-verify_ip", "192.0.2.7"],
        ] {
            let args = [
                "verify",
                "-x509_strict",
                "-purpose",
                "sslserver",
                "-CAfile",
                ca,
            ];
            let args = [&args[..], &["-untrusted", chain], &name[..], &[chain]].concat();
            let Some(output) = openssl(&args, &dir.0) else {
                return;
            };
            let said = stdout(&output) + &stderr(&output);
            assert_eq!(output.status.success(), accepted, "{ca} {chain}: {said}");
        }
    }
}

#[test]
fn openssl_sees_the_same_subject_and_different_keys_in_the_cas() {
    let dir = TempDir::new("subject");
    init_ok(&dir.0, &[]);
    let show = |file, what| {
        openssl(&["x509", "-in", file, "-noout", what], &dir.0).map(|output| {
            assert!(output.status.success(), "{}", stderr(&output));
            stdout(&output)
        })
    };
    let Some(subject) = show("ca.pem", "-subject") else {
        return;
    };
    assert!(subject.contains("CN"), "{subject}");
    assert_eq!(Some(subject), show("rogue-ca.pem", "-subject"));
    assert_ne!(show("ca.pem", "-pubkey"), show("rogue-ca.pem", "-pubkey"));
}

#[test]
fn each_key_file_belongs_to_its_certificate() {
    let dir = TempDir::new("belongs");
    init_ok(&dir.0, &[]);
    for name in ["ca", "server", "rogue-ca", "rogue"] {
        let (pem, key) = (format!("{name}.pem"), format!("{name}.key"));
        let Some(certified) = openssl(&["x509", "-in", &pem, "-noout", "-pubkey"], &dir.0) else {
            return;
        };
        let Some(private) = openssl(&["pkey", "-in", &key, "-pubout"], &dir.0) else {
            return;
        };
        assert!(private.status.success(), "{}", stderr(&private));
        assert_eq!(stdout(&certified), stdout(&private), "{name}");
    }
}
