//! Forms as `multipart/form-data` (RFC 7578), as curl's `--form` sends them.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use hyper::header::HeaderValue;

use super::content::{Content, Piece};
use crate::args::input_file::InputFile;
use crate::connect::provider::provider;

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

/// A field of a form: the value of `--form`.
#[derive(Clone)]
pub(crate) struct FormField {
    name: String,
    content: FieldContent,
}

#[derive(Clone)]
enum FieldContent {
    Single(Part),
    /// Several files, which curl sends as one part of the type multipart/mixed.
    Files(Vec<Part>),
}

/// A content with its parameters.
#[derive(Clone)]
struct Part {
    file_name: Option<String>,
    media_type: Option<String>,
    content: Piece,
}

/// The body of a request with these fields.
///
/// # Errors
/// If standard input would be read twice, or the system has no random bytes.
pub(super) fn content(fields: &[FormField]) -> Result<Content, &'static str> {
    let mut form = Multipart::new()?;
    for field in fields {
        let disposition = field.disposition();
        match &field.content {
            FieldContent::Single(part) => form.add(&disposition, part),
            FieldContent::Files(parts) => {
                let mut files = Multipart::new()?;
                for part in parts {
                    files.add("attachment", part);
                }
                form.add_multipart(&disposition, files);
            }
        }
    }
    let content_type = format!("multipart/form-data; boundary={}", form.boundary);
    Content::new(form.end(), HeaderValue::try_from(content_type).ok())
}

/// A body of several parts (RFC 2046, section 5.1).
struct Multipart {
    boundary: String,
    pieces: Vec<Piece>,
}

impl Multipart {
    fn new() -> Result<Self, &'static str> {
        Ok(Self {
            boundary: boundary()?,
            pieces: Vec::new(),
        })
    }

    fn add(&mut self, disposition: &str, part: &Part) {
        self.add_head(&part.head(disposition));
        self.pieces.push(part.content.clone());
    }

    fn add_multipart(&mut self, disposition: &str, inner: Self) {
        self.add_head(&format!(
            "\r\nContent-Disposition: {disposition}\r\nContent-Type: multipart/mixed; \
             boundary={}\r\n\r\n",
            inner.boundary
        ));
        self.pieces.extend(inner.end());
    }

    fn add_head(&mut self, head: &str) {
        let line_break = if self.pieces.is_empty() { "" } else { "\r\n" };
        let head = format!("{line_break}--{}{head}", self.boundary);
        self.pieces.push(Piece::Bytes(head.into()));
    }

    fn end(mut self) -> Vec<Piece> {
        self.add_head("--\r\n");
        self.pieces
    }
}

/// A random boundary, so that no content contains it.
fn boundary() -> Result<String, &'static str> {
    let mut random = [0; 16];
    provider()
        .secure_random
        .fill(&mut random)
        .map_err(|_| "the system has no random bytes")?;
    Ok(format!(
        "------------------------{:032x}",
        u128::from_be_bytes(random)
    ))
}

impl FormField {
    fn disposition(&self) -> String {
        format!("form-data; name=\"{}\"", escaped(&self.name))
    }
}

impl Part {
    fn new(content: Piece, parameters: Parameters) -> Self {
        Self {
            file_name: parameters.file_name,
            media_type: parameters.media_type,
            content,
        }
    }

    /// A file with its name and type, unless parameters set them.
    fn file(path: &str, parameters: Parameters) -> Self {
        let path = unquoted(path);
        let file = InputFile::from(&path);
        let file_name = parameters.file_name;
        let by_name = file_name.as_deref().and_then(known_media_type);
        let of_path = || by_name.or_else(|| media_type(&path)).map(str::to_owned);
        Self {
            media_type: parameters.media_type.or_else(of_path),
            file_name: file_name.or_else(|| Some(file.file_name().unwrap_or(path))),
            content: Piece::Whole(file),
        }
    }

    fn head(&self, disposition: &str) -> String {
        let file_name = self.file_name.as_deref().map(escaped);
        let file_name = file_name.map(|name| format!("; filename=\"{name}\""));
        let media_type = self.media_type.as_deref();
        let media_type = media_type.map(|media_type| format!("\r\nContent-Type: {media_type}"));
        format!(
            "\r\nContent-Disposition: {disposition}{}{}\r\n\r\n",
            file_name.unwrap_or_default(),
            media_type.unwrap_or_default(),
        )
    }
}

/// Escapes a name as browsers and curl do (HTML standard, section 4.10.21.8).
fn escaped(name: &str) -> String {
    name.replace('"', "%22")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// Parses `NAME=CONTENT`, `NAME=@FILE[,FILE]…` or `NAME=<FILE`; parameters may follow each content
/// and file. Errors do not repeat the content, which may be secret.
impl FromStr for FormField {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, content) = text
            .split_once('=')
            .ok_or("a field without `=`; write `NAME=CONTENT`")?;
        let content = FieldContent::parse(content);
        Ok(Self {
            name: name.to_owned(),
            content: content.map_err(|reason| format!("`{}`: {reason}", name.escape_debug()))?,
        })
    }
}

impl FieldContent {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let Some(files) = text.strip_prefix('@') else {
            let (content, parameters) = with_parameters(text)?;
            let content = match content.strip_prefix('<') {
                Some(file) => Piece::Whole(InputFile::from(unquoted(file))),
                None => Piece::Bytes(Bytes::from(unquoted(content))),
            };
            return Ok(Self::Single(Part::new(content, parameters)));
        };
        let file = |text| with_parameters(text).map(|(path, given)| Part::file(path, given));
        let mut files = split(files, ',').into_iter().map(file);
        let first = files.next().ok_or("no file")??;
        let others = files.collect::<Result<Vec<_>, _>>()?;
        Ok(match others.is_empty() {
            true => Self::Single(first),
            false => Self::Files(std::iter::once(first).chain(others).collect()),
        })
    }
}

/// Without the content, which may be secret.
impl fmt::Debug for FormField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FormField").field(&self.name).finish()
    }
}

/// Splits a content from the parameters that follow it.
fn with_parameters(text: &str) -> Result<(&str, Parameters), &'static str> {
    let mut segments = split(text, ';').into_iter();
    let content = segments.next().unwrap_or_default();
    Ok((content, Parameters::parse(segments)?))
}

/// The parameters of a content.
#[derive(Default)]
struct Parameters {
    media_type: Option<String>,
    file_name: Option<String>,
}

impl Parameters {
    fn parse<'a>(segments: impl Iterator<Item = &'a str>) -> Result<Self, &'static str> {
        let mut parameters = Self::default();
        // Further segments belong to the media type.
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
                return Err(
                    "unknown parameter after `;`; write `type=` or `filename=`, or quote a content that has `;`",
                );
            }
        }
        let bad = |text: &String| !text.contains('/') || HeaderValue::from_str(text).is_err();
        match parameters.media_type.as_ref().is_some_and(bad) {
            true => Err("invalid media type; write `type=MEDIA/TYPE`"),
            false => Ok(parameters),
        }
    }
}

/// Splits at each `separator` outside of quotes.
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

/// Removes the spaces around a text, and its quotes.
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

/// The media type of a file; `None` for standard input.
fn media_type(path: &str) -> Option<&'static str> {
    let media_type = known_media_type(path).unwrap_or("application/octet-stream");
    (path != "-").then_some(media_type)
}

/// The media type by the end of a name.
fn known_media_type(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let known = MEDIA_TYPES.iter().find(|(end, _)| name.ends_with(end));
    known.map(|(_, media_type)| *media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<FieldContent, String> {
        text.parse().map(|field: FormField| field.content)
    }

    fn whole(path: &str) -> Piece {
        Piece::Whole(InputFile::from(path))
    }

    #[test]
    fn fields_of_every_form_are_parsed() {
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
            let field: FormField = text.parse().unwrap();
            let FieldContent::Single(part) = &field.content else {
                panic!("{text}: several parts");
            };
            let expected = format!("\r\nContent-Disposition: form-data; {head}\r\n\r\n");
            assert_eq!(part.head(&field.disposition()), expected, "{text}");
            assert_eq!(part.content, Piece::Bytes(content.to_owned().into()));
        }
    }

    #[test]
    fn files_have_a_name_and_a_type_and_their_content_alone_has_neither() {
        let Ok(FieldContent::Files(parts)) = parse("f=@dir/a.TXT,\"b,c\";filename=d") else {
            panic!("not several files");
        };
        let heads: Vec<_> = parts.iter().map(|part| part.head("x")).collect();
        assert!(
            heads[0].contains("filename=\"a.TXT\"\r\nContent-Type: text/plain\r\n"),
            "{heads:?}"
        );
        assert!(heads[1].contains("filename=\"d\"\r\nContent-Type: application/octet-stream"));
        assert_eq!(parts[1].content, whole("b,c"));
        let Ok(FieldContent::Single(file)) = parse("f=@\"b,c\"") else {
            panic!("not one file");
        };
        assert!(file.head("x").contains("filename=\"b,c\""));
        for (text, expected) in [
            ("f=@-;filename=a.PNG", Some("image/png")),
            ("f=@a.txt;filename=b.png", Some("image/png")),
            ("f=@a.txt;filename=b", Some("text/plain")),
            ("f=@-;filename=b", None),
        ] {
            let Ok(FieldContent::Single(file)) = parse(text) else {
                panic!("no file: {text}");
            };
            assert_eq!(file.media_type.as_deref(), expected, "{text}");
        }
        let Ok(FieldContent::Single(part)) = parse("f=<-") else {
            panic!("not one content");
        };
        assert!(!part.head("x").contains("filename"));
        assert_eq!(part.content, Piece::Whole(InputFile::Stdin));
    }

    #[test]
    fn invalid_fields_are_refused_without_their_content() {
        for texts in [
            &["secret"][..],
            &["x=secret;secret"],
            &["x=1;type=secret"],
            &["x=1;type=a/b\r\nsecret"],
            &["x=@a,b;secret"],
            &["a=@-", "b=<-"],
            &["a=@-,-"],
        ] {
            let fields: Result<Vec<FormField>, String> =
                texts.iter().map(|text| text.parse()).collect();
            let content = fields.and_then(|fields| content(&fields).map_err(str::to_owned));
            let error = content.map(|_| ()).unwrap_err();
            assert!(!error.contains("secret"), "{texts:?}: {error}");
        }
    }
}
