//! `--write-out`: facts about a transfer, in the caller's words.

use std::fmt;

use hyper::header::HeaderName;

use super::facts::Facts;

/// What `--write-out` writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Fact(Fact),
    Field(HeaderName),
    To(Stream),
}

/// Where what follows goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
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

/// Names each fact once: its name on the command line, and how it is told.
macro_rules! facts {
    ($($variant:ident $name:literal $tell:expr;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Fact { $($variant,)* }

        impl Fact {
            const ALL: &[(&str, Self)] = &[$(($name, Self::$variant),)*];

            fn tell(self, facts: &Facts) -> String {
                let tell: fn(&Facts) -> String = match self { $(Self::$variant => $tell,)* };
                tell(facts)
            }
        }
    };
}

facts! {
    HttpCode "http_code" |facts| format!("{:03}", facts.status);
    ResponseCode "response_code" |facts| format!("{:03}", facts.status);
    Method "method" |facts| facts.method.clone();
    Url "url" |facts| facts.url.clone();
    UrlEffective "url_effective" |facts| facts.url_effective.clone();
    RedirectUrl "redirect_url" |facts| facts.redirect_url.clone();
    NumRedirects "num_redirects" |facts| facts.redirects.to_string();
    HttpVersion "http_version" |facts| facts.http_version.to_owned();
    ContentType "content_type" |facts| facts.field("content-type");
    SizeDownload "size_download" |facts| facts.downloaded.to_string();
    SizeUpload "size_upload" |facts| facts.uploaded().to_string();
    SizeHeader "size_header" |facts| facts.heads.to_string();
    SpeedDownload "speed_download" |facts| facts.speed(facts.downloaded);
    SpeedUpload "speed_upload" |facts| facts.speed(facts.uploaded());
    TimeConnect "time_connect" |facts| seconds(facts.connected);
    TimeAppconnect "time_appconnect" |facts| seconds(facts.tls);
    TimeVerdict "time_verdict" |facts| seconds(facts.decided);
    TimePretransfer "time_pretransfer" |facts| seconds(facts.asked);
    TimeStarttransfer "time_starttransfer" |facts| seconds(facts.answered);
    TimeRedirect "time_redirect" |facts| seconds(facts.redirected);
    TimeTotal "time_total" |facts| seconds(facts.total);
    RemoteIp "remote_ip" |facts| facts.remote.map_or_else(String::new, |at| at.ip().to_string());
    RemotePort "remote_port" |facts| facts.remote.map_or(0, |at| at.port()).to_string();
    LocalIp "local_ip" |facts| facts.local.map_or_else(String::new, |at| at.ip().to_string());
    LocalPort "local_port" |facts| facts.local.map_or(0, |at| at.port()).to_string();
    FilenameEffective "filename_effective" |facts| facts.file.clone();
    Exitcode "exitcode" |facts| facts.exit.code().to_string();
    Errormsg "errormsg" |facts| facts.error.clone();
    Urlnum "urlnum" |facts| facts.number.to_string();
    Verdict "verdict" |facts| facts.verdict.to_owned();
    Reason "reason" |facts| facts.reason.to_owned();
    Binding "binding" |facts| facts.binding.to_owned();
    Independence "independence" |facts| facts.independence.to_owned();
    TlsVersion "tls_version" |facts| facts.tls_version.clone();
    TlsCipher "tls_cipher" |facts| facts.tls_cipher.clone();
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

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// What is to be written, and where.
    pub(super) fn tell(&self, facts: &Facts) -> Vec<(Stream, String)> {
        let mut told = vec![(Stream::Stdout, String::new())];
        for piece in &self.pieces {
            let words = match piece {
                Piece::To(stream) => {
                    told.push((*stream, String::new()));
                    continue;
                }
                Piece::Text(text) => text.clone(),
                Piece::Fact(fact) => fact.tell(facts),
                Piece::Field(name) => facts.field(name.as_str()),
            };
            if let Some((_, text)) = told.last_mut() {
                text.push_str(&words);
            }
        }
        told.retain(|(_, text)| !text.is_empty());
        told
    }
}

#[derive(Default)]
struct Parser {
    pieces: Vec<Piece>,
}

impl Parser {
    fn literal(&mut self, text: &str) {
        match self.pieces.last_mut() {
            _ if text.is_empty() => {}
            Some(Piece::Text(before)) => before.push_str(text),
            _ => self.pieces.push(Piece::Text(text.to_owned())),
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

fn fact(name: &str) -> Result<Piece, TemplateError> {
    match name {
        "stdout" => return Ok(Piece::To(Stream::Stdout)),
        "stderr" => return Ok(Piece::To(Stream::Stderr)),
        _ => {}
    }
    let found = Fact::ALL.iter().find(|(known, _)| *known == name);
    found.map_or_else(
        || Err(TemplateError::Unknown(name.to_owned())),
        |(_, fact)| Ok(Piece::Fact(*fact)),
    )
}

fn field(name: &str) -> Result<Piece, TemplateError> {
    let parsed = name.parse().map(Piece::Field);
    parsed.map_err(|_| TemplateError::NoField(name.to_owned()))
}

fn seconds(time: std::time::Duration) -> String {
    format!("{:.6}", time.as_secs_f64())
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

    fn told(template: &str) -> Vec<(Stream, String)> {
        let facts = Facts {
            status: 404,
            verdict: "verified",
            ..Facts::default()
        };
        Template::parse(template).unwrap().tell(&facts)
    }

    fn plain(template: &str) -> String {
        match told(template).as_slice() {
            [] => String::new(),
            [(Stream::Stdout, text)] => text.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn facts_escapes_and_everything_else() {
        for (template, expected) in [
            ("", ""),
            ("%{http_code} %{verdict}\\n", "404 verified\n"),
            ("100%% \\t\\r\\x %d \\", "100% \t\r\\x %d \\"),
            ("%", "%"),
            ("%header{X-None}.", "."),
            ("%{time_total}", "0.000000"),
            ("%{remote_ip}:%{remote_port}", ":0"),
            ("ü%{http_code}ü", "ü404ü"),
        ] {
            assert_eq!(plain(template), expected, "{template}");
        }
    }

    #[test]
    fn a_template_chooses_its_streams() {
        let expected = [
            (Stream::Stdout, "a".to_owned()),
            (Stream::Stderr, "404".to_owned()),
            (Stream::Stdout, "b".to_owned()),
        ];
        assert_eq!(told("a%{stderr}%{http_code}%{stdout}b"), expected);
    }

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

    #[test]
    fn every_fact_has_a_name_of_its_own_and_is_in_the_help() {
        use clap::CommandFactory;

        let mut command = crate::args::Cli::command();
        let get = command.find_subcommand_mut("get").unwrap();
        let help = get.render_long_help().to_string();
        let words: std::collections::BTreeSet<_> = help
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .collect();
        for (name, fact) in Fact::ALL {
            assert!(*name == "response_code" || words.contains(name), "{name}");
            let same = Fact::ALL.iter().filter(|(other, _)| other == name);
            assert_eq!(same.count(), 1);
            assert!(
                plain(&format!("%{{{name}}}"))
                    == fact.tell(&Facts {
                        status: 404,
                        verdict: "verified",
                        ..Facts::default()
                    })
            );
        }
    }
}
