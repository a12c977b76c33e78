//! `--advertise`: the request to be remembered.

use crate::common::{Site, get, text};

/// The values of the field `Multipath-TLS`.
fn advertised(response: &str) -> Vec<&str> {
    let fields = response.lines().take_while(|line| !line.is_empty());
    fields
        .filter_map(|line| line.strip_prefix("multipath-tls: "))
        .collect()
}

#[tokio::test]
async fn every_response_has_the_field_that_the_options_set() {
    let site = Site::new();
    let options = ["--advertise", "180d", "--advertise-side", "side.test:9443"];
    let value = "max-age=15552000;side-endpoint=\"side.test:9443\"";
    for (options, expected) in [
        (&options[..], &[value][..]),
        (&options[..2], &["max-age=15552000"]),
        (&["--advertise", "0s"], &["max-age=0"]),
        (&[], &[]),
    ] {
        let server = site.serve(options);
        for path in ["/sub/file.txt", "/missing", "/.multipath"] {
            let mut stream = site.connect(server.address).await;
            let response = get(&mut stream, path).await;
            assert_eq!(advertised(&response), expected, "{path}");
        }
    }
}

#[test]
fn a_time_that_is_too_long_or_unknown_is_refused() {
    let site = Site::new();
    for (options, expected) in [
        (&["--advertise", "731d"][..], "at most 730d"),
        (&["--advertise", "soon"], "such as 180d"),
        (&["--advertise-side", "side.test:9443"], "--advertise"),
        (
            &["--advertise", "1d", "--advertise-side", "side.test"],
            "--advertise-side",
        ),
    ] {
        let output = site.command(options).output().expect("to run");
        assert_eq!(output.status.code(), Some(2));
        let stderr = text(&output.stderr);
        assert!(stderr.contains(expected), "{stderr}");
    }
}
