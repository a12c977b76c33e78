//! Messages about what a user typed, without a key that is in it.

use std::borrow::Cow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The base64 of the shortest private key, that of Ed25519, has 64 characters.
const SHORTEST_KEY: usize = 60;
const SHOWN_INSTEAD: &str = "(content of a file)";

/// Replaces what looks like the content of a PEM file in a message: sections, or the rest of the
/// message after the begin of one, and long runs of base64, of hexadecimal digits or of numbers.
///
/// A message that quotes an argument, an environment variable or a configuration quotes a key where
/// the key was given and not the name of its file.
pub fn redact(message: &str) -> Cow<'_, str> {
    let Some(start) = message.find("-----BEGIN") else {
        return without_content(message);
    };
    let end = message.rfind("-----END").and_then(|end| {
        let dashes = message[end + 5..].find("-----")?;
        (end > start).then_some(end + 5 + dashes + 5)
    });
    let (before, after) = (&message[..start], end.map_or("", |end| &message[end..]));
    let (before, after) = (without_content(before), without_content(after));
    Cow::Owned(format!("{before}{SHOWN_INSTEAD}{after}"))
}

fn without_content(text: &str) -> Cow<'_, str> {
    without_numbers(without_keys(text))
}

/// Replaces long runs, and what follows them in the next lines: the last line of a key is short.
fn without_keys(text: &str) -> Cow<'_, str> {
    if !has_key(text) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let (mut rest, mut in_key) = (text, false);
    while !rest.is_empty() {
        let word = &rest[..rest.find(|c| !is_of_key(c)).unwrap_or(rest.len())];
        rest = &rest[word.len()..];
        in_key = !word.is_empty() && (in_key || is_key(word));
        shown.push_str(if in_key { SHOWN_INSTEAD } else { word });
        let between = &rest[..rest.find(is_of_key).unwrap_or(rest.len())];
        rest = &rest[between.len()..];
        in_key &= between.contains(['\n', '\r', '\\']) && !between.contains(['\'', '"', '`']);
        shown.push_str(between);
    }
    Cow::Owned(shown)
}

/// Replaces long lists of numbers, such as the debug output of bytes.
fn without_numbers(text: Cow<'_, str>) -> Cow<'_, str> {
    let is_of_list = |c: char| c.is_ascii_digit() || ", ".contains(c);
    let is_list = |run: &&str| run.len() >= SHORTEST_KEY && run.matches(',').count() >= 16;
    let lists = text.split(|c| !is_of_list(c)).filter(is_list);
    let lists: Vec<_> = lists.map(str::to_owned).collect();
    lists.iter().fold(text, |text, list| {
        Cow::Owned(text.replace(list, SHOWN_INSTEAD))
    })
}

fn has_key(text: &str) -> bool {
    text.split(|c| !is_of_key(c)).any(is_key)
}

/// A character of base64, of its variant for URLs, or of hexadecimal digits.
fn is_of_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || "+/=-_".contains(c)
}

/// A run that is long enough to be a key. A path or a name of several words has few capital letters
/// and few digits.
fn is_key(word: &str) -> bool {
    let count = |is: fn(&u8) -> bool| word.bytes().filter(is).count();
    let is_mixed = count(u8::is_ascii_digit) > 0
        && count(u8::is_ascii_uppercase) * 5 >= word.len()
        && count(u8::is_ascii_lowercase) * 5 >= word.len();
    word.len() >= SHORTEST_KEY && (is_mixed || !word.contains(['/', '-', '_']))
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

/// May this be a key in another form, where there is no file of this name? It is then not shown.
pub(super) fn may_be_key(name: &Path) -> bool {
    let name = name.as_os_str().to_string_lossy();
    let is_of_numbers = |c: char| c.is_ascii_hexdigit() || "xX,:;[](){} ".contains(c);
    name.contains(['\r', '\0'])
        || has_key(&name)
        || (name.len() >= SHORTEST_KEY && name.chars().all(is_of_numbers))
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
                "'(content of a file)\\(content of a file)'",
            ),
            (
                &format!("'----BEGIN KEY----\n/{line}\nAb9=\n----END KEY----'\n\nUsage: x"),
                "'----BEGIN KEY----\n(content of a file)\n(content of a file)\n(content of a \
                 file) KEY----'\n\nUsage: x",
            ),
            (
                &format!("`{}` is no file", line.replace('A', "-").replace('Q', "_")),
                "`(content of a file)` is no file",
            ),
            (
                &format!("`{:?}` is no path", [48; 40]),
                "`[(content of a file)]` is no path",
            ),
            (
                &format!(
                    "[{}] {pem} [{}]",
                    ["48"; 40].join(", "),
                    ["49"; 40].join(",")
                ),
                "[(content of a file)] (content of a file) [(content of a file)]",
            ),
            (
                "no file /home/someone/multipath/certificates/of/2026/the-one_for-example/server",
                "no file /home/someone/multipath/certificates/of/2026/the-one_for-example/server",
            ),
        ] {
            assert_eq!(redact(message), expected);
        }
    }
}
