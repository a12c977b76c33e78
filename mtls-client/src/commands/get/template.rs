//! The format of `--write-out`.

use std::fmt;
use std::str::FromStr;

use hyper::header::HeaderName;

use crate::args::input_file::InputFile;
use crate::failure::Failure;

/// The largest file with a format, in bytes.
const MAX_FORMAT: u64 = 64 << 10;

/// The value of `--write-out`: a format, or a file with one.
#[derive(Clone, Debug)]
pub(crate) enum FormatOption {
    Format(Template),
    File(InputFile),
}

/// A format of `--write-out`, parsed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Template {
    pieces: Vec<TemplatePiece>,
}

/// A piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TemplatePiece {
    Text(String),
    Variable(Variable),
    Field(HeaderName),
    To(Stream),
}

/// The stream of the pieces that follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// The reason why a text is not a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TemplateError {
    Unknown(String),
    Unclosed(String),
    NotAField(String),
}

/// Defines the variables with their names.
macro_rules! variables {
    ($($variant:ident $name:literal;)*) => {
        /// A variable of a format.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Variable { $($variant,)* }

        impl Variable {
            pub(super) const ALL: &[(&str, Self)] = &[$(($name, Self::$variant),)*];
        }
    };
}

variables! {
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
    VerificationMethod "verification_method";
    VerificationAge "verification_age";
    Independence "independence";
    TlsVersion "tls_version";
    TlsCipher "tls_cipher";
}

impl FormatOption {
    /// The format, which a file may contain.
    ///
    /// # Errors
    /// If the file cannot be read, or is not a format.
    pub(super) fn template(&self) -> Result<Template, Failure> {
        let failure = |reason: fmt::Arguments<'_>| Failure::usage("--write-out", reason);
        match self {
            Self::Format(template) => Ok(template.clone()),
            Self::File(file) => {
                let text = file
                    .read_text(MAX_FORMAT)
                    .map_err(|error| failure(format_args!("could not read {file}: {error}")))?;
                // As in curl; a format has `\n` and `\r` for line breaks.
                Template::parse(&text.replace(['\r', '\n'], ""))
                    .map_err(|error| failure(format_args!("{file}: {error}")))
            }
        }
    }
}

impl FromStr for FormatOption {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        match text.strip_prefix('@') {
            Some(file) => Ok(Self::File(file.into())),
            None => Template::parse(text).map(Self::Format),
        }
    }
}

impl Template {
    /// Parses `%{NAME}`, `%header{NAME}`, `%{stdout}`, `%{stderr}`, `%%`, `\n`, `\r` and `\t`.
    pub(super) fn parse(text: &str) -> Result<Self, TemplateError> {
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

    /// The pieces, in the order of the text.
    pub(super) fn pieces(&self) -> &[TemplatePiece] {
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

    /// Parses one piece that starts with `%` or `\`, and returns the rest.
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
                false => variable(name)?,
            });
            return Ok(rest);
        }
        // Any other character is literal, as in curl.
        let (first, rest) = text.split_at(1);
        self.literal(first);
        Ok(rest)
    }
}

fn variable(name: &str) -> Result<TemplatePiece, TemplateError> {
    match name {
        "stdout" => return Ok(TemplatePiece::To(Stream::Stdout)),
        "stderr" => return Ok(TemplatePiece::To(Stream::Stderr)),
        _ => {}
    }
    let found = Variable::ALL.iter().find(|(known, _)| *known == name);
    found.map_or_else(
        || Err(TemplateError::Unknown(name.to_owned())),
        |(_, variable)| Ok(TemplatePiece::Variable(*variable)),
    )
}

fn field(name: &str) -> Result<TemplatePiece, TemplateError> {
    let parsed = name.parse().map(TemplatePiece::Field);
    parsed.map_err(|_| TemplateError::NotAField(name.to_owned()))
}

impl std::error::Error for TemplateError {}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                let names: Vec<_> = Variable::ALL.iter().map(|(name, _)| *name).collect();
                let names = names.join(", ");
                write!(
                    f,
                    "`%{{{name}}}` is not a variable; the variables are {names}"
                )
            }
            Self::Unclosed(text) => write!(f, "`{text}` has no `}}`; write `%%` for a literal `%`"),
            Self::NotAField(name) => write!(f, "`{name}` is not a field name"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_variables_are_refused_with_the_known_ones() {
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
