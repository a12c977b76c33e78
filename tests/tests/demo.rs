//! The demo, as the README's first command runs it.

use std::process::Command;

#[test]
fn demo_tells_its_story_and_succeeds() {
    let output = Command::new(env!("CARGO_BIN_EXE_mtls-lab"))
        .arg("demo")
        .output()
        .expect("the demo runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{text}");
    for expected in [
        "verified: both ends saw the same TLS handshake",
        "Please type your password once more.",
        "session=canary-of-the-client",
        "intercepted: the server never saw this TLS handshake",
        "0 bytes of the application were sent",
        "CN=Multipath TLS test CA",
        "Every step had the expected result",
    ] {
        assert!(text.contains(expected), "`{expected}` is not in:\n{text}");
    }
    assert!(
        !text.contains('\x1b'),
        "no colours where there is no terminal"
    );
}
