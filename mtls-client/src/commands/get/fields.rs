//! The header fields of requests.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use crate::args::input_file::InputFile;
use crate::exit::Exit;
use crate::failure::Failure;

/// The largest file of fields, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The content codings that `--compressed` accepts, in curl's order.
const CODINGS: &str = "deflate, gzip, br, zstd";

/// Fields that describe a body: they are dropped with it (RFC 9110, section 15.4, 4.).
const BODY_FIELDS: [HeaderName; 4] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LOCATION,
    header::CONTENT_TYPE,
];

/// Fields that frame messages or control the connection, which the program sets.
const RESERVED: [HeaderName; 6] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Fields that are sent only to the first host.
const FIRST_HOST_ONLY: [HeaderName; 3] = [header::AUTHORIZATION, header::COOKIE, header::HOST];

/// The body of a request, for its header fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body<'a> {
    /// Its media type, if it has one and no field sets another.
    Sent(Option<&'a HeaderValue>),
    /// A redirect has dropped the body.
    Dropped,
}

/// The fields of each request: the program's defaults, and those that the options add or remove.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields {
    defaults: HeaderMap,
    given: Vec<Field>,
}

/// A field to set, or to remove (`None`).
type Field = (HeaderName, Option<HeaderValue>);

/// The value of `--header`.
#[derive(Clone, Debug)]
pub(crate) enum FieldOption {
    Field(HeaderName, Option<HeaderValue>),
    /// A file with a field in each line.
    File(InputFile),
}

/// The value of `--user`: the `Authorization` field for it.
#[derive(Clone, Debug)]
pub(crate) struct Credentials(HeaderValue);

impl Fields {
    /// The fields of `--header`, `--user` and `--compressed`.
    ///
    /// # Errors
    /// If a file cannot be read, or has a line that is not a field. No error shows a value, which
    /// may be secret.
    pub(super) fn new(
        options: &[FieldOption],
        user: Option<&Credentials>,
        compressed: bool,
    ) -> Result<Self, Failure> {
        let agent = concat!("mtls-client/", env!("CARGO_PKG_VERSION"));
        let mut defaults = HeaderMap::from_iter([
            (header::USER_AGENT, HeaderValue::from_static(agent)),
            (header::ACCEPT, HeaderValue::from_static("*/*")),
        ]);
        if compressed {
            defaults.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(CODINGS));
        }
        if let Some(Credentials(value)) = user {
            defaults.insert(header::AUTHORIZATION, value.clone());
        }
        let mut given = Vec::with_capacity(options.len());
        for option in options {
            match option {
                FieldOption::Field(name, value) => given.push((name.clone(), value.clone())),
                FieldOption::File(file) => given.extend(read(file)?),
            }
        }
        Ok(Self { defaults, given })
    }

    /// The fields of one request, with `Host` only if an option sets it.
    pub(super) fn for_request(&self, to_first_host: bool, body: Body<'_>) -> HeaderMap {
        let for_this_host = |name: &HeaderName| to_first_host || !FIRST_HOST_ONLY.contains(name);
        let mut fields = self.defaults.clone();
        if !to_first_host {
            for name in FIRST_HOST_ONLY {
                fields.remove(name);
            }
        }
        if let Body::Sent(Some(content_type)) = body {
            fields.insert(header::CONTENT_TYPE, content_type.clone());
        }
        for (name, _) in &self.given {
            fields.remove(name);
        }
        for (name, value) in &self.given {
            let kept =
                for_this_host(name) && (body != Body::Dropped || !BODY_FIELDS.contains(name));
            if let (Some(value), true) = (value, kept) {
                let with_boundary = with_boundary(name, value, body);
                fields.append(name, with_boundary.unwrap_or_else(|| value.clone()));
            }
        }
        fields
    }
}

/// The value of a field, with the boundary of the form if it is the media type of one. curl adds it
/// too.
fn with_boundary(name: &HeaderName, value: &HeaderValue, body: Body<'_>) -> Option<HeaderValue> {
    const BOUNDARY: &str = "; boundary=";
    let Body::Sent(Some(own)) = body else {
        return None;
    };
    let given = value
        .to_str()
        .ok()
        .filter(|_| name == header::CONTENT_TYPE)?;
    if given.to_ascii_lowercase().contains("boundary=") {
        return None;
    }
    let (_, boundary) = own.to_str().ok()?.split_once(BOUNDARY)?;
    format!("{given}{BOUNDARY}{boundary}").parse().ok()
}

/// Reads one field from each line, as curl does.
fn read(file: &InputFile) -> Result<Vec<Field>, Failure> {
    let failure = |reason: fmt::Arguments<'_>| Failure::usage("--header", reason);
    let text = file.read_text(MAX_FILE).map_err(|error| {
        failure(format_args!("could not read {file}: {error}")).with_exit(Exit::Read)
    })?;
    let lines = (1..).zip(text.lines());
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    let fields = lines.map(|(number, line)| {
        parse(line).map_err(|error| failure(format_args!("{file}, line {number}: {error}")))
    });
    fields.collect()
}

impl FromStr for FieldOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix('@') {
            Some(file) => Ok(Self::File(file.into())),
            None => parse(text).map(|(name, value)| Self::Field(name, value)),
        }
    }
}

/// Parses `USER:PASSWORD` (RFC 7617, section 2). Errors do not repeat it.
impl FromStr for Credentials {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.contains(':') {
            return Err(
                "no password; write USER:PASSWORD, or USER: for an empty password \
                        (mtls-client does not prompt for one)",
            );
        }
        let pair = Zeroizing::new(STANDARD.encode(text));
        let value = Zeroizing::new(format!("Basic {}", pair.as_str()));
        let mut value = HeaderValue::from_str(&value).map_err(|_| "invalid credentials")?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

/// Parses `NAME: VALUE`, `NAME:` (`None`: removes the default field) or `NAME;` (an empty value).
fn parse(text: &str) -> Result<Field, String> {
    let (name, value) = match (text.split_once(':'), text.trim_end().strip_suffix(';')) {
        (Some((name, value)), _) => (name, Some(value.trim()).filter(|value| !value.is_empty())),
        (None, Some(name)) => (name, Some("")),
        (None, None) => return Err("a field without `:`; write `NAME: VALUE`".into()),
    };
    let parsed: HeaderName = name
        .parse()
        .map_err(|_| format!("`{}` is not a field name", name.escape_debug()))?;
    if RESERVED.contains(&parsed) {
        return Err(format!("`{name}` is set by the program; omit it"));
    }
    let Some(value) = value else {
        return Ok((parsed, None));
    };
    let mut value = HeaderValue::from_bytes(value.as_bytes())
        .map_err(|_| format!("the value of `{name}` has a character that is not allowed"))?;
    // Keeps it out of compression tables and of logs.
    value.set_sensitive(FIRST_HOST_ONLY.contains(&parsed) && parsed != header::HOST);
    Ok((parsed, Some(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(texts: &[&str]) -> Result<Fields, String> {
        let options: Result<Vec<_>, String> = texts.iter().map(|text| text.parse()).collect();
        Fields::new(&options?, None, false).map_err(|error| error.to_string())
    }

    #[test]
    fn a_field_is_added_replaced_or_removed() {
        let given = fields(&["X-One: 1", "x-one: 2", "Accept: text/html", "User-Agent:"]).unwrap();
        let map = given.for_request(true, Body::Sent(None));
        assert_eq!(map.get_all("x-one").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(
            map.get_all("accept").iter().collect::<Vec<_>>(),
            ["text/html"]
        );
        assert!(!map.contains_key("user-agent"));
    }

    #[test]
    fn secrets_are_for_the_first_host_only() {
        let given = fields(&["Authorization: Bearer x", "Cookie: y", "X-Other: z"]).unwrap();
        assert_eq!(given.for_request(true, Body::Sent(None)).len(), 5);
        let other_host = given.for_request(false, Body::Sent(None));
        assert!(!other_host.contains_key("authorization") && !other_host.contains_key("cookie"));
        assert_eq!(other_host["x-other"], "z");
        assert!(!format!("{given:?}").contains("Bearer"));
    }

    #[test]
    fn the_credentials_of_a_user_are_for_the_first_host_only_and_are_never_shown() {
        let user = "us\u{e9}r:p:w".parse().unwrap();
        let given = Fields::new(&[], Some(&user), false).unwrap();
        let first = given.for_request(true, Body::Sent(None));
        assert_eq!(first["authorization"], "Basic dXPDqXI6cDp3");
        let other_host = given.for_request(false, Body::Sent(None));
        assert!(!other_host.contains_key("authorization"));
        assert!(!format!("{given:?}").contains("dXPDqXI6cDp3"));
        let error = "secret".parse::<Credentials>().unwrap_err();
        assert!(!error.contains("secret"), "{error}");
        assert!(error.contains("USER:PASSWORD"), "{error}");
    }

    #[test]
    fn a_field_may_be_empty() {
        let given = fields(&["X-One;", "X-Two; ", "Accept;"]).unwrap();
        let map = given.for_request(true, Body::Sent(None));
        for name in ["x-one", "x-two", "accept"] {
            assert_eq!(map.get_all(name).iter().collect::<Vec<_>>(), [""], "{name}");
        }
    }

    #[test]
    fn fields_that_describe_the_body_are_dropped_with_it() {
        let given = fields(&["Content-Language: en", "X-Other: z"]).unwrap();
        let plain = HeaderValue::from_static("text/plain");
        let with = given.for_request(true, Body::Sent(Some(&plain)));
        assert_eq!(with["content-type"], "text/plain");
        assert_eq!(with["content-language"], "en");
        let without = given.for_request(true, Body::Dropped);
        assert!(!without.contains_key("content-type") && !without.contains_key("content-language"));
        assert_eq!(without["x-other"], "z");
        let own = fields(&["Content-Type: application/json"]).unwrap();
        let own = own.for_request(true, Body::Sent(Some(&plain)));
        assert_eq!(
            own.get_all("content-type").iter().collect::<Vec<_>>(),
            ["application/json"]
        );
    }

    #[test]
    fn the_media_type_of_a_form_keeps_the_boundary() {
        let form = HeaderValue::from_static("multipart/form-data; boundary=-a1");
        for (given, expected) in [
            ("multipart/form-data", "multipart/form-data; boundary=-a1"),
            ("text/x; q=1", "text/x; q=1; boundary=-a1"),
            ("multipart/mixed; Boundary=b", "multipart/mixed; Boundary=b"),
        ] {
            let given = fields(&[&format!("Content-Type: {given}")]).unwrap();
            let sent = given.for_request(true, Body::Sent(Some(&form)));
            assert_eq!(sent["content-type"], expected);
        }
        let given = fields(&["Content-Type:", "X: y"]).unwrap();
        let sent = given.for_request(true, Body::Sent(Some(&form)));
        assert!(!sent.contains_key("content-type"));
        assert_eq!(sent["x"], "y");
    }

    #[test]
    fn invalid_fields_are_refused_without_their_value() {
        for text in [
            "no colon secret",
            "X;secret",
            "bad name;",
            "bad name: secret",
            ": secret",
            "Content-Length: secret",
            "Transfer-Encoding: secret",
            "X: a\r\nsecret",
        ] {
            let error = fields(&[text]).unwrap_err();
            assert!(!error.contains("secret"), "{text}: {error}");
        }
    }
}
