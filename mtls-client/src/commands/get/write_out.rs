//! `--write-out`: facts about a transfer, in the caller's words.

use crate::commands::get::template::{Fact, Stream, Template, TemplatePiece};

use super::facts::Facts;

/// What is to be written, and where.
pub(super) fn told(template: &Template, facts: &Facts) -> Vec<(Stream, String)> {
    let mut told = vec![(Stream::Stdout, String::new())];
    for piece in template.pieces() {
        let words = match piece {
            TemplatePiece::To(stream) => {
                told.push((*stream, String::new()));
                continue;
            }
            TemplatePiece::Text(text) => text.clone(),
            TemplatePiece::Fact(fact) => tell(*fact, facts),
            TemplatePiece::Field(name) => facts.field(name.as_str()),
        };
        if let Some((_, text)) = told.last_mut() {
            text.push_str(&words);
        }
    }
    told.retain(|(_, text)| !text.is_empty());
    told
}

fn tell(fact: Fact, facts: &Facts) -> String {
    match fact {
        Fact::HttpCode => format!("{:03}", facts.status),
        Fact::ResponseCode => format!("{:03}", facts.status),
        Fact::Method => facts.method.clone(),
        Fact::Url => facts.url.clone(),
        Fact::UrlEffective => facts.url_effective.clone(),
        Fact::RedirectUrl => facts.redirect_url.clone(),
        Fact::NumRedirects => facts.redirects.to_string(),
        Fact::HttpVersion => facts.http_version.to_owned(),
        Fact::ContentType => facts.field("content-type"),
        Fact::SizeDownload => facts.downloaded.to_string(),
        Fact::SizeUpload => facts.uploaded().to_string(),
        Fact::SizeHeader => facts.heads.to_string(),
        Fact::SpeedDownload => facts.speed(facts.downloaded),
        Fact::SpeedUpload => facts.speed(facts.uploaded()),
        Fact::TimeConnect => seconds(facts.connected),
        Fact::TimeAppconnect => seconds(facts.tls),
        Fact::TimeVerdict => seconds(facts.decided),
        Fact::TimePretransfer => seconds(facts.asked),
        Fact::TimeStarttransfer => seconds(facts.answered),
        Fact::TimeRedirect => seconds(facts.redirected),
        Fact::TimeTotal => seconds(facts.total),
        Fact::RemoteIp => facts
            .remote
            .map_or_else(String::new, |at| at.ip().to_string()),
        Fact::RemotePort => facts.remote.map_or(0, |at| at.port()).to_string(),
        Fact::LocalIp => facts
            .local
            .map_or_else(String::new, |at| at.ip().to_string()),
        Fact::LocalPort => facts.local.map_or(0, |at| at.port()).to_string(),
        Fact::FilenameEffective => facts.file.clone(),
        Fact::Exitcode => facts.exit.code().to_string(),
        Fact::Errormsg => facts.error.clone(),
        Fact::Urlnum => facts.number.to_string(),
        Fact::Verdict => facts.verdict.to_owned(),
        Fact::Reason => facts.reason.to_owned(),
        Fact::Binding => facts.binding.to_owned(),
        Fact::Independence => facts.independence.to_owned(),
        Fact::TlsVersion => facts.tls_version.clone(),
        Fact::TlsCipher => facts.tls_cipher.clone(),
    }
}

fn seconds(time: std::time::Duration) -> String {
    format!("{:.6}", time.as_secs_f64())
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
        super::told(&Template::parse(template).unwrap(), &facts)
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
    fn every_fact_has_a_name_of_its_own_and_is_in_the_help() {
        use clap::CommandFactory;

        let mut command = crate::cli::Cli::command();
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
                    == super::tell(
                        *fact,
                        &Facts {
                            status: 404,
                            verdict: "verified",
                            ..Facts::default()
                        }
                    )
            );
        }
    }
}
