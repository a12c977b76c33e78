//! Messages about what a user typed, without a key that is in it.

use std::borrow::Cow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The base64 of the shortest private key, that of Ed25519, has 64 characters.
const SHORTEST_KEY: usize = 60;
const SHOWN_INSTEAD: &str = "(content of a file)";

/// Replaces what looks like the content of a PEM file in a message: sections, or the rest of the
/// message after the begin of one, and long runs of base64.
///
/// A message that quotes an argument, an environment variable or a configuration quotes a key where
/// the key was given and not the name of its file.
pub fn redact(message: &str) -> Cow<'_, str> {
    let Some(start) = message.find("-----BEGIN") else {
        return without_base64(message);
    };
    let end = message.rfind("-----END").and_then(|end| {
        let dashes = message[end + 5..].find("-----")?;
        (end > start).then_some(end + 5 + dashes + 5)
    });
    let (before, after) = (&message[..start], end.map_or("", |end| &message[end..]));
    let (before, after) = (without_base64(before), without_base64(after));
    Cow::Owned(format!("{before}{SHOWN_INSTEAD}{after}"))
}

fn without_base64(text: &str) -> Cow<'_, str> {
    let mut shown = Cow::Borrowed(text);
    for word in text.split(|c: char| !c.is_ascii_alphanumeric() && !"+/=".contains(c)) {
        // A path that is that long begins with a slash.
        if word.len() >= SHORTEST_KEY && !word.starts_with('/') {
            shown = Cow::Owned(shown.replace(word, SHOWN_INSTEAD));
        }
    }
    shown
}

/// Is this the text of a PEM file, or base64 of a DER sequence, where the name of a file should be?
///
/// It may come from an environment variable that holds a key. A name is shown in errors.
pub(super) fn is_pem_text(name: &Path) -> bool {
    let name = name.as_os_str().as_bytes();
    let has = |text: &[u8]| name.windows(text.len()).any(|window| window == text);
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/= \\".contains(byte);
    has(b"-----BEGIN")
        || has(b"-----END")
        || has(b"\n")
        || (name.len() >= SHORTEST_KEY && name[0] == b'M' && name.iter().all(is_base64))
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn only_what_looks_like_the_content_of_a_file_is_replaced() {
        let line = "MC4CAQAwBQYDK2VwBCIEIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g";
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{line}\n-----END PRIVATE KEY-----");
        for (message, expected) in [
            (
                "no such file: /tmp/server.key",
                "no such file: /tmp/server.key",
            ),
            (
                &format!("got '{pem}' here"),
                "got '(content of a file)' here",
            ),
            (&format!("'{pem}' and '{pem}'."), "'(content of a file)'."),
            (&format!("'{}", &pem[..60]), "'(content of a file)"),
            (
                &format!("'{line}\n{line}'"),
                "'(content of a file)\n(content of a file)'",
            ),
            (
                &format!("'{line}\\n{line}'"),
                "'(content of a file)\\n(content of a file)'",
            ),
        ] {
            assert_eq!(redact(message), expected);
        }
    }
}
