//! What a client would like to read (RFC 9110, section 12.5.1).

use hyper::header::HeaderValue;

/// A form that a page comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    /// For terminals; also for those who do not say what they like, as curl.
    Text,
    /// For browsers.
    Html,
    /// For programs.
    Json,
}

impl Media {
    /// The one of `offers` that a client with these `Accept` fields likes best; the first of those
    /// that it likes equally, and the first where it likes none.
    pub(crate) fn choose<'a>(
        accept: impl IntoIterator<Item = &'a HeaderValue>,
        offers: &[Self],
    ) -> Self {
        let ranges: Vec<&str> = accept
            .into_iter()
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
    pub(crate) fn content_type(self) -> &'static str {
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

/// What the most specific range that covers a type says; 0 where none does.
fn weight(ranges: &[&str], media: Media) -> f32 {
    let specific = |range: &&str| specific(range, media.names());
    ranges
        .iter()
        .filter_map(specific)
        .max_by_key(|(specificity, _)| *specificity)
        .map_or(0.0, |(_, quality)| quality)
}

/// How specific a range is for a type that it covers, and its weight.
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

    const OFFERS: [Media; 3] = [Media::Text, Media::Html, Media::Json];

    fn chosen(accept: &'static str) -> Media {
        Media::choose(&[HeaderValue::from_static(accept)], &OFFERS)
    }

    #[test]
    fn browsers_get_html_programs_json_and_terminals_text() {
        let chromium = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,\
                        image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7";
        assert_eq!(chosen(chromium), Media::Html);
        assert_eq!(chosen("*/*"), Media::Text);
        assert_eq!(chosen("application/json"), Media::Json);
        assert_eq!(chosen("application/json, text/plain, */*"), Media::Text);
        assert_eq!(Media::choose(&[], &OFFERS), Media::Text);
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
        let fields = ["text/plain;q=0.3", "text/html;q=0.4"].map(HeaderValue::from_static);
        assert_eq!(Media::choose(&fields, &OFFERS), Media::Html);
    }
}
