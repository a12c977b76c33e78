//! The verdict in the extensions of requests and responses.

use http::Extensions;

use crate::stream::VerdictHandle;

impl VerdictHandle {
    /// The verdict on the connection that a request or a response came over. Features
    /// `hyper-client`, `axum` and `tower`.
    ///
    /// Finds what `hyper_client::MultipathHttpsConnector` and `tower::MultipathConnectInfo` leave
    /// there. Another server, such as tonic's, inserts a [`VerdictHandle`] itself. `None` for a
    /// connection without a verdict, such as plain HTTP: treat it as unverified.
    ///
    /// ```
    /// # fn example<B>(response: http::Response<B>) {
    /// let verified = mtls_core::VerdictHandle::from_extensions(response.extensions())
    ///     .is_some_and(|verdict| verdict.get().verified().is_some());
    /// # let _ = verified;
    /// # }
    /// ```
    pub fn from_extensions(extensions: &Extensions) -> Option<&Self> {
        extensions.get().or_else(|| of_server(extensions))
    }
}

#[cfg(feature = "tower")]
fn of_server(extensions: &Extensions) -> Option<&VerdictHandle> {
    use crate::tower::MultipathConnectInfo;

    MultipathConnectInfo::from_extensions(extensions).map(MultipathConnectInfo::verdict)
}

#[cfg(not(feature = "tower"))]
fn of_server(_: &Extensions) -> Option<&VerdictHandle> {
    None
}
