//! Negotiation of a response's media type (RFC 9110, section 12.5.1).

use http::header::{ACCEPT, HeaderMap};

/// The media types of the pages and explanations of this library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Media {
    /// Plain text: for terminals, and for clients that state no preference, as curl.
    Text,
    /// HTML.
    Html,
    /// JSON.
    Json,
}

impl Media {
    /// Selects the offer with the highest weight in the `Accept` fields of a request; the first
    /// among equals, and [`Text`](Self::Text) without offers.
    pub fn negotiate(headers: &HeaderMap, offers: &[Self]) -> Self {
        let fields = headers.get_all(ACCEPT).iter();
        let ranges: Vec<&str> = fields
            .filter_map(|field| field.to_str().ok())
            .flat_map(|field| field.split(','))
            .collect();
        let mut best = (0.0, offers.first().copied().unwrap_or(Self::Text));
        for &offer in offers {
            let weight = weight(&ranges, offer);
            if weight > best.0 {
                best = (weight, offer);
            }
        }
        best.1
    }

    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
            Self::Json => "application/json",
        }
    }

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Text => ("text", "plain"),
            Self::Html => ("text", "html"),
            Self::Json => ("application", "json"),
        }
    }
}

/// The weight of a media type: that of the most specific range that covers it, or 0.
fn weight(ranges: &[&str], media: Media) -> f32 {
    let specific = |range: &&str| specific(range, media.names());
    ranges
        .iter()
        .filter_map(specific)
        .max_by_key(|(specificity, _)| *specificity)
        .map_or(0.0, |(_, quality)| quality)
}

/// The specificity and the weight of a range that covers a type.
fn specific(range: &str, (kind, subtype): (&str, &str)) -> Option<(u8, f32)> {
    let mut parts = range.split(';').map(str::trim);
    let (left, right) = parts.next()?.split_once('/')?;
    let same_kind = left.eq_ignore_ascii_case(kind);
    let specificity = match (left, right) {
        (_, right) if same_kind && right.eq_ignore_ascii_case(subtype) => 2,
        (_, "*") if same_kind => 1,
        ("*", "*") => 0,
        _ => return None,
    };
    Some((specificity, parts.find_map(quality).unwrap_or(1.0)))
}

fn quality(parameter: &str) -> Option<f32> {
    let (name, value) = parameter.split_once('=')?;
    let quality = value.trim().parse::<f32>().ok()?;
    name.trim().eq_ignore_ascii_case("q").then_some(quality)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const OFFERS: [Media; 3] = [Media::Text, Media::Html, Media::Json];

    fn negotiate(fields: &[&'static str], offers: &[Media]) -> Media {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(ACCEPT, HeaderValue::from_static(field));
        }
        Media::negotiate(&headers, offers)
    }

    fn chosen(accept: &'static str) -> Media {
        negotiate(&[accept], &OFFERS)
    }

    #[test]
    fn browsers_get_html_programs_json_and_terminals_text() {
        let chromium = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,\
                        image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7";
        assert_eq!(chosen(chromium), Media::Html);
        assert_eq!(chosen("*/*"), Media::Text);
        assert_eq!(chosen("application/json"), Media::Json);
        assert_eq!(chosen("application/json, text/plain, */*"), Media::Text);
        assert_eq!(negotiate(&[], &OFFERS), Media::Text);
    }

    #[test]
    fn the_most_specific_range_counts() {
        assert_eq!(chosen("text/*;q=0.5, text/html;q=0.6"), Media::Html);
        assert_eq!(chosen("text/html;q=0, */*;q=0.1"), Media::Text);
        assert_eq!(chosen("Application/JSON ; Q = 0.9, */*;q=0.8"), Media::Json);
        assert_eq!(chosen("image/png"), Media::Text);
        assert_eq!(chosen("nonsense, /, ;q="), Media::Text);
    }

    #[test]
    fn several_fields_count_as_one() {
        let fields = ["text/plain;q=0.3", "text/html;q=0.4"];
        assert_eq!(negotiate(&fields, &OFFERS), Media::Html);
    }

    #[test]
    fn json_needs_a_higher_weight_than_text() {
        for (accept, json) in [
            ("", false),
            ("*/*", false),
            ("application/json", true),
            ("Application/JSON", true),
            ("application/*", true),
            ("text/html, */*;q=0.8", false),
            ("application/json, text/plain", false),
            ("application/json, text/plain;q=0.9", true),
            ("application/json;q=0.2, */*", false),
            ("application/json;q=0", false),
            ("text/plain;q=0.1, application/*;q=0.5", true),
            (
                "application/json; charset=utf-8 ; Q = 0.5, text/*;q=0.4",
                true,
            ),
            ("nonsense, /, ;q=", false),
        ] {
            let media = negotiate(&[accept], &[Media::Text, Media::Json]);
            assert_eq!(media == Media::Json, json, "{accept:?}");
        }
        let fields = ["text/plain;q=0.3", "application/json"];
        let media = negotiate(&fields, &[Media::Text, Media::Json]);
        assert_eq!(media, Media::Json);
    }
}
