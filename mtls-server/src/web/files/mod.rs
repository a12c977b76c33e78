//! The files of a directory.

mod disk;
mod range;
mod root;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::path::{Component, Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::{Either, Full};
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_MATCH,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE, VARY,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Uri};
use mtls_core::page::{Notice, Uncached};
use mtls_core::tower::Media;
use percent_encoding::percent_decode_str;
use tokio::sync::Semaphore;
use tower_http::compression::{Compression, CompressionBody};
use tower_http::services::ServeDir;
use tower_http::services::fs::{DefaultServeDirFallback, ServeFileSystemResponseBody};
use tower_service::Service;

use self::disk::Disk;
use self::range::ByteRange;
use self::root::Root;
use super::compress::{CompressText, weaken_etag};
use super::listing::Listing;
use crate::error::Error;

/// Directories that are read at a time; more wait.
const LISTINGS: usize = 16;
/// The only name with a dot that is public (RFC 8615).
const WELL_KNOWN: &str = ".well-known";

/// A tower service that serves the files of a directory.
#[derive(Clone)]
pub struct Files {
    root: Arc<Root>,
    options: FilesOptions,
    disk: Disk,
    listings: Arc<Semaphore>,
}

/// Settings of [`Files`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FilesOptions {
    /// List directories that have no `index.html`. Default: no.
    pub index: bool,
    /// Serve and list names that begin with a dot. Default: no, but for `.well-known` in the
    /// directory itself (RFC 8615).
    pub hidden: bool,
    /// Compress text for clients that accept it: send the file beside it whose name ends in `.br` or
    /// `.gz` if there is one, and gzip otherwise. Default: yes.
    pub compress: bool,
    /// Threads of the runtime's blocking pool that files may occupy at a time; further reads wait.
    /// Default: 64.
    pub threads: usize,
}

impl Default for FilesOptions {
    fn default() -> Self {
        Self {
            index: false,
            hidden: false,
            compress: true,
            threads: 64,
        }
    }
}

/// The body of a response of [`Files`]: a page of this server, or a file.
pub type FilesBody = Either<Full<Bytes>, CompressionBody<ServeFileSystemResponseBody>>;

impl Files {
    /// Serves the files below `dir`, which must exist. Symbolic links in it are followed, wherever
    /// they lead. A link in `dir` itself is followed anew for each request, so that a new version
    /// of the directory can replace an old one in a single step.
    ///
    /// # Errors
    /// [`Error::Directory`], [`Error::NotADirectory`], and [`Error::ZeroLimit`] without threads.
    pub fn new(dir: &Path, options: FilesOptions) -> Result<Self, Error> {
        if options.threads == 0 {
            return Err(Error::ZeroLimit("threads"));
        }
        Ok(Self {
            root: Arc::new(Root::open(dir)?),
            options,
            disk: Disk::new(options.threads),
            listings: Arc::new(Semaphore::new(LISTINGS)),
        })
    }

    /// Checks that a private key is not served: neither now, nor from a directory to which a link
    /// leads later.
    ///
    /// # Errors
    /// [`Error::KeyIsServed`].
    pub fn keep_out(&self, key: &Path) -> Result<(), Error> {
        self.root.keep_out(key)
    }

    /// The directory as one request sees it, from its beginning to its end.
    async fn view(&self) -> std::io::Result<View<'_>> {
        let root = Arc::clone(&self.root);
        let dir = self.disk.run(move || root.follow()).await?;
        let mut service = ServeDir::with_backend(&dir, self.disk.clone());
        if self.options.compress {
            service = service.precompressed_br().precompressed_gzip();
        }
        Ok(View {
            files: self,
            dir,
            service,
        })
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files")
            .field("root", &self.root)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl<B> Service<Request<B>> for Files {
    type Response = Response<FilesBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<FilesBody>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let files = self.clone();
        let (parts, _) = request.into_parts();
        Box::pin(async move { Ok(files.respond(parts).await) })
    }
}

impl Files {
    async fn respond(&self, parts: Parts) -> Response<FilesBody> {
        let head = Head {
            media: Media::negotiate(&parts.headers, &[Media::Text, Media::Html]),
            method: parts.method,
            // Without the host, so that a redirection leads to the host that the client used.
            uri: parts
                .uri
                .into_parts()
                .path_and_query
                .map(Uri::from)
                .unwrap_or_default(),
        };
        let path = head.uri.path();
        if reads_as_host(path) || (!self.options.hidden && is_hidden(path)) {
            return head.notice(StatusCode::NOT_FOUND);
        }
        let Ok(view) = self.view().await else {
            return head.notice(StatusCode::INTERNAL_SERVER_ERROR);
        };
        let response = view.respond(&head, parts.headers).await;
        match response.status() {
            StatusCode::NOT_FOUND => match view.list(&head).await {
                Some(listing) => listing,
                None => head.notice(StatusCode::NOT_FOUND),
            },
            status if status.is_client_error() || status.is_server_error() => {
                head.explain(&response)
            }
            // As for GET, without the body.
            _ if head.method == Method::HEAD => response.map(|_| Either::Left(Full::default())),
            _ => response,
        }
    }
}

/// The directory as one request sees it.
struct View<'a> {
    files: &'a Files,
    dir: Arc<Path>,
    service: ServeDir<DefaultServeDirFallback, Disk>,
}

impl View<'_> {
    async fn respond(&self, head: &Head, mut headers: HeaderMap) -> Response<FilesBody> {
        let range = ByteRange::of(&headers);
        // Ranges are defined for GET alone (RFC 9110, section 14.2).
        let range = range.filter(|_| head.method == Method::GET);
        headers.remove(RANGE);
        join_tags(&mut headers);
        let if_range = headers.remove(IF_RANGE);
        let response = match range {
            Some(range) => self.fetch_part(head, &headers, range, if_range).await,
            None => {
                self.fetch(head, &headers, self.files.options.compress)
                    .await
            }
        };
        match response.status() {
            StatusCode::NOT_MODIFIED => {
                let compress = self.files.options.compress && range.is_none();
                self.describe(response, head, headers, compress).await
            }
            _ => response,
        }
    }

    /// Calls the file service, compressing text on the way if `compress` is set.
    async fn fetch(&self, head: &Head, headers: &HeaderMap, compress: bool) -> Response<FilesBody> {
        let mut request = Request::new(());
        *request.method_mut() = match head.method {
            // The service checks less of a file for HEAD, and could respond differently.
            Method::HEAD => Method::GET,
            ref other => other.clone(),
        };
        *request.uri_mut() = head.uri.clone();
        *request.headers_mut() = headers.clone();
        let text = CompressText { enabled: compress };
        let mut service = Compression::new(self.service.clone()).compress_when(text);
        match service.call(request).await {
            Ok(mut response) => {
                weaken_etag(&mut response);
                response.map(Either::Right)
            }
            Err(never) => match never {},
        }
    }

    /// A part of a file; the whole file if it is empty, or if the client has a part of another one
    /// (`If-Range`, RFC 9110, section 13.1.5).
    async fn fetch_part(
        &self,
        head: &Head,
        headers: &HeaderMap,
        range: ByteRange,
        if_range: Option<HeaderValue>,
    ) -> Response<FilesBody> {
        let whole = self.fetch(head, headers, false).await;
        let Some(range) = range_in(&whole, range, if_range) else {
            return whole;
        };
        let mut headers = headers.clone();
        headers.insert(RANGE, range);
        let part = self.fetch(head, &headers, false).await;
        // The file may have changed meanwhile.
        match part.headers().get(ETAG) == whole.headers().get(ETAG) {
            true => part,
            false => whole,
        }
    }

    /// Adds the fields of a 200 response to a 304 response (RFC 9110, section 15.4.5): the tag is weak
    /// if the server compresses the file.
    async fn describe(
        &self,
        mut response: Response<FilesBody>,
        head: &Head,
        mut headers: HeaderMap,
        compress: bool,
    ) -> Response<FilesBody> {
        headers.remove(IF_NONE_MATCH);
        headers.remove(IF_MODIFIED_SINCE);
        let full = self.fetch(head, &headers, compress).await;
        if opaque_tag(&full) != opaque_tag(&response) {
            // It has changed since.
            return full;
        }
        for name in [ETAG, VARY] {
            if let Some(value) = full.headers().get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        response
    }

    /// The index of the requested directory, if the options allow it.
    async fn list(&self, head: &Head) -> Option<Response<FilesBody>> {
        let path = head.uri.path();
        if !self.files.options.index || !path.ends_with('/') {
            return None;
        }
        let name = percent_decode_str(path).decode_utf8().ok()?.into_owned();
        let dir = below(&self.dir, &name)?;
        let hidden = self.files.options.hidden;
        let _permit = self.files.listings.acquire().await.ok()?;
        let media = head.media;
        let read = self.files.disk.run(move || {
            let listing = Listing::read(&dir, hidden)?;
            Ok::<_, std::io::Error>(listing.render(&name, media))
        });
        let listing = Uncached {
            status: StatusCode::OK,
            media,
            body: read.await.ok()?.ok()?,
        };
        Some(listing.response(&head.method).map(Either::Left))
    }
}

/// Joins the lists of entity tags, of which the file service reads the first (RFC 9110, section 5.3).
fn join_tags(headers: &mut HeaderMap) {
    for name in [IF_MATCH, IF_NONE_MATCH] {
        let lists: Vec<_> = headers
            .get_all(&name)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        if lists.len() > 1
            && let Ok(joined) = HeaderValue::from_bytes(&lists.join(&b", "[..]))
        {
            headers.insert(name, joined);
        }
    }
}

/// The entity tag without the mark of a weak one.
fn opaque_tag(response: &Response<FilesBody>) -> Option<&[u8]> {
    let tag = response.headers().get(ETAG)?.as_bytes();
    Some(tag.strip_prefix(b"W/").unwrap_or(tag))
}

/// The value of `Range` that applies to the file of this response.
fn range_in(
    whole: &Response<FilesBody>,
    range: ByteRange,
    if_range: Option<HeaderValue>,
) -> Option<HeaderValue> {
    let fields = whole.headers();
    let is_known = if_range.is_none_or(|known| {
        fields.get(ETAG) == Some(&known) || fields.get(LAST_MODIFIED) == Some(&known)
    });
    let length = fields.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()?;
    match whole.status() == StatusCode::OK && is_known && length > 0 {
        true => range.within(length),
        false => None,
    }
}

/// The parts of a request's head that are needed after the file service.
struct Head {
    method: Method,
    uri: Uri,
    media: Media,
}

impl Head {
    /// Replaces an empty response by a page, and keeps the fields that the client needs.
    fn explain(&self, response: &Response<FilesBody>) -> Response<FilesBody> {
        let mut explained = self.notice(response.status());
        for name in [ALLOW, CONTENT_RANGE, VARY] {
            for value in response.headers().get_all(&name) {
                explained.headers_mut().append(&name, value.clone());
            }
        }
        explained
    }

    fn notice(&self, status: StatusCode) -> Response<FilesBody> {
        let text = match status {
            StatusCode::NOT_FOUND => "There is nothing of this name here.",
            StatusCode::METHOD_NOT_ALLOWED => "Files can only be read: use GET or HEAD.",
            StatusCode::NOT_ACCEPTABLE => {
                "The file is not available in a form that the client accepts."
            }
            StatusCode::PRECONDITION_FAILED => {
                "The file does not match the condition of the request."
            }
            StatusCode::RANGE_NOT_SATISFIABLE => "The file has no such part.",
            _ => "The server cannot read the file.",
        };
        let notice = Notice { status, text };
        notice.response(&self.method, self.media).map(Either::Left)
    }
}

/// A redirection to such a path would lead to another host (RFC 3986, section 4.2).
fn reads_as_host(path: &str) -> bool {
    path.starts_with("//")
}

/// Whether a name in the path begins with a dot, except for `/.well-known/` at its beginning
/// (RFC 8615).
fn is_hidden(path: &str) -> bool {
    if !path.contains("/.") && !path.contains('%') {
        return false;
    }
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    let path = decoded.trim_start_matches('/');
    let path = match path.strip_prefix(WELL_KNOWN) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        _ => path,
    };
    path.split('/').any(|name| name.starts_with('.'))
}

/// The directory of this name in `dir`. `None` for a name that leads out of it, except by a link.
fn below(dir: &Path, name: &str) -> Option<PathBuf> {
    let name = Path::new(name.trim_start_matches('/'));
    let ordinary = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    name.components().all(ordinary).then(|| dir.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_a_dot_are_hidden_however_they_are_written() {
        for path in [
            "/.git/config",
            "/a/.env",
            "/%2egit/",
            "/a/%2Eb",
            "/a%2f.b",
            "/../x",
            "/.well-known/.x",
            "/.well-knownx",
            "/a/.well-known/",
        ] {
            assert!(is_hidden(path), "{path}");
        }
        for path in [
            "/",
            "/a.b/c.",
            "/.well-known/acme",
            "/.well-known",
            "/%20.x",
        ] {
            assert!(!is_hidden(path), "{path}");
        }
    }

    #[test]
    fn no_name_leads_out_of_the_directory() {
        let dir = Path::new("/srv");
        assert_eq!(below(dir, "/a/b/").as_deref(), Some(Path::new("/srv/a/b/")));
        assert_eq!(
            below(dir, "//etc/").as_deref(),
            Some(Path::new("/srv/etc/"))
        );
        assert_eq!(below(dir, "/../etc/"), None);
        assert_eq!(below(dir, "/a/../../etc/"), None);
    }
}
