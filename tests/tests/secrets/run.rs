//! The processes of a run, and everything that they write.

use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use mtls_lab::child::{is_installed, tied};
use mtls_lab::{Result, World, eventually, free_address};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The key of a fleet.
pub(super) const REGISTRY_KEY: [u8; 32] = [
    0x5e, 0xb2, 0xce, 0x29, 0x1c, 0x7d, 0x22, 0x7d, 0xd6, 0x84, 0xec, 0x83, 0xf9, 0xdd, 0xc0, 0x57,
    0x76, 0xe2, 0xfe, 0x9a, 0x0c, 0x4e, 0x62, 0x92, 0x7b, 0x45, 0x92, 0x38, 0x3e, 0x66, 0xfb, 0x28,
];
/// The password of the engine of a fleet.
pub(super) const REGISTRY_PASSWORD: &str = "the-password-of-the-engine";

/// A directory with the files that the programs read, and one with all that they write.
pub(super) struct Place {
    directory: TempDir,
}

impl Place {
    pub(super) fn new(world: &World) -> Result<Self> {
        let place = Self {
            directory: tempfile::tempdir()?,
        };
        world.pki.write(&place.path("pki"), false)?;
        fs::create_dir_all(place.path("www"))?;
        fs::create_dir_all(place.path("outputs"))?;
        fs::write(place.path("www/index.html"), "a page")?;
        let key: String = REGISTRY_KEY
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        write_private(&place.path("registry.key"), &key)?;
        write_private(&place.path("registry.password"), REGISTRY_PASSWORD)?;
        Ok(place)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// One of the programs, with its log at the lowest level in files, and its own in a directory.
    pub(super) fn command(&self, name: &str, arguments: &[&str]) -> Result<Command> {
        let mut command = tied(env!("CARGO_BIN_EXE_mtls-lab"));
        let home = self.path(&format!("outputs/{name}.home"));
        fs::create_dir_all(&home)?;
        let output = |stream| File::create(self.path(&format!("outputs/{name}.{stream}")));
        command.args(arguments).stdin(Stdio::null());
        command.stdout(output("stdout")?).stderr(output("stderr")?);
        command.env("HOME", &home).env("RUST_LOG", "trace");
        command.env("RUST_BACKTRACE", "full");
        for name in [
            "XDG_CONFIG_HOME",
            "XDG_STATE_HOME",
            "XDG_DATA_HOME",
            "XDG_CACHE_HOME",
        ] {
            command.env(name, &home);
        }
        Ok(command)
    }

    /// Runs a program to its end; the exit status.
    pub(super) async fn run(&self, name: &str, arguments: &[&str]) -> Result<Option<i32>> {
        let mut command = self.command(name, arguments)?;
        let mut child = command.spawn()?;
        let mut code = None;
        eventually(&format!("{name} ends"), || {
            code = child.try_wait().ok().flatten();
            code.is_some()
        })
        .await?;
        Ok(code.and_then(|status| status.code()))
    }

    /// Adds to an output that no program writes to a file itself.
    pub(super) fn add_output(&self, name: &str, bytes: &[u8]) -> Result {
        let mut options = File::options();
        let file = options.create(true).append(true);
        Ok(file
            .open(self.path(&format!("outputs/{name}")))?
            .write_all(bytes)?)
    }

    /// An output so far.
    pub(super) fn output(&self, name: &str) -> String {
        let file = self.path(&format!("outputs/{name}"));
        fs::read_to_string(file).unwrap_or_default()
    }

    /// The standard error of a program.
    pub(super) fn error(&self, name: &str) -> String {
        self.output(&format!("{name}.stderr"))
    }

    /// Starts a program that listens.
    pub(super) async fn start(&self, name: &'static str, arguments: &[&str]) -> Result<Program> {
        let (address, status) = (free_address()?, free_address()?);
        let (at, status_at) = (address.to_string(), status.to_string());
        let mut all = arguments.to_vec();
        all.extend(["--listen", &at]);
        let pages: &[_] = match name {
            "proxy" => &[(address, "/")],
            _ => {
                all.extend(["--status", &status_at]);
                &[(status, "/status"), (status, "/metrics")]
            }
        };
        self.start_at(name, &all, address, pages).await
    }

    /// Starts `watch` with its status page.
    pub(super) async fn start_watch(&self, arguments: &[&str]) -> Result<Program> {
        let address = free_address()?;
        let at = address.to_string();
        let pages = ["/", "/targets", "/metrics"].map(|path| (address, path));
        let all = [arguments, &["--metrics", &at]].concat();
        self.start_at("watch", &all, address, &pages).await
    }

    async fn start_at(
        &self,
        name: &'static str,
        arguments: &[&str],
        address: SocketAddr,
        pages: &[(SocketAddr, &'static str)],
    ) -> Result<Program> {
        let child = self.command(name, arguments)?.spawn()?;
        let program = Program {
            name,
            address,
            pages: pages.to_vec(),
            child,
        };
        let listening = || std::net::TcpStream::connect(address).is_ok();
        eventually(&format!("{name} listens"), listening).await?;
        Ok(program)
    }

    /// Keeps the pages of a program with the other outputs.
    pub(super) async fn keep_pages(&self, program: &Program) -> Result {
        for &(at, path) in &program.pages {
            let page = page(at, path).await?;
            let text = String::from_utf8_lossy(&page);
            assert!(
                text.starts_with("HTTP/1.1 200"),
                "{} {path}: {text}",
                program.name
            );
            let file = format!("outputs/{}.page{}", program.name, path.replace('/', "."));
            fs::write(self.path(&file), page)?;
        }
        Ok(())
    }

    /// All that the programs wrote, by name.
    pub(super) fn outputs(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut outputs = Vec::new();
        collect(&self.path("outputs"), &mut outputs)?;
        Ok(outputs)
    }
}

/// A program that listens. Killed on drop.
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    pages: Vec<(SocketAddr, &'static str)>,
    child: Child,
}

impl Program {
    /// Ends it as a service manager does, so that it writes all it has to say.
    pub(super) fn end(mut self) -> Result {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let status = self.child.wait()?;
        assert!(status.success(), "{}: {status}", self.name);
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An engine of a fleet with a password; `None`, with a message, where Redis is not installed.
pub(super) fn engine(place: &Place) -> Result<Option<(SocketAddr, Engine)>> {
    if !is_installed("redis-server") {
        eprintln!("SKIPPED: the keys of a registry (redis-server is not installed)");
        return Ok(None);
    }
    let address = free_address()?;
    let mut command = tied("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string()]);
    command.args([
        "--save",
        "",
        "--appendonly",
        "no",
        "--requirepass",
        REGISTRY_PASSWORD,
    ]);
    command.arg("--dir").arg(place.directory.path());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Ok(Some((address, Engine(command.spawn()?))))
}

/// Killed on drop.
pub(super) struct Engine(Child);

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The private scalar of a key of P-256 in PEM: the rest of the file is in the certificate too.
pub(super) fn scalar(pem: &str) -> Vec<u8> {
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject;

    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).expect("a key");
    let der = key.secret_der();
    // ECPrivateKey (RFC 5915): version 1, then an octet string of 32 bytes.
    let before = [2, 1, 1, 4, 32];
    let at = der
        .windows(before.len())
        .position(|window| window == before);
    let at = at.expect("a key of P-256") + before.len();
    der[at..at + 32].to_vec()
}

async fn page(at: SocketAddr, path: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(at).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut page = Vec::new();
    stream.read_to_end(&mut page).await?;
    Ok(page)
}

fn collect(directory: &Path, outputs: &mut Vec<(String, Vec<u8>)>) -> Result {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, outputs)?;
        } else {
            outputs.push((path.display().to_string(), fs::read(&path)?));
        }
    }
    Ok(())
}

fn write_private(path: &Path, text: &str) -> Result {
    use std::os::unix::fs::OpenOptionsExt;

    let mut options = File::options();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}
