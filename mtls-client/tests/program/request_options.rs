//! `get`: options that make up a request, as curl's do.

use std::path::Path;

use crate::lab::{Lab, Run, has, program};

/// The values of a line `NAME: VALUE` of what the site echoes.
#[track_caller]
fn value<'a>(echo: &'a str, name: &str) -> Option<&'a str> {
    echo.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_repeated_options_applies() {
    let mut lab = Lab::new();
    let url = format!("https://{}/", lab.site().await);
    let (ca, missing) = (lab.ca(), lab.path("missing.pem"));
    for typed in [
        &["-s", "-s", "-sS", "-L", "-L", "-f", "-f", "-v", "-v"][..],
        &["--max-time", "1ms", "--max-time", "60s"],
        &["--policy", "observe", "--policy", "require"],
        &["--primary", "if:none0", "--primary", "direct"],
        &["-X", "POST", "-X", "GET"],
        &[
            "--compressed",
            "--compressed",
            "--json",
            "--json",
            "-o",
            "/dev/null",
        ],
    ] {
        let typed = [&["--cacert", &ca, "-s", &url], typed].concat();
        let run = lab.run([&["get", "--cacert", &missing], &typed[..]].concat());
        run.await.exits_with(0);
    }
    let typed = ["-s", "-w", "a", "-w", "b", &url];
    let run = lab.get(&typed).await.exits_with(0);
    assert!(run.stdout.ends_with("\nb"), "{}", run.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn header_fields_may_be_empty_and_may_come_from_a_file() {
    let mut lab = Lab::new();
    let file = lab.path("fields");
    std::fs::write(&file, "X-One: 1\r\n\nX-Two;\nAccept:\n").expect("to write");
    let at = format!("@{file}");
    for site in [lab.site().await, lab.h1_site().await] {
        let url = format!("https://{site}/request");
        let typed = [
            "-s",
            "-H",
            "X-Empty;",
            "-H",
            &at,
            "-H",
            "X-Four: \u{fc}",
            &url,
        ];
        let echo = lab.get(&typed).await.exits_with(0).stdout;
        for (name, expected) in [
            ("x-empty", Some("")),
            ("x-one", Some("1")),
            ("x-two", Some("")),
            ("x-four", Some("\u{fc}")),
            ("accept", None),
        ] {
            assert_eq!(value(&echo, name), expected, "{name} in:\n{echo}");
        }
        let ca = lab.ca();
        let mut command = program();
        command.args(["get", "-s", "--cacert", &ca, "-H", "@-", &url]);
        let run = Run::with_input(command, b"X-Input: yes\n".to_vec()).await;
        assert_eq!(value(&run.exits_with(0).stdout, "x-input"), Some("yes"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_fields_that_cannot_be_used_shows_no_value() {
    let lab = Lab::new();
    let file = lab.path("fields");
    let at = format!("@{file}");
    let typed = ["-H", &at, "https://a.test/"];
    lab.get(&typed).await.exits_with(26).mentions(&[&file]);
    std::fs::write(&file, "X-One: 1\nno colon: but a space secret\n").expect("to write");
    let run = lab.get(&typed).await.exits_with(2);
    let run = run.mentions(&[&file, "line 2"]);
    assert!(!run.stderr.contains("secret"), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_for_the_first_host_only_and_are_never_shown() {
    let mut lab = Lab::new();
    let (site, other) = (lab.site().await, lab.h1_site().await);
    let user = "alice:pass:w\u{f6}rd";
    let basic = "Basic YWxpY2U6cGFzczp3w7ZyZA==";
    let silent = ["-vv", "-L", "-u", user];
    for (url, expected) in [
        (format!("https://{site}/request"), Some(basic)),
        (format!("https://{site}/to?/request"), Some(basic)),
        (format!("https://{site}/to?https://{other}/request"), None),
    ] {
        let run = lab
            .get(&[&silent[..], &[&url]].concat())
            .await
            .exits_with(0);
        assert_eq!(value(&run.stdout, "authorization"), expected, "{url}");
        for secret in ["alice", "pass:", "YWxpY2U6"] {
            assert!(!run.stderr.contains(secret), "{}", run.stderr);
        }
    }
    let url = format!("https://{site}/request");
    let typed = ["-s", "-u", user, "-H", "Authorization: Bearer x", &url];
    let run = lab.get(&typed).await.exits_with(0);
    assert_eq!(value(&run.stdout, "authorization"), Some("Bearer x"));
    let run = lab.get(&["-u", "secret", &url]).await.exits_with(2);
    assert!(!run.stderr.contains("secret"), "{}", run.stderr);
}

/// The body that a site mirrors, with its random boundaries replaced.
fn without_boundary(body: &str) -> String {
    let outer = body.lines().next().expect("a line").to_owned();
    assert!(outer.starts_with("--------------------------"), "{body}");
    let body = body.replace(&outer, "--BOUNDARY");
    let mixed = "multipart/mixed; boundary=";
    let inner = body.lines().find_map(|line| line.split_once(mixed));
    match inner {
        Some((_, inner)) => body.replace(inner, "INNER"),
        None => body,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_have_the_parts_that_curl_sends() {
    let mut lab = Lab::new();
    let (file, other) = (lab.path("a file.txt"), lab.path("b.bin"));
    std::fs::write(&file, "first\r\nsecond\n").expect("to write");
    std::fs::write(&other, [0, 1, 10, 13]).expect("to write");
    let fields = [
        "plain= a value ".to_owned(),
        "quoted=\"a;b\";type=text/x-note;charset=utf-8".to_owned(),
        "empty=".to_owned(),
        format!("file=@{file}"),
        format!("named=@{other};filename=\"n\\\"m\";type=a/b"),
        format!("content=<{file};type=text/plain"),
        format!("files=@{file},{other};type=a/b;filename=second"),
        "input=@-".to_owned(),
    ];
    let mut options: Vec<&str> = Vec::new();
    for field in &fields {
        options.extend(["-F", field]);
    }
    let ca = lab.ca();
    for site in [lab.site().await, lab.h1_site().await] {
        let send = |mut command: tokio::process::Command| {
            command.args(["-s", "--cacert", &ca]).args(&options);
            command.arg(format!("https://{site}/mirror"));
            Run::with_input(command, b"from stdin".to_vec())
        };
        let mut ours = program();
        ours.arg("get");
        let ours = without_boundary(&send(ours).await.exits_with(0).stdout);
        let part = "--BOUNDARY\r\nContent-Disposition: form-data; name=\"named\"; \
                    filename=\"n%22m\"\r\nContent-Type: a/b\r\n\r\n\0\u{1}\n\r\r\n--BOUNDARY";
        assert!(ours.contains(part), "{ours}");
        let files = "name=\"files\"\r\nContent-Type: multipart/mixed; boundary=INNER\r\n\r\n\
                     --INNER\r\nContent-Disposition: attachment; filename=\"a file.txt\"\r\n\
                     Content-Type: text/plain\r\n\r\nfirst\r\nsecond\n\r\n\
                     --INNER\r\nContent-Disposition: attachment; filename=\"second\"\r\n\
                     Content-Type: a/b\r\n\r\n\0\u{1}\n\r\r\n--INNER--\r\n\r\n--BOUNDARY";
        assert!(ours.contains(files), "{ours}");
        assert!(ours.ends_with("from stdin\r\n--BOUNDARY--\r\n"), "{ours}");
        if has("curl") {
            let curl = tokio::process::Command::new("curl");
            let curls = without_boundary(&send(curl).await.exits_with(0).stdout);
            assert_eq!(ours, curls);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_has_a_type_and_length_and_is_sent_again_after_a_redirect_307() {
    let mut lab = Lab::new();
    let site = lab.site().await;
    let url = format!("https://{site}/to/307?/echo");
    let run = lab
        .get(&["-s", "-L", "-F", "a=b", &url])
        .await
        .exits_with(0);
    let echo = run.stdout;
    assert_eq!(value(&echo, "method"), Some("POST"));
    let media_type = value(&echo, "content-type").expect("a type");
    assert!(
        media_type.starts_with("multipart/form-data; boundary=---"),
        "{media_type}"
    );
    let length = value(&echo, "content-length").expect("a length");
    assert_eq!(
        value(&echo, "body"),
        Some(format!("{length} bytes").as_str())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_form_is_refused_before_a_connection_is_made() {
    let lab = Lab::new();
    let missing = lab.path("missing");
    for (typed, code) in [
        (&["-F", "secret"][..], 2),
        (&["-F", "a=secret;secret"], 2),
        (&["-F", "a=b", "-d", "c"], 2),
        (&["-F", "a=b", "-I"], 2),
        (&["-F", "a=b", "-T", "c"], 2),
        (&["-F", "a=@-", "-F", "b=<-"], 2),
        (&["-F", &format!("a=@{missing}")], 26),
    ] {
        let run = lab.get(&[typed, &["https://a.test/"]].concat()).await;
        let run = run.exits_with(code);
        assert!(!run.stderr.contains("secret"), "{}", run.stderr);
    }
    assert!(!Path::new(&missing).exists());
}
