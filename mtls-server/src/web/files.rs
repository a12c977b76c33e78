//! The files of a directory.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use http_body_util::{Either, Full};
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT, ALLOW, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, IF_RANGE,
    LAST_MODIFIED, RANGE, VARY,
};
use hyper::{Method, Request, Response, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use tokio::sync::Semaphore;
use tower_http::compression::{Compression, CompressionBody};
use tower_http::services::ServeDir;
use tower_http::services::fs::ServeFileSystemResponseBody;
use tower_service::Service;

use super::compress::{Worthwhile, weaken_etag};
use super::listing::Listing;
use super::media::Media;
use super::pages::{Fresh, Problem};
use super::{Peer, RequestBody, Respond};
use crate::error::Error;

/// How many directories are read at a time; more wait.
const LISTINGS: usize = 16;
/// The one name with a dot that the public may ask for (RFC 8615).
const WELL_KNOWN: &str = ".well-known";

/// Serves the files of a directory.
#[derive(Clone)]
pub struct Files {
    dir: Arc<Path>,
    options: FilesOptions,
    service: Compression<ServeDir, Worthwhile>,
    listings: Arc<Semaphore>,
}

/// How files are served.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FilesOptions {
    /// List directories that have no `index.html`. Default: no.
    pub index: bool,
    /// Serve and list names that begin with a dot. Default: no, but for `.well-known` in the
    /// directory itself (RFC 8615).
    pub hidden: bool,
    /// Compress text for clients that take it: the file beside it whose name ends in `.br` or
    /// `.gz` where there is one, gzip as it is sent where not. Default: yes.
    pub compress: bool,
}

impl Default for FilesOptions {
    fn default() -> Self {
        Self {
            index: false,
            hidden: false,
            compress: true,
        }
    }
}

/// What a response of [`Files`] carries: a page of this program's own, or a file.
pub type FilesBody = Either<Full<Bytes>, CompressionBody<ServeFileSystemResponseBody>>;

impl Files {
    /// The files below `dir`, which must be there. Symbolic links in it are followed, wherever
    /// they lead.
    ///
    /// # Errors
    /// [`Error::Directory`] and [`Error::NotADirectory`].
    pub fn new(dir: &Path, options: FilesOptions) -> Result<Self, Error> {
        let unusable = |source| Error::Directory {
            path: dir.to_owned(),
            source,
        };
        // Without links and dots: what it means must not change with the working directory.
        let real = fs::canonicalize(dir).map_err(unusable)?;
        if !real.is_dir() {
            return Err(Error::NotADirectory(dir.to_owned()));
        }
        fs::read_dir(&real).map_err(unusable)?;
        let mut files = ServeDir::new(&real).ignore_multi_range_requests(true);
        if options.compress {
            files = files.precompressed_br().precompressed_gzip();
        }
        Ok(Self {
            service: Compression::new(files).compress_when(Worthwhile {
                ever: options.compress,
            }),
            dir: real.into(),
            options,
            listings: Arc::new(Semaphore::new(LISTINGS)),
        })
    }

    /// Makes sure that the private key would not be served.
    ///
    /// # Errors
    /// [`Error::KeyIsServed`].
    pub fn keep_out(&self, key: &Path) -> Result<(), Error> {
        match fs::canonicalize(key) {
            Ok(real) if real.starts_with(&self.dir) => Err(Error::KeyIsServed {
                key: key.to_owned(),
                dir: self.dir.to_path_buf(),
            }),
            // One that is not there is not served.
            _ => Ok(()),
        }
    }

    /// What the file service says.
    async fn fetch(&self, asked: &Asked, headers: HeaderMap) -> Response<FilesBody> {
        let mut request = Request::new(());
        *request.method_mut() = asked.method.clone();
        *request.uri_mut() = asked.uri.clone();
        *request.headers_mut() = headers;
        match self.service.clone().call(request).await {
            Ok(response) => response.map(Either::Right),
            Err(never) => match never {},
        }
    }

    /// The same for a part of a file that the client has another part of already: all of it if
    /// the file has changed meanwhile (`If-Range`, RFC 9110, section 13.1.5).
    async fn fetch_rest(
        &self,
        asked: &Asked,
        mut headers: HeaderMap,
        known: &HeaderValue,
    ) -> Response<FilesBody> {
        headers.remove(IF_RANGE);
        let part = self.fetch(asked, headers.clone()).await;
        let fields = part.headers();
        let unchanged = fields.get(ETAG) == Some(known) || fields.get(LAST_MODIFIED) == Some(known);
        if unchanged {
            return part;
        }
        headers.remove(RANGE);
        self.fetch(asked, headers).await
    }

    /// The index of the directory that was asked for, where it may be shown.
    async fn list(&self, asked: &Asked) -> Option<Response<FilesBody>> {
        let path = asked.uri.path();
        if !self.options.index || !path.ends_with('/') {
            return None;
        }
        let name = percent_decode_str(path).decode_utf8().ok()?.into_owned();
        let dir = below(&self.dir, &name)?;
        let hidden = self.options.hidden;
        // Nobody closes it.
        let permit = Arc::clone(&self.listings).acquire_owned().await.ok();
        let (media, method) = (asked.media(), asked.method.clone());
        let read = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let body = Listing::read(&dir, hidden)?.show(&name, media);
            Ok::<_, io::Error>(Fresh {
                status: StatusCode::OK,
                media,
                body,
            })
        });
        let listing = read.await.ok()?.ok()?;
        Some(listing.response(&method).map(Either::Left))
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files")
            .field("dir", &self.dir)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Respond for Files {
    type Body = FilesBody;

    async fn respond(&self, request: Request<RequestBody>, _: &Peer) -> Response<FilesBody> {
        let (parts, _) = request.into_parts();
        let headers = parts.headers;
        let asked = Asked {
            accept: headers.get(ACCEPT).cloned(),
            if_none_match: headers.get(IF_NONE_MATCH).cloned(),
            method: parts.method,
            // Without the host, so that redirections lead to wherever the client has come.
            uri: parts
                .uri
                .into_parts()
                .path_and_query
                .map(Uri::from)
                .unwrap_or_default(),
        };
        let path = asked.uri.path();
        if reads_as_host(path) || (!self.options.hidden && is_hidden(path)) {
            return asked.problem(StatusCode::NOT_FOUND);
        }
        let if_range = headers.get(IF_RANGE).cloned();
        let mut response = match if_range {
            Some(known) if headers.contains_key(RANGE) => {
                self.fetch_rest(&asked, headers, &known).await
            }
            _ => self.fetch(&asked, headers).await,
        };
        weaken_etag(&mut response, asked.if_none_match.as_ref());
        match response.status() {
            StatusCode::NOT_FOUND => match self.list(&asked).await {
                Some(listing) => listing,
                None => asked.problem(StatusCode::NOT_FOUND),
            },
            status if status.is_client_error() || status.is_server_error() => {
                asked.explain(&response)
            }
            _ => response,
        }
    }
}

/// What is still needed of a request when the file service has had it.
struct Asked {
    method: Method,
    uri: Uri,
    accept: Option<HeaderValue>,
    if_none_match: Option<HeaderValue>,
}

impl Asked {
    fn media(&self) -> Media {
        Media::choose(self.accept.iter(), &[Media::Text, Media::Html])
    }

    /// A page in the place of an empty response; fields that the client needs stay.
    fn explain(&self, response: &Response<FilesBody>) -> Response<FilesBody> {
        let mut explained = self.problem(response.status());
        for name in [ALLOW, CONTENT_RANGE, VARY] {
            for value in response.headers().get_all(&name) {
                explained.headers_mut().append(&name, value.clone());
            }
        }
        explained
    }

    fn problem(&self, status: StatusCode) -> Response<FilesBody> {
        let text = match status {
            StatusCode::NOT_FOUND => "There is nothing of this name here.",
            StatusCode::METHOD_NOT_ALLOWED => "Files can only be read: use GET or HEAD.",
            StatusCode::NOT_ACCEPTABLE => "The file has no form that the client would accept.",
            StatusCode::PRECONDITION_FAILED => "The file is not the one that was asked for.",
            StatusCode::RANGE_NOT_SATISFIABLE => "The file has no such part.",
            _ => "The file cannot be read.",
        };
        let problem = Problem { status, text };
        problem
            .response(&self.method, self.media())
            .map(Either::Left)
    }
}

/// A redirection to such a path would lead to another host (RFC 3986, section 4.2).
fn reads_as_host(path: &str) -> bool {
    path.starts_with("//")
}

/// Does a name in the path begin with a dot? `/.well-known/` at its beginning does not count
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

/// The directory of this name, which must not lead out of `dir` but by a symbolic link.
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
