//! A form as `multipart/form-data` (RFC 7578), as curl's `--form` writes it.

use std::path::Path;

use bytes::Bytes;
use hyper::header::HeaderValue;

use super::settings::{Payload, Piece, Place};
use crate::connect::roots;

/// Media types by the end of a file's name, as curl knows them.
const MEDIA_TYPES: [(&str, &str); 10] = [
    (".gif", "image/gif"),
    (".jpg", "image/jpeg"),
    (".jpeg", "image/jpeg"),
    (".png", "image/png"),
    (".svg", "image/svg+xml"),
    (".txt", "text/plain"),
    (".htm", "text/html"),
    (".html", "text/html"),
    (".pdf", "application/pdf"),
    (".xml", "application/xml"),
];

/// The body that these options amount to. Errors show no content.
pub(super) fn payload(texts: &[String]) -> Result<Payload, String> {
    let boundary = boundary()?;
    let mut pieces = Vec::with_capacity(texts.len() * 2 + 1);
    let mut before = format!("--{boundary}");
    for text in texts {
        for part in parse(text)? {
            pieces.push(Piece::Bytes(format!("{before}{}", part.head()).into()));
            pieces.push(part.content);
            before = format!("\r\n--{boundary}");
        }
    }
    pieces.push(Piece::Bytes(format!("{before}--\r\n").into()));
    let content_type = format!("multipart/form-data; boundary={boundary}");
    let payload = Payload {
        pieces,
        content_type: HeaderValue::try_from(content_type).ok(),
    };
    Ok(payload.check()?)
}

/// Random, so that no content contains it.
fn boundary() -> Result<String, String> {
    let mut random = [0; 16];
    roots::provider()
        .secure_random
        .fill(&mut random)
        .map_err(|_| "the system has no random bytes")?;
    Ok(format!(
        "------------------------{:032x}",
        u128::from_be_bytes(random)
    ))
}

/// A part of the body.
struct Part {
    name: String,
    file_name: Option<String>,
    media_type: Option<String>,
    content: Piece,
}

impl Part {
    fn head(&self) -> String {
        let file_name = self.file_name.as_deref().map(escaped);
        let file_name = file_name.map(|name| format!("; filename=\"{name}\""));
        let media_type = self.media_type.as_deref();
        let media_type = media_type.map(|media_type| format!("\r\nContent-Type: {media_type}"));
        format!(
            "\r\nContent-Disposition: form-data; name=\"{}\"{}{}\r\n\r\n",
            escaped(&self.name),
            file_name.unwrap_or_default(),
            media_type.unwrap_or_default(),
        )
    }
}

/// As browsers and curl do (HTML standard, section 4.10.21.8).
fn escaped(name: &str) -> String {
    name.replace('"', "%22")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// Parses `NAME=CONTENT`, `NAME=@FILE[,FILE]…` or `NAME=<FILE`, and the parameters that follow.
fn parse(text: &str) -> Result<Vec<Part>, String> {
    let (name, rest) = text
        .split_once('=')
        .ok_or("a field without `=`; write `NAME=CONTENT`")?;
    let wrong = |reason: &str| format!("`{}`: {reason}", name.escape_debug());
    let mut segments = split(rest, ';').into_iter();
    let content = segments.next().unwrap_or_default();
    let parameters = Parameters::parse(segments).map_err(wrong)?;
    let part = |file_name: Option<String>, media_type: Option<&str>, content| Part {
        name: name.to_owned(),
        file_name: parameters.file_name.clone().or(file_name),
        media_type: parameters
            .media_type
            .clone()
            .or(media_type.map(str::to_owned)),
        content,
    };
    if let Some(files) = content.strip_prefix('@') {
        let upload = |file: &str| {
            let path = unquoted(file);
            let (name, media_type) = (file_name(&path), media_type(&path));
            part(Some(name), media_type, whole(&path))
        };
        return Ok(split(files, ',').into_iter().map(upload).collect());
    }
    let content = match content.strip_prefix('<') {
        Some(file) => whole(&unquoted(file)),
        None => Piece::Bytes(Bytes::from(unquoted(content))),
    };
    Ok(vec![part(None, None, content)])
}

/// What follows a content.
#[derive(Default)]
struct Parameters {
    media_type: Option<String>,
    file_name: Option<String>,
}

impl Parameters {
    fn parse<'a>(segments: impl Iterator<Item = &'a str>) -> Result<Self, &'static str> {
        let mut parameters = Self::default();
        // A media type has parameters of its own.
        let mut in_type = false;
        for segment in segments.map(str::trim) {
            if let Some(text) = segment.strip_prefix("type=") {
                in_type = true;
                parameters.media_type = Some(text.to_owned());
            } else if let Some(name) = segment.strip_prefix("filename=") {
                in_type = false;
                parameters.file_name = Some(unquoted(name));
            } else if let (Some(media_type), true) = (&mut parameters.media_type, in_type) {
                *media_type += ";";
                *media_type += segment;
            } else {
                return Err("after `;` comes `type=` or `filename=`; quote a content that has `;`");
            }
        }
        let bad = |text: &String| !text.contains('/') || HeaderValue::from_str(text).is_err();
        match parameters.media_type.as_ref().is_some_and(bad) {
            true => Err("`type=` names no media type; write `type=MEDIA/TYPE`"),
            false => Ok(parameters),
        }
    }
}

/// Splits where `separator` is outside of quotes.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    let is_separator = |c: char| {
        let ends = c == separator && !quoted;
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && quoted && !escaped;
        ends
    };
    text.split(is_separator).collect()
}

/// Without the quotes, if there are any, and the spaces around it.
fn unquoted(text: &str) -> String {
    let text = text.trim();
    let inner = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let Some(inner) = inner else {
        return text.to_owned();
    };
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match (c, chars.as_str().chars().next()) {
            ('\\', Some(next @ ('"' | '\\'))) => {
                out.push(next);
                chars.next();
            }
            _ => out.push(c),
        }
    }
    out
}

fn whole(path: &str) -> Piece {
    Piece::Whole(Place::of(Path::new(path)))
}

fn file_name(path: &str) -> String {
    let name = Path::new(path).file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// None for standard input, which has no name.
fn media_type(path: &str) -> Option<&'static str> {
    let path = path.to_ascii_lowercase();
    let known = MEDIA_TYPES.iter().find(|(end, _)| path.ends_with(end));
    let media_type = known.map_or("application/octet-stream", |(_, media_type)| media_type);
    (path != "-").then_some(media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_every_form_are_understood() {
        for (text, head, content) in [
            ("x=a b ", "name=\"x\"", "a b"),
            ("x=", "name=\"x\"", ""),
            ("x=a=b", "name=\"x\"", "a=b"),
            ("x=\"a;\\\"b\"", "name=\"x\"", "a;\"b"),
            ("q\"n=1", "name=\"q%22n\"", "1"),
            (
                "x=1;type=a/b;charset=utf-8;filename=\"f;\"",
                "name=\"x\"; filename=\"f;\"\r\nContent-Type: a/b;charset=utf-8",
                "1",
            ),
        ] {
            let parts = parse(text).unwrap();
            let [part] = &parts[..] else {
                panic!("{text}: {} parts", parts.len());
            };
            let expected = format!("\r\nContent-Disposition: form-data; {head}\r\n\r\n");
            assert_eq!(part.head(), expected, "{text}");
            assert_eq!(part.content, Piece::Bytes(content.to_owned().into()));
        }
    }

    #[test]
    fn files_have_a_name_and_a_type_and_their_content_alone_has_neither() {
        let parts = parse("f=@dir/a.TXT,\"b,c\"").unwrap();
        let heads: Vec<_> = parts.iter().map(Part::head).collect();
        assert!(
            heads[0].contains("filename=\"a.TXT\"\r\nContent-Type: text/plain\r\n"),
            "{heads:?}"
        );
        assert!(heads[1].contains("filename=\"b,c\"\r\nContent-Type: application/octet-stream"));
        assert_eq!(parts[1].content, whole("b,c"));
        let parts = parse("f=<-").unwrap();
        assert!(!parts[0].head().contains("filename"));
        assert_eq!(parts[0].content, Piece::Whole(Place::Stdin));
    }

    #[test]
    fn fields_that_cannot_be_are_refused_without_their_content() {
        for texts in [
            &["secret"][..],
            &["x=secret;secret"],
            &["x=1;type=secret"],
            &["x=1;type=a/b\r\nsecret"],
            &["a=@-", "b=<-"],
        ] {
            let texts: Vec<_> = texts.iter().map(|&text| text.to_owned()).collect();
            let error = payload(&texts).map(|_| ()).unwrap_err();
            assert!(!error.contains("secret"), "{texts:?}: {error}");
        }
    }
}
