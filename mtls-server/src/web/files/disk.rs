//! Reads files on a bounded number of blocking threads, regular files only.

use std::fs::{self, File, Metadata};
use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, pread, retry_on_intr};
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tower_http::services::fs as service;

/// Files up to this length are read by the thread that opens them: another turn of a thread costs more
/// than the reading.
const SMALL: usize = 16 << 10;

/// The file system, as the file service reads it. Clones share the bound on threads.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    threads: Arc<Semaphore>,
}

/// A regular file that is open for reading.
pub(super) struct DiskFile {
    disk: Disk,
    file: Arc<File>,
    metadata: Metadata,
    /// The content of a small file. Empty for others.
    content: Vec<u8>,
    position: u64,
    /// Accessed by `&mut` only: the mutex makes the future `Sync`, as the file service demands.
    reading: Mutex<Option<BoxFuture<Vec<u8>>>>,
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

impl Disk {
    /// Uses at most so many of the runtime's blocking threads at a time.
    pub(super) fn new(threads: usize) -> Self {
        Self {
            threads: Arc::new(Semaphore::new(threads.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Runs `work` once a thread is free.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let threads = Arc::clone(&self.threads);
        let permit = threads.acquire_owned().await.map_err(io::Error::other)?;
        // The thread owns the permit: a cancelled request may leave it blocked.
        let done = spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done.await.map_err(io::Error::other)
    }
}

impl service::Backend for Disk {
    type File = DiskFile;
    type Metadata = Metadata;
    type OpenFuture = BoxFuture<DiskFile>;
    type MetadataFuture = BoxFuture<Metadata>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        let disk = self.clone();
        Box::pin(async move {
            let opened = disk.run(move || Opened::open(&path).map_err(unify)).await?;
            let Opened {
                file,
                metadata,
                content,
            } = opened?;
            Ok(DiskFile {
                disk,
                file: Arc::new(file),
                metadata,
                content,
                position: 0,
                reading: Mutex::new(None),
            })
        })
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        let disk = self.clone();
        Box::pin(async move {
            let found = disk
                .run(move || fs::metadata(path).map_err(unify))
                .await??;
            match found.is_dir() {
                true => Ok(found),
                false => regular(found),
            }
        })
    }
}

/// A regular file, and its content if it is small.
struct Opened {
    file: File,
    metadata: Metadata,
    content: Vec<u8>,
}

impl Opened {
    fn open(path: &Path) -> io::Result<Self> {
        let (file, metadata) = open_regular(path)?;
        let content = match usize::try_from(metadata.len()) {
            Ok(length @ ..=SMALL) => read_at(&file, length, 0)?,
            _ => Vec::new(),
        };
        Ok(Self {
            file,
            metadata,
            content,
        })
    }
}

/// Up to `length` bytes from a position.
fn read_at(file: &File, length: usize, position: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let count = retry_on_intr(|| pread(file, &mut bytes[..], position))?;
    bytes.truncate(count);
    Ok(bytes)
}

/// Opens a file without waiting for another process, as a FIFO would.
fn open_regular(path: &Path) -> io::Result<(File, Metadata)> {
    // Opening a device may have an effect by itself, so check first.
    regular(fs::metadata(path)?)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    // The name may lead to another file meanwhile: this check decides.
    let metadata = regular(file.metadata()?)?;
    Ok((file, metadata))
}

/// Refuses directories, FIFOs, sockets and devices.
fn regular(metadata: Metadata) -> io::Result<Metadata> {
    match metadata.is_file() {
        true => Ok(metadata),
        false => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Makes one error of all for names without a readable file. Others, such as a lack of file
/// descriptors or a broken disk, stay unchanged.
fn unify(error: io::Error) -> io::Error {
    let missing = matches!(
        Errno::from_io_error(&error),
        Some(
            Errno::ACCESS
                | Errno::INVAL
                | Errno::ISDIR
                | Errno::LOOP
                | Errno::NAMETOOLONG
                | Errno::NODEV
                | Errno::NOTDIR
                | Errno::NXIO
                | Errno::PERM
        )
    );
    // `InvalidInput` without a number: the name holds a NUL.
    match missing || error.kind() == io::ErrorKind::InvalidInput {
        true => io::ErrorKind::NotFound.into(),
        false => error,
    }
}

impl DiskFile {
    /// Up to `length` bytes from the current position.
    fn read(&self, length: usize) -> BoxFuture<Vec<u8>> {
        let (disk, file, position) = (self.disk.clone(), Arc::clone(&self.file), self.position);
        Box::pin(async move { disk.run(move || read_at(&file, length, position)).await? })
    }

    /// Bytes that are left of the length which the response announces: a file may grow.
    fn left(&self) -> u64 {
        self.metadata.len().saturating_sub(self.position)
    }

    /// The rest of the content that was read when the file was opened.
    fn content(&self) -> Option<&[u8]> {
        let position = usize::try_from(self.position).ok()?;
        self.content
            .get(position..)
            .filter(|bytes| !bytes.is_empty())
    }

    fn reading(&mut self) -> &mut Option<BoxFuture<Vec<u8>>> {
        let reading = self.reading.get_mut();
        reading.unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for DiskFile {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let left = usize::try_from(this.left()).unwrap_or(usize::MAX);
        let wanted = buf.remaining().min(left);
        if wanted == 0 {
            return Poll::Ready(Ok(()));
        }
        if let Some(bytes) = this.content() {
            let bytes = &bytes[..bytes.len().min(wanted)];
            buf.put_slice(bytes);
            this.position += bytes.len() as u64;
            return Poll::Ready(Ok(()));
        }
        let mut reading = match this.reading().take() {
            Some(reading) => reading,
            None => this.read(wanted),
        };
        let Poll::Ready(read) = reading.as_mut().poll(cx) else {
            *this.reading() = Some(reading);
            return Poll::Pending;
        };
        let bytes = read?;
        // The buffer may be a smaller one by now.
        let bytes = &bytes[..bytes.len().min(wanted)];
        buf.put_slice(bytes);
        this.position += bytes.len() as u64;
        Poll::Ready(Ok(()))
    }
}

impl AsyncSeek for DiskFile {
    fn start_seek(self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let this = self.get_mut();
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(offset) => this.position.checked_add_signed(offset),
            SeekFrom::End(offset) => this.metadata.len().checked_add_signed(offset),
        };
        *this.reading() = None;
        this.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(self.position))
    }
}

impl service::File for DiskFile {
    type Metadata = Metadata;
    type MetadataFuture<'a> = std::future::Ready<io::Result<Metadata>>;

    fn metadata(&self) -> Self::MetadataFuture<'_> {
        std::future::ready(Ok(self.metadata.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use rustix::fs::{CWD, FileType, mknodat};
    use tokio::io::{AsyncReadExt, AsyncSeekExt};
    use tower_http::services::fs::{Backend, File as _};

    fn make_fifo(path: &Path) {
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
    }

    #[tokio::test]
    async fn only_regular_files_are_opened_and_no_open_waits() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        make_fifo(&path("fifo"));
        let _socket = UnixListener::bind(path("socket")).expect("a socket");
        symlink("loop", path("loop")).expect("a link");
        symlink("/dev/tty", path("terminal")).expect("a link");
        symlink("/dev/zero", path("device")).expect("a link");
        fs::write(path("file"), "x").expect("to write");
        let disk = Disk::new(1);
        let long = "a".repeat(300);
        for name in [
            "fifo", "socket", "loop", "terminal", "device", ".", "none", "file/x", "nul\0", &long,
        ] {
            let opened = disk.open(path(name)).await;
            let error = opened.err().unwrap_or_else(|| panic!("{name} was opened"));
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{name}: {error}");
        }
        assert!(disk.open(path("file")).await.is_ok());
    }

    /// The check before the opening does not help here: only the one after it does.
    #[tokio::test]
    async fn a_fifo_that_takes_the_place_of_a_file_is_not_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        fs::write(path("file"), "x").expect("to write");
        make_fifo(&path("fifo"));
        let name = path("name");
        let (file, fifo, next) = (path("file"), path("fifo"), path("next"));
        let swapping = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let on = Arc::clone(&swapping);
        symlink(&file, &name).expect("a link");
        let swapped = name.clone();
        let swapper = std::thread::spawn(move || {
            while on.load(std::sync::atomic::Ordering::Relaxed) {
                for to in [&fifo, &file] {
                    symlink(to, &next).expect("a link");
                    fs::rename(&next, &swapped).expect("to rename");
                }
            }
        });
        let disk = Disk::new(1);
        for _ in 0..2_000 {
            if let Ok(opened) = disk.open(name.clone()).await {
                assert!(opened.metadata.is_file());
            }
        }
        swapping.store(false, std::sync::atomic::Ordering::Relaxed);
        swapper.join().expect("to end");
    }

    #[tokio::test]
    async fn a_file_that_grows_ends_where_its_response_does() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        fs::write(&path, "0123456789").expect("to write");
        let mut file = Disk::new(1).open(path.clone()).await.expect("to open");
        fs::write(&path, "0123456789 and more").expect("to write");
        file.seek(SeekFrom::Start(4)).await.expect("to seek");
        let mut read = String::new();
        file.read_to_string(&mut read).await.expect("to read");
        assert_eq!(read, "456789");
        assert_eq!(file.metadata().await.expect("metadata").len(), 10);
    }

    #[tokio::test]
    async fn a_thread_that_blocks_counts_until_it_returns() {
        let disk = Disk::new(1);
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        let blocking = disk.clone();
        let cancelled = tokio::spawn(async move { blocking.run(move || blocked.recv()).await });
        while disk.threads.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        cancelled.abort();
        let _ = cancelled.await;
        assert_eq!(disk.threads.available_permits(), 0);
        drop(release);
        disk.run(|| ()).await.expect("a free thread");
    }
}
