//! `--write-out`: what it asks for.

use std::fmt;

use hyper::header::HeaderName;

/// What `--write-out` writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Template {
    pieces: Vec<TemplatePiece>,
}

/// A piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TemplatePiece {
    Text(String),
    Fact(Fact),
    Field(HeaderName),
    To(Stream),
}

/// Where what follows goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TemplateError {
    Unknown(String),
    Unclosed(String),
    NoField(String),
}

/// Names each fact once.
macro_rules! facts {
    ($($variant:ident $name:literal;)*) => {
        /// What can be asked for by name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Fact { $($variant,)* }

        impl Fact {
            pub(crate) const ALL: &[(&str, Self)] = &[$(($name, Self::$variant),)*];
        }
    };
}

facts! {
    HttpCode "http_code";
    ResponseCode "response_code";
    Method "method";
    Url "url";
    UrlEffective "url_effective";
    RedirectUrl "redirect_url";
    NumRedirects "num_redirects";
    HttpVersion "http_version";
    ContentType "content_type";
    SizeDownload "size_download";
    SizeUpload "size_upload";
    SizeHeader "size_header";
    SpeedDownload "speed_download";
    SpeedUpload "speed_upload";
    TimeConnect "time_connect";
    TimeAppconnect "time_appconnect";
    TimeVerdict "time_verdict";
    TimePretransfer "time_pretransfer";
    TimeStarttransfer "time_starttransfer";
    TimeRedirect "time_redirect";
    TimeTotal "time_total";
    RemoteIp "remote_ip";
    RemotePort "remote_port";
    LocalIp "local_ip";
    LocalPort "local_port";
    FilenameEffective "filename_effective";
    Exitcode "exitcode";
    Errormsg "errormsg";
    Urlnum "urlnum";
    Verdict "verdict";
    Reason "reason";
    Binding "binding";
    Independence "independence";
    TlsVersion "tls_version";
    TlsCipher "tls_cipher";
}

impl Template {
    /// Takes `%{NAME}`, `%header{NAME}`, `%{stdout}`, `%{stderr}`, `%%`, `\n`, `\r` and `\t`.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parser = Parser::default();
        let mut rest = text;
        while let Some(at) = rest.find(['%', '\\']) {
            parser.literal(&rest[..at]);
            rest = parser.special(&rest[at..])?;
        }
        parser.literal(rest);
        Ok(Self {
            pieces: parser.pieces,
        })
    }

    /// In the order of the text.
    pub(crate) fn pieces(&self) -> &[TemplatePiece] {
        &self.pieces
    }
}

#[derive(Default)]
struct Parser {
    pieces: Vec<TemplatePiece>,
}

impl Parser {
    fn literal(&mut self, text: &str) {
        match self.pieces.last_mut() {
            _ if text.is_empty() => {}
            Some(TemplatePiece::Text(before)) => before.push_str(text),
            _ => self.pieces.push(TemplatePiece::Text(text.to_owned())),
        }
    }

    /// Takes what begins with `%` or `\`, and gives back what follows it.
    fn special<'a>(&mut self, text: &'a str) -> Result<&'a str, TemplateError> {
        for (escape, meaning) in [("\\n", "\n"), ("\\r", "\r"), ("\\t", "\t"), ("%%", "%")] {
            if let Some(rest) = text.strip_prefix(escape) {
                self.literal(meaning);
                return Ok(rest);
            }
        }
        for (prefix, is_field) in [("%{", false), ("%header{", true)] {
            let Some(named) = text.strip_prefix(prefix) else {
                continue;
            };
            let Some((name, rest)) = named.split_once('}') else {
                return Err(TemplateError::Unclosed(text.to_owned()));
            };
            self.pieces.push(match is_field {
                true => field(name)?,
                false => fact(name)?,
            });
            return Ok(rest);
        }
        // Anything else stands for itself, as it does for curl.
        let (first, rest) = text.split_at(1);
        self.literal(first);
        Ok(rest)
    }
}

fn fact(name: &str) -> Result<TemplatePiece, TemplateError> {
    match name {
        "stdout" => return Ok(TemplatePiece::To(Stream::Stdout)),
        "stderr" => return Ok(TemplatePiece::To(Stream::Stderr)),
        _ => {}
    }
    let found = Fact::ALL.iter().find(|(known, _)| *known == name);
    found.map_or_else(
        || Err(TemplateError::Unknown(name.to_owned())),
        |(_, fact)| Ok(TemplatePiece::Fact(*fact)),
    )
}

fn field(name: &str) -> Result<TemplatePiece, TemplateError> {
    let parsed = name.parse().map(TemplatePiece::Field);
    parsed.map_err(|_| TemplateError::NoField(name.to_owned()))
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                let names: Vec<_> = Fact::ALL.iter().map(|(name, _)| *name).collect();
                let names = names.join(", ");
                write!(f, "`%{{{name}}}` is unknown; there are {names}")
            }
            Self::Unclosed(text) => write!(f, "`{text}` has no `}}`; a plain `%` is `%%`"),
            Self::NoField(name) => write!(f, "`{name}` is not a field name"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_refused_with_what_is_known() {
        for (template, expected) in [
            ("%{time_namelookup}", "time_connect"),
            ("%{}", "http_code"),
            ("%{HTTP_CODE}", "http_code"),
            ("%{http_code", "`%%`"),
            ("%header{a b}", "not a field name"),
        ] {
            let error = Template::parse(template).unwrap_err().to_string();
            assert!(error.contains(expected), "{template}: {error}");
        }
    }
}
