//! The end of a connection when the server stops.

use super::activity::Activity;
use crate::service::{Stopping, VERIFICATION_GRACE};

/// Completes when the server stops; for a new connection once it has had the time for a request. A
/// client may still verify the connection before it sends one.
pub(in crate::web) async fn until_finish(stopping: &mut Stopping, activity: &Activity) {
    stopping.wait().await;
    activity.first_request(VERIFICATION_GRACE).await;
}
