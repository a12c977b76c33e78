//! The header fields of a request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use crate::args::file;
use crate::exit::Exit;
use crate::usage::UsageError;

/// The longest file of fields that is read, in bytes.
const LONGEST_FILE: u64 = 1 << 20;

/// The content codings that `--compressed` asks for, in curl's order.
const CODINGS: &str = "deflate, gzip, br, zstd";

/// Fields that describe a body: they go where it goes (RFC 9110, section 15.4, 4.).
const OF_THE_BODY: [HeaderName; 4] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LOCATION,
    header::CONTENT_TYPE,
];

/// Fields that frame messages or govern the connection: the program's own.
const RESERVED: [HeaderName; 6] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Fields that are for the host that was named, and for no other.
const FIRST_HOST_ONLY: [HeaderName; 3] = [header::AUTHORIZATION, header::COOKIE, header::HOST];

/// What a request says of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OfBody<'a> {
    /// As typed, and the type of what is sent, if it has one.
    Typed(Option<&'a HeaderValue>),
    /// A redirect took the body away, and what describes it goes too.
    Dropped,
}

/// The fields of each request: the program's own, and those that the caller adds or removes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields {
    own: HeaderMap,
    typed: Vec<(HeaderName, Option<HeaderValue>)>,
}

impl Fields {
    /// The fields that these options of `--header`, `--user` and `--compressed` call for. No error
    /// shows a value, which may be secret.
    pub(crate) fn new(
        typed: &[String],
        user: Option<&str>,
        compressed: bool,
    ) -> Result<Self, UsageError> {
        let agent = concat!("mtls-client/", env!("CARGO_PKG_VERSION"));
        let mut own = HeaderMap::from_iter([
            (header::USER_AGENT, HeaderValue::from_static(agent)),
            (header::ACCEPT, HeaderValue::from_static("*/*")),
        ]);
        if compressed {
            own.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(CODINGS));
        }
        if let Some(user) = user {
            own.insert(header::AUTHORIZATION, basic(user)?);
        }
        let mut fields = Self {
            own,
            typed: Vec::with_capacity(typed.len()),
        };
        for text in typed {
            match text.strip_prefix('@') {
                Some(path) => fields.add_file(path)?,
                None => fields.add(text).map_err(wrong)?,
            }
        }
        Ok(fields)
    }

    /// One field in each line, as curl reads them.
    fn add_file(&mut self, path: &str) -> Result<(), UsageError> {
        let text = file::read(path, LONGEST_FILE).map_err(|error| {
            wrong(format!("`{path}` cannot be read: {error}")).exits_with(Exit::Read)
        })?;
        let lines = text.lines().enumerate();
        for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            let number = number + 1;
            self.add(line)
                .map_err(|error| wrong(format!("`{path}`, line {number}: {error}")))?;
        }
        Ok(())
    }

    fn add(&mut self, text: &str) -> Result<(), String> {
        self.typed.push(parse(text)?);
        Ok(())
    }

    /// The fields of a request; `Host` is among them only when the caller said so. The body's
    /// are, where it has one, and it is of this type if nothing else was said.
    pub(crate) fn for_request(&self, to_first_host: bool, body: OfBody<'_>) -> HeaderMap {
        let for_this_host = |name: &HeaderName| to_first_host || !FIRST_HOST_ONLY.contains(name);
        let mut fields = self.own.clone();
        if !to_first_host {
            for name in FIRST_HOST_ONLY {
                fields.remove(name);
            }
        }
        if let OfBody::Typed(Some(content_type)) = body {
            fields.insert(header::CONTENT_TYPE, content_type.clone());
        }
        for (name, _) in &self.typed {
            fields.remove(name);
        }
        for (name, value) in &self.typed {
            let kept =
                for_this_host(name) && (body != OfBody::Dropped || !OF_THE_BODY.contains(name));
            if let (Some(value), true) = (value, kept) {
                fields.append(name, value.clone());
            }
        }
        fields
    }
}

fn wrong(reason: String) -> UsageError {
    UsageError::new("--header", reason)
}

/// The credentials of `--user` (RFC 7617, section 2).
fn basic(user: &str) -> Result<HeaderValue, UsageError> {
    if !user.contains(':') {
        let reason = "no password; write USER:PASSWORD, or USER: for an empty one";
        return Err(UsageError::new("--user", reason));
    }
    let pair = Zeroizing::new(STANDARD.encode(user));
    let value = Zeroizing::new(format!("Basic {}", pair.as_str()));
    let mut value =
        HeaderValue::from_str(&value).map_err(|_| UsageError::new("--user", "not a credential"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Parses `NAME: VALUE`, `NAME:` (`None`: removes the default field) or `NAME;` (an empty value).
fn parse(text: &str) -> Result<(HeaderName, Option<HeaderValue>), String> {
    let (name, value) = match (text.split_once(':'), text.trim_end().strip_suffix(';')) {
        (Some((name, value)), _) => (name, Some(value.trim()).filter(|value| !value.is_empty())),
        (None, Some(name)) => (name, Some("")),
        (None, None) => return Err("a field without `:`; write `NAME: VALUE`".into()),
    };
    let parsed: HeaderName = name
        .parse()
        .map_err(|_| format!("`{}` is not a field name", name.escape_debug()))?;
    if RESERVED.contains(&parsed) {
        return Err(format!("`{name}` is set by the program"));
    }
    let Some(value) = value else {
        return Ok((parsed, None));
    };
    let mut value = HeaderValue::from_bytes(value.as_bytes())
        .map_err(|_| format!("the value of `{name}` has a character that no field may have"))?;
    // Kept out of compression tables and of logs.
    value.set_sensitive(FIRST_HOST_ONLY.contains(&parsed) && parsed != header::HOST);
    Ok((parsed, Some(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(texts: &[&str]) -> Result<Fields, String> {
        let texts: Vec<_> = texts.iter().map(|&text| text.to_owned()).collect();
        Fields::new(&texts, None, false).map_err(|error| error.to_string())
    }

    #[test]
    fn a_field_is_added_replaced_or_taken_away() {
        let typed = fields(&["X-One: 1", "x-one: 2", "Accept: text/html", "User-Agent:"]).unwrap();
        let map = typed.for_request(true, OfBody::Typed(None));
        assert_eq!(map.get_all("x-one").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(
            map.get_all("accept").iter().collect::<Vec<_>>(),
            ["text/html"]
        );
        assert!(!map.contains_key("user-agent"));
    }

    #[test]
    fn secrets_are_for_the_first_host_only() {
        let typed = fields(&["Authorization: Bearer x", "Cookie: y", "X-Other: z"]).unwrap();
        assert_eq!(typed.for_request(true, OfBody::Typed(None)).len(), 5);
        let elsewhere = typed.for_request(false, OfBody::Typed(None));
        assert!(!elsewhere.contains_key("authorization") && !elsewhere.contains_key("cookie"));
        assert_eq!(elsewhere["x-other"], "z");
        assert!(!format!("{typed:?}").contains("Bearer"));
    }

    #[test]
    fn the_credentials_of_a_user_are_for_the_first_host_only_and_are_never_shown() {
        let typed = Fields::new(&[], Some("us\u{e9}r:p:w"), false).unwrap();
        let first = typed.for_request(true, OfBody::Typed(None));
        assert_eq!(first["authorization"], "Basic dXPDqXI6cDp3");
        let elsewhere = typed.for_request(false, OfBody::Typed(None));
        assert!(!elsewhere.contains_key("authorization"));
        assert!(!format!("{typed:?}").contains("dXPDqXI6cDp3"));
        let error = Fields::new(&[], Some("secret"), false).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn a_field_may_be_empty() {
        let typed = fields(&["X-One;", "X-Two; ", "Accept;"]).unwrap();
        let map = typed.for_request(true, OfBody::Typed(None));
        for name in ["x-one", "x-two", "accept"] {
            assert_eq!(map.get_all(name).iter().collect::<Vec<_>>(), [""], "{name}");
        }
    }

    #[test]
    fn what_describes_the_body_goes_where_it_goes() {
        let typed = fields(&["Content-Language: en", "X-Other: z"]).unwrap();
        let plain = HeaderValue::from_static("text/plain");
        let with = typed.for_request(true, OfBody::Typed(Some(&plain)));
        assert_eq!(with["content-type"], "text/plain");
        assert_eq!(with["content-language"], "en");
        let without = typed.for_request(true, OfBody::Dropped);
        assert!(!without.contains_key("content-type") && !without.contains_key("content-language"));
        assert_eq!(without["x-other"], "z");
        let own = fields(&["Content-Type: application/json"]).unwrap();
        let own = own.for_request(true, OfBody::Typed(Some(&plain)));
        assert_eq!(
            own.get_all("content-type").iter().collect::<Vec<_>>(),
            ["application/json"]
        );
    }

    #[test]
    fn fields_that_cannot_be_are_refused_without_their_value() {
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
