//! The bounds of message heads, in bytes and the same for both versions of HTTP.

use crate::common::{Running, Site, curl, text};
use crate::terminate::backend::Backend;
use crate::terminate::status;

const VERSIONS: [&str; 2] = ["--http1.1", "--http2"];

/// The status for a request with these fields; `None` where curl is not installed.
fn status_of(site: &Site, server: &Running, version: &str, fields: &str) -> Option<String> {
    let file = site.root.path().join("fields");
    std::fs::write(&file, fields).expect("to write");
    let file = format!("@{}", file.display());
    let output = curl(
        &site.pem("ca.pem"),
        &[version, "-H", &file, &server.url("/")],
    )?;
    Some(status(&text(&output.stdout)).to_owned())
}

/// So many fields of so many bytes each, line end included.
fn fields(count: usize, bytes: usize) -> String {
    let field = |number| format!("{:x<1$}\n", format!("x-{number}: "), bytes - 1);
    (0..count).map(field).collect()
}

#[test]
fn request_heads_up_to_32_kib_pass_over_both_versions_and_longer_ones_get_431() {
    let (site, backend) = (Site::new(), Backend::tcp());
    for target in [backend.url.clone(), backend.url.replace("http:", "h2c:")] {
        let server = site.terminate(&target, &[]);
        for version in VERSIONS {
            for (count, bytes, expected) in [
                (101, 20, "200"),
                (2_000, 15, "200"),
                (1, 32_000, "200"),
                (16, 2_000, "200"),
                (2_300, 15, "431"),
                (1, 33_000, "431"),
                (17, 2_000, "431"),
                (1, 60_000, "431"),
            ] {
                let Some(found) = status_of(&site, &server, version, &fields(count, bytes)) else {
                    return;
                };
                assert_eq!(found, expected, "{target} {version}: {count} of {bytes}");
            }
        }
    }
}

#[test]
fn the_limit_of_request_heads_is_a_setting() {
    let site = Site::new();
    let large = site.serve(&["--max-header-size", "65536"]);
    let small = site.serve(&["--max-header-size", "4096"]);
    for version in VERSIONS {
        let Some(found) = status_of(&site, &large, version, &fields(1, 60_000)) else {
            return;
        };
        assert_eq!(found, "200", "{version}");
        let found = status_of(&site, &small, version, &fields(1, 5_000)).expect("curl");
        assert_eq!(found, "431", "{version}");
    }
}

#[test]
fn response_heads_up_to_300_kib_pass_over_both_versions_and_longer_ones_get_502() {
    let (site, backend) = (Site::new(), Backend::tcp());
    for target in [backend.url.clone(), backend.url.replace("http:", "h2c:")] {
        let server = site.terminate(&target, &[]);
        for version in VERSIONS {
            for (path, expected) in [
                ("/fields/101/20", "200"),
                ("/fields/1700/70", "200"),
                ("/fields/4000/70", "200"),
                ("/fields/10/29000", "200"),
                ("/fields/5000/70", "502"),
                ("/fields/11/29000", "502"),
            ] {
                // curl takes up to 128 KiB over HTTP/2.
                if version == "--http2" && ["/fields/4000/70", "/fields/10/29000"].contains(&path) {
                    continue;
                }
                let Some((head, _)) = site.fetch(&server, path, &[version]) else {
                    return;
                };
                assert_eq!(status(&head), expected, "{target} {version}: {path}");
            }
        }
    }
}
