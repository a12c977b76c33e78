//! `--write-out`: the facts about a transfer in a format.

use super::template::{Stream, Template, TemplatePiece, Variable};

use super::facts::Facts;

/// Renders the format, as texts for the streams.
pub(super) fn rendered(template: &Template, facts: &Facts) -> Vec<(Stream, String)> {
    let mut rendered = vec![(Stream::Stdout, String::new())];
    for piece in template.pieces() {
        let text = match piece {
            TemplatePiece::To(stream) => {
                rendered.push((*stream, String::new()));
                continue;
            }
            TemplatePiece::Text(text) => text.clone(),
            TemplatePiece::Variable(variable) => value(*variable, facts),
            TemplatePiece::Field(name) => facts.field(name.as_str()),
        };
        if let Some((_, before)) = rendered.last_mut() {
            before.push_str(&text);
        }
    }
    rendered.retain(|(_, text)| !text.is_empty());
    rendered
}

fn value(variable: Variable, facts: &Facts) -> String {
    match variable {
        Variable::HttpCode => format!("{:03}", facts.status),
        Variable::ResponseCode => format!("{:03}", facts.status),
        Variable::Method => facts.method.clone(),
        Variable::Url => facts.url.clone(),
        Variable::UrlEffective => facts.url_effective.clone(),
        Variable::RedirectUrl => facts.redirect_url.clone(),
        Variable::NumRedirects => facts.redirects.to_string(),
        Variable::HttpVersion => facts.http_version.to_owned(),
        Variable::ContentType => facts.field("content-type"),
        Variable::SizeDownload => facts.downloaded.to_string(),
        Variable::SizeUpload => facts.uploaded().to_string(),
        Variable::SizeHeader => facts.heads.to_string(),
        Variable::SpeedDownload => facts.speed(facts.downloaded),
        Variable::SpeedUpload => facts.speed(facts.uploaded()),
        Variable::TimeConnect => seconds(facts.connected),
        Variable::TimeAppconnect => seconds(facts.tls),
        Variable::TimeVerdict => seconds(facts.verdict_time),
        Variable::TimePretransfer => seconds(facts.request_sent),
        Variable::TimeStarttransfer => seconds(facts.first_byte),
        Variable::TimeRedirect => seconds(facts.redirected),
        Variable::TimeTotal => seconds(facts.total),
        Variable::RemoteIp => facts
            .remote
            .map_or_else(String::new, |at| at.ip().to_string()),
        Variable::RemotePort => facts.remote.map_or(0, |at| at.port()).to_string(),
        Variable::LocalIp => facts
            .local
            .map_or_else(String::new, |at| at.ip().to_string()),
        Variable::LocalPort => facts.local.map_or(0, |at| at.port()).to_string(),
        Variable::FilenameEffective => facts.file.clone(),
        Variable::Exitcode => facts.exit.code().to_string(),
        Variable::Errormsg => facts.error.clone(),
        Variable::Urlnum => facts.number.to_string(),
        Variable::Verdict => facts.verdict.to_owned(),
        Variable::Reason => facts.reason.to_owned(),
        Variable::Binding => facts.binding.to_owned(),
        Variable::VerificationMethod => facts.verification_method.to_owned(),
        Variable::VerificationAge => facts.verification_age.clone(),
        Variable::Independence => facts.independence.to_owned(),
        Variable::TlsVersion => facts.tls_version.clone(),
        Variable::TlsCipher => facts.tls_cipher.clone(),
    }
}

fn seconds(time: std::time::Duration) -> String {
    format!("{:.6}", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(template: &str) -> Vec<(Stream, String)> {
        let facts = Facts {
            status: 404,
            verdict: "verified",
            ..Facts::default()
        };
        super::rendered(&Template::parse(template).unwrap(), &facts)
    }

    fn plain(template: &str) -> String {
        match texts(template).as_slice() {
            [] => String::new(),
            [(Stream::Stdout, text)] => text.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn variables_escapes_and_literal_text_are_rendered() {
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
        assert_eq!(texts("a%{stderr}%{http_code}%{stdout}b"), expected);
    }

    #[test]
    fn every_variable_has_a_unique_name_and_is_in_the_help() {
        use clap::CommandFactory;

        let mut command = crate::cli::Cli::command();
        let get = command.find_subcommand_mut("get").unwrap();
        let help = get.render_long_help().to_string();
        let words: std::collections::BTreeSet<_> = help
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .collect();
        for (name, variable) in Variable::ALL {
            assert!(*name == "response_code" || words.contains(name), "{name}");
            let same = Variable::ALL.iter().filter(|(other, _)| other == name);
            assert_eq!(same.count(), 1);
            assert!(
                plain(&format!("%{{{name}}}"))
                    == super::value(
                        *variable,
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
