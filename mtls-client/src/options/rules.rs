//! Which policy holds for which host: `--policy`, `--require GLOB` and `--exempt GLOB`.

use std::fmt;
use std::sync::Arc;

use mtls_core::Policy;
use mtls_core::path::{Endpoint, Host};
use mtls_core::relay::PolicyByName;

/// The policy of each host. Of all the patterns that fit a host the most specific holds: one
/// without `*` before one with, then the longer one, then one with a port; of two that are alike
/// in that, `--require`.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    policy: Policy,
    /// The most specific first.
    rules: Arc<[Rule]>,
}

/// What is done with a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Treatment {
    /// Relayed plainly.
    Exempt,
    /// Held to `require`.
    Require,
}

/// What holds for a host, and by which pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ruling {
    pub(crate) exempt: bool,
    pub(crate) policy: Policy,
    pub(crate) rule: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    pattern: Pattern,
    treatment: Treatment,
}

/// A host, in which `*` stands for any characters, and perhaps a port: `*.example.org`,
/// `example.org:8443`, `192.168.*`, `[::1]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    host: String,
    port: Option<u16>,
}

impl Rules {
    pub(crate) fn new(policy: Policy, require: &[Pattern], exempt: &[Pattern]) -> Self {
        let as_rules = |patterns: &[Pattern], treatment| {
            let rules = patterns.iter().cloned();
            rules
                .map(move |pattern| Rule { pattern, treatment })
                .collect()
        };
        let mut rules: Vec<Rule> = as_rules(require, Treatment::Require);
        rules.extend::<Vec<_>>(as_rules(exempt, Treatment::Exempt));
        rules.sort_by_key(|rule| std::cmp::Reverse((rule.pattern.specificity(), rule.treatment)));
        Self {
            policy,
            rules: rules.into(),
        }
    }

    /// What holds where no pattern fits.
    pub(crate) fn policy(&self) -> Policy {
        self.policy
    }

    /// What holds for the host that the client asks the proxy for.
    pub(crate) fn of(&self, target: &Endpoint) -> Ruling {
        let rule = self.find(&target.host, target.port);
        let require = rule.is_some_and(|rule| rule.treatment == Treatment::Require);
        Ruling {
            exempt: rule.is_some_and(|rule| rule.treatment == Treatment::Exempt),
            policy: if require {
                Policy::Require
            } else {
                self.policy
            },
            rule: rule.map(ToString::to_string),
        }
    }

    /// For the server name in a ClientHello: a client that resolves names itself asks for
    /// addresses, and `--require` must hold all the same. An exemption is never taken from there:
    /// what would be the name's has to be asked for by name.
    pub(crate) fn by_name(&self, port: u16) -> Option<Arc<PolicyByName>> {
        let mut treatments = self.rules.iter().map(|rule| rule.treatment);
        if !treatments.any(|treatment| treatment == Treatment::Require) {
            return None;
        }
        let rules = self.clone();
        Some(Arc::new(move |name: &str| {
            let host = name.parse().ok()?;
            let rule = rules.find(&host, port)?;
            (rule.treatment == Treatment::Require).then_some(Policy::Require)
        }))
    }

    /// As they were written, the most specific first.
    pub(crate) fn list(&self) -> impl Iterator<Item = String> {
        self.rules.iter().map(ToString::to_string)
    }

    fn find(&self, host: &Host, port: u16) -> Option<&Rule> {
        let host = host.to_string();
        let host = host.strip_suffix('.').unwrap_or(&host);
        self.rules.iter().find(|rule| rule.pattern.fits(host, port))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let option = match self.treatment {
            Treatment::Exempt => "--exempt",
            Treatment::Require => "--require",
        };
        write!(f, "{option} {}", self.pattern)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl std::str::FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains("://") || text.contains('/') {
            return Err(format!(
                "`{text}` is not a host; write it without scheme and path"
            ));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !text.ends_with(']') => {
                if host.contains(':') && !host.ends_with(']') {
                    return Err(format!("write the IPv6 address in brackets: `[{text}]`"));
                }
                let number = port.parse().ok().filter(|&port: &u16| port != 0);
                let bad = || format!("`{port}` is not a port from 1 to 65535");
                (host, Some(number.ok_or_else(bad)?))
            }
            _ => (text, None),
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.*[]:".contains(c);
        if host.is_empty() || !host.chars().all(allowed) {
            return Err(format!(
                "`{text}` is not a host with `*` for any characters, such as `*.example.org`"
            ));
        }
        Ok(Self {
            host: host.to_ascii_lowercase(),
            port,
        })
    }
}

impl Pattern {
    fn specificity(&self) -> (bool, usize, bool) {
        let literal = self.host.chars().filter(|&c| c != '*').count();
        (literal == self.host.len(), literal, self.port.is_some())
    }

    fn fits(&self, host: &str, port: u16) -> bool {
        self.port.is_none_or(|own| own == port) && matches(self.host.as_bytes(), host.as_bytes())
    }
}

/// In time proportional to the product of both lengths at the worst: the last `*` alone is
/// tried again.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p, t));
                p += 1;
            }
            Some(c) if *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    p = star + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        let parse = |text: &&str| text.parse().expect("a pattern");
        texts.iter().map(parse).collect()
    }

    fn rules(require: &[&str], exempt: &[&str]) -> Rules {
        Rules::new(Policy::Prefer, &patterns(require), &patterns(exempt))
    }

    fn of(rules: &Rules, target: &str) -> (bool, Policy) {
        let ruling = rules.of(&target.parse().expect("an endpoint"));
        (ruling.exempt, ruling.policy)
    }

    const PREFERRED: (bool, Policy) = (false, Policy::Prefer);
    const REQUIRED: (bool, Policy) = (false, Policy::Require);
    const EXEMPT: (bool, Policy) = (true, Policy::Prefer);

    #[test]
    fn patterns_fit_whole_hosts() {
        let rules = rules(&["*.example.org", "[::1]", "192.168.*"], &["localhost"]);
        for (target, expected) in [
            ("a.example.org:443", REQUIRED),
            ("A.b.Example.ORG.:8443", REQUIRED),
            ("example.org:443", PREFERRED),
            ("a.example.org.test:443", PREFERRED),
            ("[::1]:443", REQUIRED),
            ("192.168.3.4:443", REQUIRED),
            ("193.192.168.3:443", PREFERRED),
        ] {
            assert_eq!(of(&rules, target), expected, "{target}");
        }
    }

    #[test]
    fn the_most_specific_pattern_holds_whatever_the_order() {
        let rules = rules(
            &["*", "bank.test", "*.a.test:8443", "tie.test"],
            &["*.test", "*.a.test", "b.a.test", "tie.test"],
        );
        for (target, expected) in [
            ("else.org:443", REQUIRED),
            ("some.test:443", EXEMPT),
            ("bank.test:443", REQUIRED),
            ("x.a.test:443", EXEMPT),
            ("x.a.test:8443", REQUIRED),
            ("b.a.test:8443", EXEMPT),
            ("tie.test:443", REQUIRED),
        ] {
            assert_eq!(of(&rules, target), expected, "{target}");
        }
    }

    #[test]
    fn a_name_in_the_client_hello_can_only_be_stricter() {
        let rules = rules(&["*.bank.test"], &["www.bank.test", "free.test"]);
        let by_name = rules.by_name(443).expect("a requirement");
        assert_eq!(by_name("login.bank.test"), Some(Policy::Require));
        assert_eq!(by_name("www.bank.test"), None);
        assert_eq!(by_name("free.test"), None);
        assert_eq!(by_name("no host at all"), None);
        let without = Rules::new(Policy::Prefer, &[], &patterns(&["free.test"]));
        assert!(without.by_name(443).is_none());
    }

    #[test]
    fn patterns_that_are_none_say_why() {
        for (text, expected) in [
            ("https://a.test", "without scheme"),
            ("a.test/", "without scheme"),
            ("", "not a host"),
            ("a test", "not a host"),
            ("a.test:0", "port"),
            ("a.test:http", "port"),
            ("::1", "brackets"),
        ] {
            let error = text.parse::<Pattern>().expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn stars_match_any_characters_and_cost_little() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXcYc", false),
            ("**", "x", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected);
        }
        let pattern = "*a".repeat(100) + "b";
        assert!(!matches(pattern.as_bytes(), &[b'a'; 253]));
    }
}
