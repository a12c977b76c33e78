//! The policy of each host: `--policy`, `--require GLOB` and `--exempt GLOB`.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use mtls_core::Policy;
use mtls_core::path::{Endpoint, Host};
use mtls_core::relay::PolicyByName;

use super::pattern::{Pattern, Spellings};

/// The policy of each host. The most specific pattern that matches applies: one without `*`, then
/// the longest, then one with a port; of two equally specific patterns, the one of `--require`.
///
/// In case of doubt the stricter rule applies: `--require` matches every spelling of an address and
/// every address that reaches it, `--exempt` only the canonical spelling of the host that is dialed.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    policy: Policy,
    /// The most specific first.
    rules: Arc<[Rule]>,
}

/// The effect of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RuleKind {
    /// Relayed without verification.
    Exempt,
    /// The policy is `require`.
    Require,
}

/// The policy for a host, and the rule that determines it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostPolicy {
    pub(super) exempt: bool,
    pub(super) policy: Policy,
    pub(super) rule: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    pattern: Pattern,
    kind: RuleKind,
}

impl Rules {
    pub(super) fn new(policy: Policy, require: &[Pattern], exempt: &[Pattern]) -> Self {
        let as_rules = |patterns: &[Pattern], kind| {
            let rules = patterns.iter().cloned();
            rules.map(move |pattern| Rule { pattern, kind }).collect()
        };
        let mut rules: Vec<Rule> = as_rules(require, RuleKind::Require);
        rules.extend::<Vec<_>>(as_rules(exempt, RuleKind::Exempt));
        rules.sort_by_key(|rule| std::cmp::Reverse((rule.pattern.specificity(), rule.kind)));
        Self {
            policy,
            rules: rules.into(),
        }
    }

    /// The policy for the host that a client requests.
    pub(super) fn for_target(&self, target: &Endpoint) -> HostPolicy {
        let Endpoint { host, port } = target;
        let rule = self
            .requirement_of_alias(host, *port)
            .or_else(|| self.find(host, *port));
        let require = rule.is_some_and(|rule| rule.kind == RuleKind::Require);
        HostPolicy {
            exempt: rule.is_some_and(|rule| rule.kind == RuleKind::Exempt),
            policy: if require {
                Policy::Require
            } else {
                self.policy
            },
            rule: rule.map(ToString::to_string),
        }
    }

    /// The `--require` that applies to the address of a target. Not for exempt targets: a name that
    /// is exempt is exempt at every address.
    pub(super) fn requirement(&self, dialed: SocketAddr) -> Option<String> {
        let Endpoint { host, port } = Endpoint::from(dialed);
        let rule = self
            .requirement_of_alias(&host, port)
            .or_else(|| self.require(&host, port));
        rule.map(ToString::to_string)
    }

    /// The `--require` rules for the server name in a ClientHello, because a client that resolves
    /// names itself requests addresses. Exemptions apply only to hosts that are requested by name.
    pub(super) fn by_name(&self, port: u16) -> Option<Arc<PolicyByName>> {
        let mut kinds = self.rules.iter().map(|rule| rule.kind);
        if !kinds.any(|kind| kind == RuleKind::Require) {
            return None;
        }
        let rules = self.clone();
        Some(Arc::new(move |name: &str| {
            let host = name.parse().ok()?;
            rules.require(&host, port).map(|_| Policy::Require)
        }))
    }

    /// The rules in their canonical spelling, the most specific first.
    pub(super) fn list(&self) -> impl Iterator<Item = String> {
        self.rules.iter().map(ToString::to_string)
    }

    fn find(&self, host: &Host, port: u16) -> Option<&Rule> {
        let spellings = Spellings::of(host);
        self.rules
            .iter()
            .find(|rule| rule.matches(&spellings, port))
    }

    fn require(&self, host: &Host, port: u16) -> Option<&Rule> {
        let rule = self.find(host, port)?;
        (rule.kind == RuleKind::Require).then_some(rule)
    }

    fn requirement_of_alias(&self, host: &Host, port: u16) -> Option<&Rule> {
        let Host::Ip(address) = host else {
            return None;
        };
        let mut aliases = address.aliases().into_iter();
        aliases.find_map(|ip| self.require(&ip.into(), port))
    }
}

impl Rule {
    fn matches(&self, host: &Spellings, port: u16) -> bool {
        match self.kind {
            RuleKind::Exempt => self.pattern.matches(host.canonical(), port),
            RuleKind::Require => {
                let pattern = self.pattern.in_any_zone();
                host.all().any(|spelling| pattern.matches(spelling, port))
            }
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let option = match self.kind {
            RuleKind::Exempt => "--exempt",
            RuleKind::Require => "--require",
        };
        write!(f, "{option} {}", self.pattern)
    }
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
        let host_policy = rules.for_target(&target.parse().expect("an endpoint"));
        (host_policy.exempt, host_policy.policy)
    }

    const PREFERRED: (bool, Policy) = (false, Policy::Prefer);
    const REQUIRED: (bool, Policy) = (false, Policy::Require);
    const EXEMPT: (bool, Policy) = (true, Policy::Prefer);

    #[test]
    fn patterns_match_whole_hosts() {
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
    fn the_most_specific_pattern_applies_in_any_order() {
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

    /// Spellings of one address.
    const SPELLINGS: [&str; 14] = [
        "192.0.2.1",
        "192.0.2.1.",
        "192.0.513",
        "192.513",
        "3221225985",
        "0xc0000201",
        "0300.0.2.01",
        "0xC0.0.0x2.1",
        "[::ffff:192.0.2.1]",
        "[::ffff:c000:201]",
        "[::FFFF:C000:0201%eth0]",
        "[0:0:0:0:0:ffff:c000:201]",
        "１９２.0.2.1",
        "192。0。2。1",
    ];

    /// Other addresses that reach it.
    const EMBEDDING: [&str; 8] = [
        "[::192.0.2.1]",
        "[::c000:201]",
        "[64:ff9b::192.0.2.1]",
        "[64:FF9B::C000:201]",
        "[64:ff9b:1::c000:201]",
        "[64:ff9b:1:c000:2:100::]",
        "[2002:c000:201::1]",
        "[fe80::5efe:c000:201%eth0]",
    ];

    const GLOBS: [&str; 5] = ["192.0.2.*", "192.*", "*.2.1", "[::ffff:c000:*]", "*"];

    fn all(texts: &[&[&'static str]]) -> Vec<&'static str> {
        texts.concat()
    }

    #[test]
    fn a_requirement_applies_to_every_spelling_and_every_address_that_reaches_the_host() {
        for rule in all(&[&SPELLINGS, &GLOBS]) {
            for rule in [rule.to_owned(), format!("{rule}:443")] {
                let rules = rules(&[&rule], &[]);
                for host in all(&[&SPELLINGS, &EMBEDDING]) {
                    assert_eq!(
                        of(&rules, &format!("{host}:443")),
                        REQUIRED,
                        "{rule} {host}"
                    );
                    let other_port = of(&rules, &format!("{host}:444"));
                    assert_eq!(other_port == REQUIRED, !rule.ends_with(":443"));
                }
                let everything = rule.trim_end_matches(":443") == "*";
                assert_eq!(
                    of(&rules, "198.51.100.7:443") == REQUIRED,
                    everything,
                    "{rule}"
                );
            }
        }
    }

    #[test]
    fn an_exemption_never_overrides_a_requirement_of_the_same_host() {
        for require in SPELLINGS {
            for exempt in all(&[&SPELLINGS, &EMBEDDING, &GLOBS, &["[*", "[64:*]", "[::*]"]]) {
                let rules = rules(&[require], &[exempt]);
                for host in all(&[&SPELLINGS, &EMBEDDING]) {
                    let ruled = of(&rules, &format!("{host}:443"));
                    assert_eq!(ruled, REQUIRED, "{require} {exempt} {host}");
                }
            }
        }
    }

    #[test]
    fn an_exemption_applies_to_every_spelling_but_not_to_other_addresses_that_reach_the_host() {
        for exempt in all(&[&SPELLINGS, &["192.0.2.*", "192.*"]]) {
            let rules = rules(&["*"], &[exempt]);
            for host in SPELLINGS {
                assert_eq!(
                    of(&rules, &format!("{host}:443")),
                    EXEMPT,
                    "{exempt} {host}"
                );
            }
            for host in EMBEDDING {
                assert_eq!(
                    of(&rules, &format!("{host}:443")),
                    REQUIRED,
                    "{exempt} {host}"
                );
            }
        }
        let both = rules(&["*"], &["[64:ff9b::c000:201]", "192.0.2.1"]);
        assert_eq!(of(&both, "[64:ff9b::192.0.2.1]:443"), EXEMPT);
    }

    #[test]
    fn globs_of_ipv6_addresses_match_with_and_without_zeros() {
        for rule in [
            "[2001:db8:*]",
            "[2001:0db8:0000:*]",
            "[2001:DB8:0:0:*]",
            "[*:1]",
        ] {
            let required = rules(&[rule], &[]);
            assert_eq!(of(&required, "[2001:db8::1]:443"), REQUIRED, "{rule}");
            assert_eq!(of(&required, "[2001:db9::2]:443"), PREFERRED, "{rule}");
        }
    }

    #[test]
    fn zones_are_ignored_by_requirements_and_compared_by_exemptions() {
        let both = rules(&["[fe80::1%eth0]", "[fe80::2*%eth0]"], &["[fe80::3%eth0]"]);
        for (host, expected) in [
            ("[fe80::1]", REQUIRED),
            ("[fe80::1%eth1]", REQUIRED),
            ("[fe80::1%252]", REQUIRED),
            ("[fe80::2:1%7]", REQUIRED),
            ("[fe80::3%25eth0]", EXEMPT),
            ("[fe80::3%eth1]", PREFERRED),
            ("[fe80::3]", PREFERRED),
        ] {
            assert_eq!(of(&both, &format!("{host}:443")), expected, "{host}");
        }
    }

    #[test]
    fn unspecified_addresses_are_treated_like_the_loopback() {
        let required = rules(&["127.0.0.1"], &["0.0.0.0", "[::]"]);
        for host in ["0.0.0.0", "0", "[::]", "[::ffff:0.0.0.0]"] {
            assert_eq!(of(&required, &format!("{host}:443")), REQUIRED, "{host}");
        }
    }

    #[test]
    fn international_names_are_one_name_in_all_their_spellings() {
        for rule in [
            "bücher.test",
            "BÜCHER.test.",
            "xn--bcher-kva.test",
            "*.bücher.test",
        ] {
            let (sub, rule) = (rule.starts_with('*'), rules(&[rule], &[]));
            for name in ["bücher.test", "Bu\u{308}cher。TEST", "XN--BCHER-KVA.test."] {
                let name = format!("{}{name}:443", if sub { "www." } else { "" });
                assert_eq!(of(&rule, &name), REQUIRED, "{name}");
            }
        }
    }

    #[test]
    fn the_address_that_a_name_resolved_to_can_be_required() {
        let both = rules(&["192.0.2.1:443"], &["192.0.2.7"]);
        let dialed = |address: &str| both.requirement(address.parse().unwrap());
        let rule = Some("--require 192.0.2.1:443".to_owned());
        assert_eq!(dialed("192.0.2.1:443"), rule);
        assert_eq!(dialed("[64:ff9b::192.0.2.1]:443"), rule);
        assert_eq!(dialed("192.0.2.1:444"), None);
        assert_eq!(dialed("192.0.2.7:443"), None);
    }
}
