//! `get`: methods, bodies, and what becomes of them after a redirect.

use std::sync::atomic::Ordering;

use crate::lab::{Lab, Run, Whose, program};

/// The values of a line `NAME: VALUE` of what the site echoes.
#[track_caller]
fn value<'a>(echo: &'a str, name: &str) -> Option<&'a str> {
    echo.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_method_follows_from_the_options_unless_request_sets_it() {
    let mut lab = Lab::new();
    let file = lab.path("ca.pem");
    for site in [lab.site().await, lab.h1_site().await] {
        let url = format!("https://{site}/echo");
        for (typed, method) in [
            (&[][..], "GET"),
            (&["-d", "a"], "POST"),
            (&["--data-raw", "a"], "POST"),
            (&["--data-binary", "a"], "POST"),
            (&["-T", &file], "PUT"),
            (&["-X", "DELETE"], "DELETE"),
            (&["-X", "PATCH", "-d", "a"], "PATCH"),
            (&["-XQUERY", "-d", "a"], "QUERY"),
        ] {
            let run = lab.get(&[&["-s"], typed, &[&url]].concat()).await;
            let run = run.exits_with(0);
            assert_eq!(value(&run.stdout, "method"), Some(method), "{typed:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_writes_only_the_head() {
    let mut lab = Lab::new();
    for site in [lab.site().await, lab.h1_site().await] {
        let url = format!("https://{site}/big");
        let run = lab.get(&["-s", "-I", &url]).await.exits_with(0);
        assert!(run.stdout.starts_with("HTTP/"), "{}", run.stdout);
        assert!(run.stdout.ends_with("\r\n\r\n"), "{}", run.stdout);
        let length = format!("content-length: {}\r\n", crate::site::BIG);
        assert!(run.stdout.contains(&length), "{}", run.stdout);
        let run = lab
            .get(&["-sIL", &format!("https://{site}/to?/")])
            .await
            .exits_with(0);
        assert_eq!(run.stdout.matches("HTTP/").count(), 2, "{}", run.stdout);
        let file = lab.path("head");
        let missing = format!("https://{site}/status/404");
        lab.get(&["-sIf", "-o", &file, &missing])
            .await
            .exits_with(22);
        assert!(!std::path::Path::new(&file).exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_are_joined_and_files_in_them_lose_their_line_ends() {
    let mut lab = Lab::new();
    let file = lab.path("form");
    std::fs::write(&file, "b=2\r\n&c=3\n\0").unwrap();
    let at = format!("@{file}");
    let lines = "b=2\r\n&c=3\n\0";
    for site in [lab.site().await, lab.h1_site().await] {
        let url = format!("https://{site}/echo");
        for (typed, body) in [
            (&["-d", "a=1", "-d", &at, "-d", "-x"][..], "a=1&b=2&c=3&-x"),
            (&["--data-raw", "@a", "--data-raw", "b"], "@a&b"),
            (&["--data-binary", &at], lines),
            (&["-d", ""], ""),
        ] {
            let run = lab.get(&[&["-s"], typed, &[&url]].concat()).await;
            let echo = run.exits_with(0).stdout;
            let (head, beginning) = echo.split_once("beginning: ").expect("an echo");
            assert_eq!(beginning, format!("{body}\n"), "{typed:?}");
            let type_ = value(head, "content-type");
            assert_eq!(type_, Some("application/x-www-form-urlencoded"));
            assert_eq!(
                value(head, "content-length"),
                Some(body.len().to_string().as_str())
            );
        }
        let json = ["-s", "-d", "{}", "-H", "Content-Type: application/json"];
        let run = lab.get(&[&json[..], &[&url]].concat()).await.exits_with(0);
        assert_eq!(run.stdout.matches("content-type").count(), 1);
        assert_eq!(value(&run.stdout, "content-type"), Some("application/json"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_put_with_its_length_and_under_its_name() {
    let mut lab = Lab::new();
    let file = lab.path("upload.bin");
    std::fs::write(&file, vec![b'u'; 300_000]).unwrap();
    for site in [lab.site().await, lab.h1_site().await] {
        let run = lab
            .get(&["-s", "-T", &file, &format!("https://{site}/echo")])
            .await
            .exits_with(0);
        assert_eq!(value(&run.stdout, "body"), Some("300000 bytes"));
        assert_eq!(value(&run.stdout, "content-length"), Some("300000"));
        assert_eq!(value(&run.stdout, "content-type"), None);
        let facts = ["-w", "%{url_effective}", "-o", "/dev/null"];
        let run = lab
            .get(
                &[
                    &["-s", "-T", &file, &format!("https://{site}/")],
                    &facts[..],
                ]
                .concat(),
            )
            .await
            .exits_with(0);
        assert_eq!(run.stdout, format!("https://{site}/upload.bin"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_is_sent_with_its_length_if_it_has_one() {
    let mut lab = Lab::new();
    let input = vec![b'i'; 200_000];
    let file = lab.path("input");
    std::fs::write(&file, &input).unwrap();
    let ca = lab.ca();
    for (site, is_h2) in [(lab.site().await, true), (lab.h1_site().await, false)] {
        let url = format!("https://{site}/echo");
        for typed in [["--data-binary", "@-"], ["-T", "-"]] {
            let command = || {
                let mut command = program();
                command.args(["get", "-s", "--cacert", &ca]).args(typed);
                command.arg(&url);
                command
            };
            let run = Run::with_input(command(), input.clone()).await;
            let run = run.exits_with(0);
            assert_eq!(value(&run.stdout, "body"), Some("200000 bytes"));
            assert_eq!(value(&run.stdout, "content-length"), None, "of a pipe");
            let chunked = value(&run.stdout, "transfer-encoding");
            assert_eq!(chunked, (!is_h2).then_some("chunked"));
            let mut from_file = command();
            from_file.stdin(std::fs::File::open(&file).unwrap());
            let run = Run::of(from_file).await.exits_with(0);
            assert_eq!(value(&run.stdout, "body"), Some("200000 bytes"));
            assert_eq!(value(&run.stdout, "content-length"), Some("200000"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_and_bodies_after_a_redirect_follow_the_standard() {
    let mut lab = Lab::new();
    let (site, other) = (lab.site().await, lab.h1_site().await);
    let file = lab.path("body");
    std::fs::write(&file, "from a file").unwrap();
    let at = format!("@{file}");
    for (code, typed, method, body) in [
        ("301", &["-d", "x"][..], "GET", "0 bytes"),
        ("302", &["-d", "x"], "GET", "0 bytes"),
        ("303", &["-d", "x"], "GET", "0 bytes"),
        ("307", &["-d", "x"], "POST", "1 bytes"),
        ("308", &["--data-binary", &at], "POST", "11 bytes"),
        ("301", &["-T", &file], "PUT", "11 bytes"),
        ("303", &["-T", &file], "GET", "0 bytes"),
        ("307", &["-T", &file], "PUT", "11 bytes"),
        ("302", &["-X", "DELETE"], "DELETE", "0 bytes"),
    ] {
        let url = format!("https://{site}/to/{code}?https://{other}/echo");
        let typed = [&["-s", "-L", "-H", "Content-Language: en"], typed, &[&url]].concat();
        let run = lab.get(&typed).await.exits_with(0);
        assert_eq!(
            value(&run.stdout, "method"),
            Some(method),
            "{code} {typed:?}"
        );
        assert_eq!(value(&run.stdout, "body"), Some(body), "{code} {typed:?}");
        let described = value(&run.stdout, "content-language").is_some();
        let dropped = method == "GET";
        assert_eq!(described, !dropped, "{code} {typed:?}\n{}", run.stdout);
        assert!(!dropped || value(&run.stdout, "content-type").is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_that_must_be_sent_again_is_65() {
    let mut lab = Lab::new();
    let site = lab.site().await;
    let (ca, output) = (lab.ca(), lab.path("page"));
    let sent = |code: &str| {
        let mut command = program();
        let url = format!("https://{site}/to/{code}?/echo");
        command.args(["get", "-sL", "--cacert", &ca, "-T", "-", "-o", &output]);
        command.arg(url);
        command
    };
    let run = Run::with_input(sent("307"), b"once".to_vec()).await;
    run.exits_with(65)
        .mentions(&["standard input", "only once", "save it to a file"]);
    assert!(!std::path::Path::new(&output).exists());
    // A GET needs no body.
    let run = Run::with_input(sent("303"), b"once".to_vec()).await;
    run.exits_with(0);
    // And a file can be sent again, also as standard input.
    let file = lab.path("input");
    std::fs::write(&file, "twice").unwrap();
    let mut command = sent("307");
    command.stdin(std::fs::File::open(&file).unwrap());
    Run::of(command).await.exits_with(0);
    let echo = std::fs::read_to_string(&output).unwrap();
    assert_eq!(value(&echo, "beginning"), Some("twice"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_of_a_body_reaches_a_man_in_the_middle() {
    let mut lab = Lab::new();
    let real = lab.site().await.to_string();
    let (attacker, read) = lab.plain_tls(Whose::Rogue, "the attacker's page\n").await;
    let (url, cas, file) = (
        format!("https://{attacker}/form"),
        lab.both_cas(),
        lab.path("secret"),
    );
    std::fs::write(&file, "a secret".repeat(100_000)).unwrap();
    let at = format!("@{file}");
    for typed in [
        ["-d", "password=hunter2"],
        ["-d", &at],
        ["--data-binary", &at],
        ["--data-binary", "@-"],
        ["-T", &file],
        ["-T", "-"],
        ["-X", "DELETE"],
    ] {
        for policy in ["require", "prefer"] {
            let mut command = program();
            command.args(["get", "-s", "--policy", policy, "--cacert", &cas]);
            command.args(["--side-endpoint", &real]).args(typed);
            command.arg(&url);
            let run = Run::with_input(command, vec![b's'; 100_000]).await;
            run.exits_with(110).mentions(&["Nothing was sent"]);
            let read = read.load(Ordering::Relaxed);
            assert_eq!(read, 0, "{typed:?}: bytes that the attacker has read");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_of_a_body_follows_a_redirect_that_is_not_verified() {
    let mut lab = Lab::new();
    let site = lab.site().await;
    let (unverified, read) = lab.plain_tls(Whose::Server, "not verified\n").await;
    let url = format!("https://{site}/to/307?https://{unverified}/");
    let run = lab.get(&["-sL", "-d", "password=hunter2", &url]).await;
    run.exits_with(112).mentions(&["nothing was sent"]);
    assert_eq!(read.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_request_body_is_26_before_a_connection_is_made() {
    let lab = Lab::new();
    let closed = crate::lab::closed_port().await;
    let url = format!("https://{closed}/");
    let (missing, dir) = (lab.path("missing"), lab.path(""));
    for typed in [
        ["-T", &missing],
        ["-T", dir.trim_end_matches('/')],
        ["-d", &format!("@{missing}")],
        ["--data-binary", &format!("@{missing}")],
    ] {
        let run = lab.get(&[&typed[..], &[&url]].concat()).await;
        run.exits_with(26)
            .mentions(&[dir.trim_end_matches('/'), "no connection was made"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_gets_shorter_while_it_is_sent_is_26() {
    let mut lab = Lab::new();
    let file = lab.path("shrinking");
    let shrinking = std::fs::File::create(&file).unwrap();
    shrinking.set_len(1 << 30).unwrap();
    let site = {
        let shrinking = std::sync::Arc::new(shrinking);
        lab.reading_site(move || shrinking.set_len(100_000).expect("to shrink"))
            .await
    };
    let run = lab
        .get(&["-s", "-T", &file, &format!("https://{site}/")])
        .await;
    run.exits_with(26).mentions(&[&file, "shorter"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_pages_are_fetched_in_order_and_the_worst_status_counts() {
    let mut lab = Lab::new();
    let site = lab.site().await;
    let (page, missing) = (
        format!("https://{site}/"),
        format!("https://{site}/status/404"),
    );
    let run = lab.get(&["-s", &page, &page]).await.exits_with(0);
    assert_eq!(run.stdout, crate::site::PAGE.repeat(2));
    let file = lab.path("first");
    let run = lab.get(&["-sf", "-o", &file, &page, &missing, &page]).await;
    let run = run.exits_with(22);
    assert_eq!(run.stdout, crate::site::PAGE, "the third page");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), crate::site::PAGE);
    let typed = ["-o", "a", "-o", "b", &page];
    lab.get(&typed)
        .await
        .exits_with(2)
        .mentions(&["2 files for 1 URL"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_side_endpoint_applies_only_to_the_host_of_the_first_page() {
    let mut lab = Lab::new();
    let (site, other) = (lab.site().await.to_string(), lab.site().await);
    // Asked for the second host's handshake, the first one's would know nothing of it.
    let (page, elsewhere) = (format!("https://{site}/"), format!("https://{other}/"));
    let typed = ["-s", "--side-endpoint", &site, &page, &elsewhere, &page];
    let run = lab.get(&typed).await.exits_with(0);
    assert_eq!(run.stdout, crate::site::PAGE.repeat(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_can_have_the_name_that_its_url_ends_with() {
    let mut lab = Lab::new();
    let site = lab.site().await;
    let dir = lab.path("downloads");
    std::fs::create_dir(&dir).unwrap();
    let mut command = program();
    command.args(["get", "-fsSL", "-O", "--cacert", &lab.ca()]);
    command.args([
        format!("https://{site}/big?a/b"),
        format!("https://{site}/to/%2e%2e/to?/"),
    ]);
    Run::of({
        command.current_dir(&dir);
        command
    })
    .await
    .exits_with(0);
    let mut names: Vec<_> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["big", "to"]);
    assert_eq!(
        std::fs::read_to_string(format!("{dir}/to")).unwrap(),
        crate::site::PAGE
    );
    let run = lab.get(&["-O", &format!("https://{site}/")]).await;
    run.exits_with(2).mentions(&["--output FILE"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn options_that_contradict_one_another_are_refused() {
    let lab = Lab::new();
    for (typed, expected) in [
        (&["-I", "-d", "x"][..], "--data"),
        (&["-I", "-T", "x"], "--head"),
        (&["-T", "x", "-d", "y"], "--data"),
        (&["-d", "x", "--data-binary", "y"], "--data"),
        (&["-o", "x", "-O"], "--output"),
        (&["-X", "no method"], "is not a method"),
        (&["-X", "CONNECT"], "--primary"),
        (
            &["--data-binary", "@-", "--data-binary", "@-"],
            "standard input",
        ),
        (&["-w", "%{nonsense}"], "http_code"),
        (&["-w", "@/nonexistent"], "/nonexistent"),
        (&["--key", "x"], "--cert"),
    ] {
        let run = lab
            .get(&[typed, &["https://a.test/x"]].concat())
            .await
            .exits_with(2)
            .mentions(&[expected]);
        assert_eq!(run.stdout, "", "{typed:?}");
    }
}
