//! The files of a directory.

use std::fs;
use std::path::{Path, PathBuf};

use hyper::body::Incoming;
use hyper::{Request, Response};
use tower_http::services::ServeDir;
use tower_http::services::fs::ServeFileSystemResponseBody;
use tower_service::Service;

use super::{Peer, Respond};
use crate::error::Error;

/// Serves the files of a directory.
#[derive(Clone, Debug)]
pub struct Files {
    dir: PathBuf,
    service: ServeDir,
}

impl Files {
    /// The files below `dir`, which must be there. Symbolic links in it are followed; it is never
    /// listed.
    ///
    /// # Errors
    /// [`Error::Directory`] and [`Error::NotADirectory`].
    pub fn new(dir: &Path) -> Result<Self, Error> {
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
        Ok(Self {
            service: ServeDir::new(&real),
            dir: real,
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
                dir: self.dir.clone(),
            }),
            // One that is not there is not served.
            _ => Ok(()),
        }
    }
}

impl Respond for Files {
    type Body = ServeFileSystemResponseBody;

    async fn respond(&self, request: Request<Incoming>, _: &Peer) -> Response<Self::Body> {
        match self.service.clone().call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}
