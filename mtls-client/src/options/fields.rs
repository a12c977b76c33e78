//! The header fields of a request.

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

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
pub(crate) enum OfBody {
    /// As typed, and the type of what is sent, if it has one.
    Typed(Option<&'static str>),
    /// A redirect took the body away, and what describes it goes too.
    Dropped,
}

/// The fields that the caller adds to the program's own, or takes away.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields {
    typed: Vec<(HeaderName, Option<HeaderValue>)>,
}

impl Fields {
    /// Takes `NAME: VALUE`, or `NAME:` to take a default field away. The values are not shown in
    /// errors: they may be secret.
    pub(crate) fn parse(texts: &[String]) -> Result<Self, String> {
        let typed = texts.iter().map(|text| parse(text));
        Ok(Self {
            typed: typed.collect::<Result<_, _>>()?,
        })
    }

    /// The fields of a request; `Host` is among them only when the caller said so. The body's
    /// are, where it has one, and it is of this type if nothing else was said.
    pub(crate) fn for_request(&self, to_first_host: bool, body: OfBody) -> HeaderMap {
        let agent = concat!("mtls-client/", env!("CARGO_PKG_VERSION"));
        let mut fields = HeaderMap::from_iter([
            (header::USER_AGENT, HeaderValue::from_static(agent)),
            (header::ACCEPT, HeaderValue::from_static("*/*")),
        ]);
        if let OfBody::Typed(Some(content_type)) = body {
            fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        for (name, _) in &self.typed {
            fields.remove(name);
        }
        for (name, value) in &self.typed {
            let kept = (to_first_host || !FIRST_HOST_ONLY.contains(name))
                && (body != OfBody::Dropped || !OF_THE_BODY.contains(name));
            if let (Some(value), true) = (value, kept) {
                fields.append(name, value.clone());
            }
        }
        fields
    }
}

fn parse(text: &str) -> Result<(HeaderName, Option<HeaderValue>), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or("a field without `:`; write `NAME: VALUE`")?;
    let parsed: HeaderName = name
        .parse()
        .map_err(|_| format!("`{}` is not a field name", name.escape_debug()))?;
    if RESERVED.contains(&parsed) {
        return Err(format!("`{name}` is set by the program"));
    }
    let value = value.trim();
    if value.is_empty() {
        return Ok((parsed, None));
    }
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| format!("the value of `{name}` has a character that no field may have"))?;
    // Kept out of compression tables and of logs.
    value.set_sensitive(FIRST_HOST_ONLY.contains(&parsed) && parsed != header::HOST);
    Ok((parsed, Some(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(texts: &[&str]) -> Result<Fields, String> {
        Fields::parse(
            &texts
                .iter()
                .map(|&text| text.to_owned())
                .collect::<Vec<_>>(),
        )
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
    fn what_describes_the_body_goes_where_it_goes() {
        let typed = fields(&["Content-Language: en", "X-Other: z"]).unwrap();
        let with = typed.for_request(true, OfBody::Typed(Some("text/plain")));
        assert_eq!(with["content-type"], "text/plain");
        assert_eq!(with["content-language"], "en");
        let without = typed.for_request(true, OfBody::Dropped);
        assert!(!without.contains_key("content-type") && !without.contains_key("content-language"));
        assert_eq!(without["x-other"], "z");
        let own = fields(&["Content-Type: application/json"]).unwrap();
        let own = own.for_request(true, OfBody::Typed(Some("text/plain")));
        assert_eq!(
            own.get_all("content-type").iter().collect::<Vec<_>>(),
            ["application/json"]
        );
    }

    #[test]
    fn fields_that_cannot_be_are_refused_without_their_value() {
        for text in [
            "no colon secret",
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
