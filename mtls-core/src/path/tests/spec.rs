use crate::path::{Endpoint, EndpointError, Host, Path, PathKind, PathSpecError};

#[test]
fn every_form_is_displayed_as_it_was_written() {
    for text in [
        "direct",
        "if:wwan0",
        "src:192.0.2.1",
        "src:2001:db8::1",
        "socks5h://proxy.test:1080",
        "socks5h://[2001:db8::1]:1080",
        "http://192.0.2.1:3128",
        "src:fe80::1%wwan0",
        "http://[fe80::1%wwan0]:3128",
    ] {
        let path: Path = text.parse().unwrap();
        assert_eq!(path.to_string(), text);
        assert_eq!(text.parse::<PathKind>().unwrap(), *path.kind());
        assert_eq!(
            serde_json::to_string(path.kind()).unwrap(),
            format!("{text:?}")
        );
    }
}

#[test]
fn what_is_no_path_is_refused_with_the_remedy() {
    for (text, said) in [
        ("", "write one of direct"),
        ("wwan0", "write one of direct"),
        ("https://proxy.test:1", "write one of direct"),
        ("socks5://proxy.test:1080", "write `socks5h://HOST:PORT`"),
        ("SOCKS5://proxy.test:1080", "write `socks5h://HOST:PORT`"),
        ("socks5h://proxy.test", "has no port"),
        ("socks5h://2001:db8::1", "in brackets"),
        ("socks5h://:1080", "host is missing"),
        ("http://proxy.test:0", "port from 1 to 65535"),
        ("http://proxy.test:3128/path", "port from 1 to 65535"),
        ("if:", "interface name"),
        ("if:sixteen-letters-", "interface name"),
        ("if:a/b", "interface name"),
        ("src:eth0", "write `src:IP`"),
        ("src:0.0.0.0", "write `src:IP`"),
        ("src:ff02::1", "write `src:IP`"),
        ("http://user@proxy.test:1", "USER:PASSWORD@"),
        ("http://:secret@proxy.test:1", "user name is empty"),
        ("http://a%3Ab:secret@proxy.test:1", "colon"),
        ("http://a:%zz@proxy.test:1", "hexadecimal"),
    ] {
        let error = text.parse::<Path>().unwrap_err().to_string();
        assert!(error.contains(said), "{text:?}: {error}");
    }
}

#[test]
fn credentials_are_never_shown() {
    for text in [
        "socks5h://alice:s3cret@proxy.test:1",
        "http://alice:s3cret@proxy.test:1",
    ] {
        let path: Path = text.parse().unwrap();
        for shown in [
            path.to_string(),
            format!("{path:?}"),
            format!("{:?}", path.settings.credentials),
        ] {
            assert!(
                !shown.contains("s3cret") && !shown.contains("alice"),
                "{shown}"
            );
        }
    }
    for text in [
        "socks://alice:s3cret@proxy.test:1",
        "alice:s3cret@proxy.test://x",
        "http:/alice:s3cret@proxy.test",
        "http://alice:s3cret@proxy.test",
        "socks5h://alice:s3cret%@proxy.test:1",
    ] {
        let error = text.parse::<Path>().unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }
}

#[test]
fn credentials_need_a_proxy() {
    let error = Path::system().credentials("alice", "s3cret").unwrap_err();
    assert!(matches!(error, PathSpecError::Credentials(_)), "{error:?}");
    let long = "x".repeat(256);
    let proxy = || Path::socks5("proxy.test:1".parse().unwrap());
    assert!(proxy().credentials("alice", &long).is_err());
    assert!(proxy().credentials("alice", &long[1..]).is_ok());
}

#[test]
fn an_endpoint_is_displayed_as_it_was_written() {
    for text in [
        "example.test:443",
        "192.0.2.1:1",
        "[2001:db8::1]:65535",
        "a_b.test.:80",
        "[fe80::1%eth0]:443",
    ] {
        assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
    }
    let upper: Endpoint = "EXAMPLE.test:443".parse().unwrap();
    assert_eq!(upper, "example.TEST:443".parse().unwrap());
    assert_eq!("::1".parse::<Host>().unwrap(), "[::1]".parse().unwrap());
}

#[test]
fn every_spelling_of_a_host_is_one_host() {
    for (spellings, canonical) in [
        (
            &[
                "127.1",
                "127.0.1",
                "0x7f.1",
                "0X7F000001",
                "2130706433",
                "0177.0.0.01",
                "127.0.0.1.",
                "[::ffff:127.0.0.1]",
                "::ffff:7f00:1",
                "１２７.0.0.1",
                "127。0．0｡1",
            ][..],
            "127.0.0.1",
        ),
        (&["0", "0x", "0.0"], "0.0.0.0"),
        (&["[::1]", "0:0::1", "[::1%lo]", "[::1%25lo]"], "[::1]"),
        (&["fe80::1%eth0", "[FE80::1%25eth0]"], "[fe80::1%eth0]"),
        (
            &[
                "Bücher.test",
                "BU\u{308}CHER.test",
                "XN--BCHER-KVA.TEST",
                "bü\u{ad}cher。test",
            ],
            "xn--bcher-kva.test",
        ),
        (&["ＬｏｃａｌＨｏｓｔ", "LOCALHOST"], "localhost"),
    ] {
        for text in spellings {
            let host: Host = text
                .parse()
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(host.to_string(), canonical, "{text}");
            assert_eq!(host, canonical.parse().unwrap(), "{text}");
        }
    }
}

#[test]
fn what_is_no_endpoint_is_refused_by_its_reason() {
    use EndpointError::*;
    let label = "x".repeat(64);
    let long = format!("{}:1", "abcdefg.".repeat(32));
    for (text, expected) in [
        ("", NoPort("".into())),
        (":1", NoHost),
        (".:1", NoHost),
        ("example.test", NoPort("example.test".into())),
        ("[::1]", NoPort("[::1]".into())),
        ("::1", BracketsMissing("::1".into())),
        ("2001:db8::1:443", BracketsMissing("2001:db8::1:443".into())),
        ("fe80::1%eth0:1", BracketsMissing("fe80::1%eth0".into())),
        ("[fe80::1%]:1", NotAnIpv6Address("fe80::1%".into())),
        ("[192.0.2.1]:1", NotAnIpv6Address("192.0.2.1".into())),
        ("a:", BadPort("".into())),
        ("a:0", BadPort("0".into())),
        ("a:+1", BadPort("+1".into())),
        ("a:65536", BadPort("65536".into())),
        ("1.2.3.256:1", NotAnIpv4Address("1.2.3.256".into())),
        ("0.08:1", NotAnIpv4Address("0.08".into())),
        ("a.0x7f:1", NotAnIpv4Address("a.0x7f".into())),
        ("1.2.3.4.5:1", NotAnIpv4Address("1.2.3.4.5".into())),
        ("a..b:1", BadLabel("a..b".into())),
        (&format!("{label}:1"), BadLabel(label.clone())),
        (&long, HostTooLong(255)),
        (
            "a b:1",
            BadCharacter {
                host: "a b".into(),
                character: ' ',
            },
        ),
        (
            "bü cher.test:1",
            BadCharacter {
                host: "bü cher.test".into(),
                character: 'ü',
            },
        ),
        (
            "bü%2e.test:1",
            BadCharacter {
                host: "bü%2e.test".into(),
                character: 'ü',
            },
        ),
        (
            "a\r\nb:1",
            BadCharacter {
                host: "a\r\nb".into(),
                character: '\r',
            },
        ),
    ] {
        assert_eq!(text.parse::<Endpoint>().unwrap_err(), expected, "{text:?}");
    }
}
