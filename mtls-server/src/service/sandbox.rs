//! The sandbox of a server: the files that it can open, and the capabilities that it keeps.

use std::fmt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
    path_beneath_rules,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

/// The newest rights to files that are known here; older kernels restrict fewer.
const KNOWN: ABI = ABI::V6;

/// Files of the system that every server reads: routes, limits and random numbers.
const SYSTEM: [&str; 4] = ["/dev/null", "/dev/urandom", "/proc", "/sys/fs/cgroup"];

/// Files of the system for the resolution of names and for its certificate authorities. Directories:
/// their files are replaced while the server runs.
const NAMES: [&str; 8] = [
    "/etc",
    "/lib",
    "/lib64",
    "/run/systemd/resolve",
    "/usr/lib",
    "/usr/local/share/ca-certificates",
    "/usr/share/ca-certificates",
    "/var/lib/ca-certificates",
];

/// Files of the same purpose that may be links out of these directories, such as to
/// `/run/NetworkManager`.
const NAME_LINKS: [&str; 6] = [
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
];

/// The capabilities that a server keeps if it has them: ports below 1024, and reading files that
/// belong to another user, such as keys, as root.
const KEPT: CapabilitySet = CapabilitySet::NET_BIND_SERVICE.union(CapabilitySet::DAC_READ_SEARCH);

/// The files that a server can open. Everything else on the file system is out of its reach.
#[derive(Debug)]
pub(crate) struct Sandbox {
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
    capabilities: CapabilitySet,
}

/// The rights that the system has taken from this process.
#[derive(Debug)]
pub(crate) struct Restricted {
    files: Result<RulesetStatus, String>,
    capabilities: Result<(), rustix::io::Errno>,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self {
            read: SYSTEM.map(PathBuf::from).into(),
            write: Vec::new(),
            capabilities: KEPT,
        }
    }

    /// Allows the resolution of names, and the system's certificate authorities.
    pub(crate) fn names(mut self) -> Self {
        self.read.extend(NAMES.map(PathBuf::from));
        for link in NAME_LINKS {
            self.links(Path::new(link));
        }
        for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
            if let Some(path) = std::env::var_os(variable) {
                self = self.file(Path::new(&path)).directory(Path::new(&path));
            }
        }
        self
    }

    /// Allows reading what is below a directory, also if it is a link that is replaced by one to
    /// another directory beside it.
    pub(crate) fn directory(mut self, path: &Path) -> Self {
        self.read.push(path.to_owned());
        self.links(path);
        self
    }

    /// Allows reading a file, also if it is replaced or is a link that is; a file directly below `/`
    /// must not be replaced.
    pub(crate) fn file(mut self, path: &Path) -> Self {
        self.read
            .push(parent(path).unwrap_or_else(|| path.to_owned()));
        self.links(path);
        self
    }

    /// Allows writing files into a directory, and reading them.
    pub(crate) fn writable(mut self, directory: &Path) -> Self {
        self.write.push(directory.to_owned());
        self
    }

    /// Allows creating a file in its directory.
    pub(crate) fn new_file(mut self, path: &Path) -> Self {
        self.write.extend(parent(path));
        self
    }

    /// Allows connecting, as root, to a socket in the file system that belongs to another user: the
    /// system demands the right to write to it.
    pub(crate) fn socket(mut self) -> Self {
        self.capabilities |= CapabilitySet::DAC_OVERRIDE;
        self
    }

    /// Allows the directories that hold the links in a path, and those of their targets.
    fn links(&mut self, path: &Path) {
        let Ok(path) = std::path::absolute(path) else {
            return;
        };
        for link in path.ancestors().filter(|path| path.is_symlink()) {
            self.read.extend(parent(link));
            let target = std::fs::canonicalize(link);
            self.read.extend(target.ok().as_deref().and_then(parent));
        }
    }

    /// Restricts this thread, and all that it starts later. Call it before there are others.
    pub(crate) fn enter(&self) -> Restricted {
        Restricted {
            capabilities: drop_capabilities(self.capabilities),
            files: self.restrict_files().map_err(|error| error.to_string()),
        }
    }

    fn restrict_files(&self) -> Result<RulesetStatus, RulesetError> {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let restricted = Ruleset::default()
            .handle_access(AccessFs::from_all(KNOWN))?
            .create()?
            .add_rules(path_beneath_rules(&self.read, read))?
            .add_rules(path_beneath_rules(&self.write, AccessFs::from_all(KNOWN)))?
            .restrict_self()?;
        Ok(restricted.ruleset)
    }
}

/// The directory of a file; `None` for one directly below `/`, which would allow everything.
fn parent(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let parent = path.parent()?;
    parent.parent().map(|_| parent.to_owned())
}

fn drop_capabilities(keep: CapabilitySet) -> rustix::io::Result<()> {
    for capability in CapabilitySet::all().difference(keep).iter() {
        // Possible with a capability that most processes do not have, and then it is not needed.
        let _ = remove_capability_from_bounding_set(capability);
    }
    clear_ambient_capability_set()?;
    let sets = capabilities(None)?;
    let kept = CapabilitySets {
        effective: sets.effective & keep,
        permitted: sets.permitted & keep,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, kept)
}

impl Restricted {
    /// Whether the system has taken the rights, as far as the kernel can: every Landlock restricts
    /// reading and writing files.
    pub(crate) fn is_in_force(&self) -> bool {
        use RulesetStatus::{FullyEnforced, PartiallyEnforced};
        matches!(self.files, Ok(FullyEnforced | PartiallyEnforced)) && self.capabilities.is_ok()
    }
}

impl fmt::Display for Restricted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.files {
            Ok(RulesetStatus::FullyEnforced) => f.write_str("files restricted")?,
            Ok(RulesetStatus::PartiallyEnforced) => {
                f.write_str("files restricted in part, since the kernel has an older Landlock")?;
            }
            Ok(RulesetStatus::NotEnforced) => {
                f.write_str("files not restricted, since the kernel has no Landlock")?;
            }
            Err(error) => write!(f, "files not restricted: {error}")?,
        }
        match self.capabilities {
            Ok(()) => f.write_str(", capabilities dropped"),
            Err(error) => write!(f, ", capabilities kept: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_below_the_root_directory_allows_itself_and_not_everything() {
        let sandbox = Sandbox::new().file(Path::new("/server.key"));
        assert!(sandbox.read.contains(&PathBuf::from("/server.key")));
        let sandbox = sandbox.new_file(Path::new("/ca.pem"));
        assert!(!sandbox.read.contains(&PathBuf::from("/")));
        assert!(sandbox.write.is_empty());
    }
}
