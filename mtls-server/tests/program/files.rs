//! `serve` and a directory, as curl sees it.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::common::{Running, Site, binary, curl, text};

const BROWSER: &str = "accept: text/html,application/xhtml+xml,*/*;q=0.8";

/// Head and body of what curl got; `None` where it is not installed.
fn fetch(site: &Site, server: &Running, path: &str, options: &[&str]) -> Option<(String, Vec<u8>)> {
    let url = server.url(path);
    let all = [options, &["--path-as-is", &url]].concat();
    let output = curl(&site.pem("ca.pem"), &all)?.stdout;
    let end = output.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no head: {}", text(&output)));
    Some((text(&output[..end + 2]), output[end + 4..].to_vec()))
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

fn status(head: &str) -> &str {
    head.split(' ').nth(1).unwrap_or_default()
}

fn write(site: &Site, name: &str, contents: impl AsRef<[u8]>) {
    let path = site.www().join(name);
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("a directory");
    fs::write(path, contents).expect("to write");
}

#[test]
fn a_file_that_has_not_changed_is_not_sent_again() {
    let site = Site::new();
    let server = site.serve(&[]);
    let Some((head, _)) = fetch(&site, &server, "/sub/file.txt", &[]) else {
        return;
    };
    let tag = field(&head, "etag").expect("a tag").to_owned();
    let date = field(&head, "last-modified").expect("a date").to_owned();
    assert!(tag.starts_with('"'), "a strong one: {tag}");
    for (condition, expected) in [
        (format!("if-none-match: {tag}"), "304"),
        ("if-none-match: \"other\"".to_owned(), "200"),
        (format!("if-modified-since: {date}"), "304"),
        (format!("if-match: {tag}"), "200"),
        ("if-match: \"other\"".to_owned(), "412"),
    ] {
        let options = ["-H", &condition];
        let (head, _) = fetch(&site, &server, "/sub/file.txt", &options).expect("curl");
        assert_eq!(status(&head), expected, "{condition}: {head}");
    }
}

#[test]
fn a_list_of_entity_tags_may_be_in_several_fields() {
    let site = Site::new();
    let server = site.serve(&[]);
    let Some((head, _)) = fetch(&site, &server, "/sub/file.txt", &[]) else {
        return;
    };
    let tag = field(&head, "etag").expect("a tag").to_owned();
    for (name, expected, without) in [("if-none-match", "304", "200"), ("if-match", "200", "412")] {
        let own = format!("{name}: {tag}");
        let (other, more) = (format!("{name}: \"a\""), format!("{name}: \"b\""));
        for (fields, expected) in [
            ([&other, &own], expected),
            ([&own, &other], expected),
            ([&other, &more], without),
        ] {
            let options: Vec<&str> = fields.iter().flat_map(|field| ["-H", *field]).collect();
            let (head, _) = fetch(&site, &server, "/sub/file.txt", &options).expect("curl");
            assert_eq!(status(&head), expected, "{fields:?}: {head}");
        }
    }
}

#[test]
fn a_part_is_sent_only_of_the_file_that_the_client_knows() {
    let site = Site::new();
    let server = site.serve(&[]);
    let path = "/sub/file.txt";
    let Some((head, body)) = fetch(&site, &server, path, &["-r", "2-5"]) else {
        return;
    };
    assert_eq!((status(&head), body.as_slice()), ("206", &b"file"[..]));
    assert_eq!(field(&head, "content-range"), Some("bytes 2-5/6"));
    let known = |name| format!("if-range: {}", field(&head, name).expect("a validator"));
    for (condition, expected) in [
        (known("etag"), "206"),
        (known("last-modified"), "206"),
        ("if-range: \"other\"".to_owned(), "200"),
        ("if-range: Thu, 01 Jan 1970 00:00:00 GMT".to_owned(), "200"),
    ] {
        let options = ["-r", "2-5", "-H", &condition];
        let (head, body) = fetch(&site, &server, path, &options).expect("curl");
        assert_eq!(status(&head), expected, "{condition}");
        let whole = if expected == "200" { "a file" } else { "file" };
        assert_eq!(text(&body), whole, "{condition}");
    }
    let (head, body) = fetch(&site, &server, path, &["-r", "7-"]).expect("curl");
    assert_eq!(status(&head), "416");
    assert_eq!(field(&head, "content-range"), Some("bytes */6"));
    assert!(text(&body).contains("no such part"), "{}", text(&body));
    let (head, body) = fetch(&site, &server, path, &["-r", "0-0,3-4"]).expect("curl");
    assert_eq!((status(&head), text(&body).as_str()), ("200", "a file"));
}

#[test]
fn a_range_is_read_as_http_defines_it() {
    let site = Site::new();
    write(&site, "hundred", vec![b'x'; 100]);
    write(&site, "empty", "");
    let server = site.serve(&[]);
    for (path, range, expected, part) in [
        ("/hundred", "Bytes=0-4", "206", Some("bytes 0-4/100")),
        ("/hundred", "bytes=-500", "206", Some("bytes 0-99/100")),
        ("/hundred", "bytes=-1", "206", Some("bytes 99-99/100")),
        (
            "/hundred",
            "bytes=90-99999999999999999999",
            "206",
            Some("bytes 90-99/100"),
        ),
        (
            "/hundred",
            "bytes=,098-099 ,",
            "206",
            Some("bytes 98-99/100"),
        ),
        (
            "/hundred",
            "bytes=99999999999999999999-",
            "416",
            Some("bytes */100"),
        ),
        ("/hundred", "bytes=-0", "416", Some("bytes */100")),
        ("/hundred", "items=0-5", "200", None),
        ("/hundred", "bytes=5-4", "200", None),
        ("/hundred", "bytes=a-b", "200", None),
        ("/empty", "bytes=0-", "200", None),
        ("/empty", "bytes=-5", "200", None),
    ] {
        let range = format!("range: {range}");
        let Some((head, body)) = fetch(&site, &server, path, &["-H", &range]) else {
            return;
        };
        assert_eq!(status(&head), expected, "{range}: {head}");
        assert_eq!(field(&head, "content-range"), part, "{range}: {head}");
        let length = body.len().to_string();
        assert_eq!(field(&head, "content-length"), Some(&*length), "{range}");
    }
}

#[test]
fn head_is_answered_as_get_but_for_the_body_and_ranges() {
    let site = Site::new();
    write(&site, "long.txt", "all work and no play\n".repeat(1000));
    fs::create_dir_all(site.www().join("odd/index.html")).expect("a directory");
    let server = site.serve(&[]);
    let gzip = "accept-encoding: gzip";
    for version in ["--http1.1", "--http2"] {
        for (path, options) in [
            ("/sub/file.txt", &[][..]),
            ("/long.txt", &["-H", gzip][..]),
            ("/sub", &[][..]),
            ("/odd/", &[][..]),
            ("/missing", &[][..]),
        ] {
            let get = [&[version][..], options].concat();
            let Some((expected, _)) = fetch(&site, &server, path, &get) else {
                return;
            };
            let head = [&get[..], &["-I", "-H", "range: bytes=0-1"]].concat();
            let (head, body) = fetch(&site, &server, path, &head).expect("curl");
            assert_eq!(fields_of(&head), fields_of(&expected), "{version} {path}");
            assert!(body.is_empty(), "{version} {path}");
        }
    }
}

/// The status line and the fields that do not change from one moment to the next, without those that
/// only a response with a body needs.
fn fields_of(head: &str) -> Vec<&str> {
    let passing = ["date: ", "transfer-encoding: ", "content-length: 0"];
    let passes = |line: &&str| !passing.iter().any(|other| line.starts_with(other));
    head.lines().filter(passes).collect()
}

#[test]
fn a_304_response_describes_the_file_as_a_200_response_does() {
    let site = Site::new();
    write(&site, "long.txt", "all work and no play\n".repeat(1000));
    write(&site, "page.html", "<p>as it is");
    write(&site, "page.html.br", "(brotli)");
    for server in [site.serve(&[]), site.serve(&["--no-compression"])] {
        for path in ["/long.txt", "/page.html", "/sub/file.txt"] {
            for accept in ["accept-encoding: gzip, br", "accept-encoding: identity"] {
                let Some((full, _)) = fetch(&site, &server, path, &["-H", accept]) else {
                    return;
                };
                assert_eq!(status(&full), "200");
                let tag = field(&full, "etag").expect("a tag");
                let strong = tag.trim_start_matches("W/");
                let date = field(&full, "last-modified").expect("a date");
                for condition in [
                    format!("if-none-match: {strong}"),
                    format!("if-none-match: \"other\", W/{strong}"),
                    "if-none-match: *".to_owned(),
                    format!("if-modified-since: {date}"),
                ] {
                    let options = ["-H", accept, "-H", &condition];
                    let (head, body) = fetch(&site, &server, path, &options).expect("curl");
                    assert_eq!(status(&head), "304", "{path} {condition}: {head}");
                    for name in ["etag", "vary", "last-modified"] {
                        assert_eq!(field(&head, name), field(&full, name), "{path} {condition}");
                    }
                    assert!(body.is_empty());
                }
            }
        }
    }
}

#[test]
fn a_name_that_leads_to_no_file_gets_404() {
    let site = Site::new();
    let _socket = UnixListener::bind(site.www().join("socket")).expect("a socket");
    symlink("loop", site.www().join("loop")).expect("a link");
    symlink("/dev/zero", site.www().join("device")).expect("a link");
    fs::create_dir(site.www().join("packed.txt.gz")).expect("a directory");
    write(&site, "packed.txt", "not packed");
    // With `.br` after it, the name is too long for the file system.
    let longest = "a".repeat(255);
    write(&site, &longest, "x");
    let server = site.serve(&["--index"]);
    let long = format!("/{}", "a".repeat(300));
    let deep = "/a".repeat(3000);
    let packed = "accept-encoding: br, gzip";
    for path in [
        "/socket",
        "/loop",
        "/loop/x",
        "/loop/",
        "/device",
        "/sub/file.txt/x",
        "/nul%00",
        &long,
        &deep,
    ] {
        for options in [&["-H", packed][..], &["-I"][..], &["-r", "0-1"][..]] {
            let Some((head, _)) = fetch(&site, &server, path, options) else {
                return;
            };
            assert_eq!(status(&head), "404", "{path} {options:?}: {head}");
        }
    }
    for (path, expected) in [("/packed.txt", "not packed"), (&format!("/{longest}"), "x")] {
        let (head, body) = fetch(&site, &server, path, &["-H", packed]).expect("curl");
        assert_eq!((status(&head), text(&body).as_str()), ("200", expected));
    }
}

#[test]
fn a_directory_behind_a_link_is_replaced_in_one_step() {
    let site = Site::new();
    let root = site.root.path();
    for version in ["1", "2"] {
        fs::create_dir(root.join(version)).expect("a directory");
        fs::write(root.join(version).join("version"), version).expect("to write");
    }
    let lead_to = |target: &Path| {
        symlink(target, root.join("next")).expect("a link");
        fs::rename(root.join("next"), root.join("current")).expect("to rename");
    };
    lead_to(Path::new("1"));
    let mut command = binary();
    command.current_dir(root).args(["serve", "current"]);
    command.args(["--cert", "pki/server.pem", "--key", "pki/server.key"]);
    command.args(["--listen", "127.0.0.1:0", "--index"]);
    let mut server = Running::start(command);
    let get =
        |server: &Running, path: &str| fetch(&site, server, path, &[]).map(|(_, body)| text(&body));
    let Some(body) = get(&server, "/version") else {
        return;
    };
    assert_eq!(body, "1");
    lead_to(Path::new("2"));
    assert_eq!(get(&server, "/version").as_deref(), Some("2"));

    // A file that the program refuses at its start is refused later, too.
    lead_to(Path::new("pki"));
    let (head, _) = fetch(&site, &server, "/server.key", &[]).expect("curl");
    assert_eq!(status(&head), "404");
    assert_eq!(get(&server, "/version").as_deref(), Some("2"));
    let line = server.wait_for("stays in use");
    assert!(line.contains("every client could fetch it"), "{line}");
    lead_to(Path::new("1"));
    assert_eq!(get(&server, "/version").as_deref(), Some("1"));
}

#[test]
fn text_is_compressed_for_clients_that_accept_it() {
    let site = Site::new();
    let line = "all work and no play makes jack a dull boy\n";
    write(&site, "long.txt", line.repeat(1000));
    write(&site, "short.txt", "short");
    write(&site, "picture.png", line.repeat(1000));
    let server = site.serve(&[]);
    let gzip = ["-H", "accept-encoding: gzip, br"];
    let Some((head, body)) = fetch(&site, &server, "/long.txt", &gzip) else {
        return;
    };
    assert_eq!(field(&head, "content-encoding"), Some("gzip"));
    assert_eq!(field(&head, "vary"), Some("accept-encoding"));
    assert!(body.len() < 4096, "{}", body.len());
    let tag = field(&head, "etag").expect("a tag").to_owned();
    assert!(tag.starts_with("W/"), "other bytes than the file's: {tag}");
    let known = ["-H", gzip[1], "-H", &format!("if-none-match: {tag}")];
    let (again, _) = fetch(&site, &server, "/long.txt", &known).expect("curl");
    assert_eq!(
        (status(&again), field(&again, "etag")),
        ("304", Some(&*tag))
    );

    for (path, options) in [
        ("/long.txt", &[][..]),
        ("/short.txt", &gzip[..]),
        ("/picture.png", &gzip[..]),
    ] {
        let (head, body) = fetch(&site, &server, path, options).expect("curl");
        assert_eq!(field(&head, "content-encoding"), None, "{path}");
        let length = field(&head, "content-length").expect("a length");
        assert_eq!(length, body.len().to_string(), "{path}");
    }
    let output = curl(
        &site.pem("ca.pem"),
        &["--compressed", &server.url("/long.txt")],
    );
    let output = text(&output.expect("curl").stdout);
    assert!(output.ends_with(&line.repeat(1000)), "unpacked again");
}

#[test]
fn a_file_compressed_beforehand_is_sent_unchanged() {
    let site = Site::new();
    write(&site, "page.html", "<p>as it is");
    write(&site, "page.html.br", "(brotli)");
    write(&site, "page.html.gz", "(gzip)");
    for (options, accept, encoding, expected) in [
        (&[][..], "br, gzip", Some("br"), "(brotli)"),
        (&[][..], "gzip", Some("gzip"), "(gzip)"),
        (&[][..], "identity", None, "<p>as it is"),
        (&["--no-compression"][..], "br, gzip", None, "<p>as it is"),
    ] {
        let server = site.serve(options);
        let accept = format!("accept-encoding: {accept}");
        let Some((head, body)) = fetch(&site, &server, "/page.html", &["-H", &accept]) else {
            return;
        };
        assert_eq!(field(&head, "content-encoding"), encoding, "{accept}");
        assert_eq!(text(&body), expected);
        assert_eq!(field(&head, "content-type"), Some("text/html"));
    }
}

#[test]
fn directories_are_listed_only_with_the_option() {
    let site = Site::new();
    write(&site, "sub/<script>&.txt", vec![0; 1536]);
    write(&site, "sub/inner/x", "");
    write(&site, "sub/.secret", "");
    let server = site.serve(&[]);
    let Some((head, _)) = fetch(&site, &server, "/sub/", &["-H", BROWSER]) else {
        return;
    };
    assert_eq!(status(&head), "404");

    let server = site.serve(&["--index"]);
    let (head, body) = fetch(&site, &server, "/sub/", &["-H", BROWSER]).expect("curl");
    let page = text(&body);
    assert_eq!(status(&head), "200");
    let policy = field(&head, "content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    assert!(page.contains("&#60;script&#62;&#38;.txt"), "{page}");
    assert!(page.contains("1.5 KiB"), "{page}");
    assert!(page.contains("href=\"./inner/\""), "{page}");
    assert!(!page.contains(".secret"), "{page}");

    let (_, body) = fetch(&site, &server, "/sub/", &[]).expect("curl");
    let lines = text(&body);
    let names: Vec<&str> = lines.lines().filter_map(|line| line.get(34..)).collect();
    assert_eq!(names, ["inner/", "<script>&.txt", "file.txt"], "{lines}");

    // An index.html still stands for its directory, and a name without a slash is sent on.
    let (_, body) = fetch(&site, &server, "/", &["-H", BROWSER]).expect("curl");
    assert_eq!(text(&body), "<p>the index");
    let (head, _) = fetch(&site, &server, "/sub", &[]).expect("curl");
    assert_eq!(
        (status(&head), field(&head, "location")),
        ("307", Some("/sub/"))
    );
    for outside in [
        "/../",
        "/sub/../../",
        "/%2e%2e/",
        "/..%2f/",
        "//etc/",
        "/%00/",
    ] {
        let (head, _) = fetch(&site, &server, outside, &[]).expect("curl");
        assert_eq!(status(&head), "404", "{outside}");
    }
}

#[test]
fn hidden_files_are_served_only_with_the_option() {
    let site = Site::new();
    write(&site, ".git/config", "hidden");
    write(&site, ".well-known/acme-challenge/x", "known");
    for (options, expected) in [
        (&["--index"][..], "404"),
        (&["--index", "--hidden"][..], "200"),
    ] {
        let server = site.serve(options);
        for path in ["/.git/config", "/%2egit/config", "/.git/"] {
            let Some((head, body)) = fetch(&site, &server, path, &[]) else {
                return;
            };
            assert_eq!(status(&head), expected, "{path}");
            assert_eq!(
                expected == "404",
                !text(&body).contains("config\n") && body != b"hidden"
            );
        }
        let path = "/.well-known/acme-challenge/x";
        let (head, body) = fetch(&site, &server, path, &[]).expect("curl");
        assert_eq!((status(&head), text(&body).as_str()), ("200", "known"));
    }
}

#[test]
fn errors_are_pages_for_browsers_and_lines_for_terminals() {
    let site = Site::new();
    let server = site.serve(&[]);
    let Some((head, body)) = fetch(&site, &server, "/%3Cb%3Emissing", &["-H", BROWSER]) else {
        return;
    };
    assert_eq!(status(&head), "404");
    assert_eq!(
        field(&head, "content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(field(&head, "cache-control"), Some("no-store"));
    let page = text(&body);
    assert!(
        page.contains("There is nothing of this name here."),
        "{page}"
    );
    assert!(!page.contains("<b>"), "{page}");

    let (head, body) = fetch(&site, &server, "/missing", &[]).expect("curl");
    assert_eq!(
        field(&head, "content-type"),
        Some("text/plain; charset=utf-8")
    );
    let line = "404 Not Found: There is nothing of this name here.\n";
    assert_eq!(text(&body), line);

    let (head, _) = fetch(&site, &server, "/", &["-X", "DELETE"]).expect("curl");
    assert_eq!(
        (status(&head), field(&head, "allow")),
        ("405", Some("GET,HEAD"))
    );
}

#[test]
fn a_large_file_arrives_whole_over_both_versions_of_http() {
    let site = Site::new();
    let length = site.add_large_file("large");
    let server = site.serve(&[]);
    for version in ["--http1.1", "--http2"] {
        let ca = site.pem("ca.pem");
        let mut curl = std::process::Command::new("curl");
        curl.args(["-q", "--noproxy", "*", "-sf", version, "--cacert"])
            .arg(&ca)
            .arg(server.url("/large"))
            .stdout(std::process::Stdio::piped());
        let mut curl = match curl.spawn() {
            Ok(curl) => curl,
            Err(error) => return eprintln!("skipped: curl is not installed: {error}"),
        };
        let mut body = curl.stdout.take().expect("a pipe");
        let mut received = 0;
        let mut part = vec![0; 1 << 16];
        while let read @ 1.. = body.read(&mut part).expect("the body") {
            received += read as u64;
        }
        assert_eq!(received, length, "{version}");
        assert!(curl.wait().expect("to end").success(), "{version}");
    }
}
