use std::os::fd::OwnedFd;

use dormouse_spec::ImageReference;
use http::{Method, StatusCode};
use serde::Serialize;

use super::{Client, ClientError, LineReader, document};
use crate::admin::api::images::{
    ExportOrder, ImageEvent, ImageStatus, ImportOrder, PullOrder, RemoveOrder, RemovedStatus,
};

impl Client {
    /// # Errors
    /// See [`ClientError`], as for all of these.
    pub async fn images(&self) -> Result<Vec<ImageStatus>, ClientError> {
        document(self.call(Method::GET, "/v1/images", Vec::new(), Vec::new()).await?).await
    }

    /// # Errors
    /// See [`ClientError`].
    pub async fn image(&self, reference: &ImageReference) -> Result<ImageStatus, ClientError> {
        let path = format!("/v1/images/{reference}");
        document(self.call(Method::GET, &path, Vec::new(), Vec::new()).await?).await
    }

    /// Calls `step` for each line of progress and returns the last event, as for all that take long.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn pull(&self, order: &PullOrder, step: impl FnMut(&ImageEvent)) -> Result<ImageEvent, ClientError> {
        self.follow("/v1/images/pull", order, Vec::new(), step).await
    }

    /// # Errors
    /// See [`ClientError`].
    pub async fn import(
        &self,
        order: &ImportOrder,
        archive: OwnedFd,
        step: impl FnMut(&ImageEvent),
    ) -> Result<ImageEvent, ClientError> {
        self.follow("/v1/images/import", order, vec![archive], step).await
    }

    /// # Errors
    /// See [`ClientError`].
    pub async fn export(&self, order: &ExportOrder, archive: OwnedFd) -> Result<ImageEvent, ClientError> {
        self.follow("/v1/images/export", order, vec![archive], |_| {}).await
    }

    /// # Errors
    /// See [`ClientError`].
    pub async fn remove_images(&self, order: &RemoveOrder) -> Result<RemovedStatus, ClientError> {
        let body = serde_json::to_vec(order).map_err(ClientError::Malformed)?;
        document(self.call(Method::POST, "/v1/images/remove", body, Vec::new()).await?).await
    }

    /// # Errors
    /// See [`ClientError`].
    pub async fn prune_images(&self) -> Result<RemovedStatus, ClientError> {
        document(self.call(Method::POST, "/v1/images/prune", Vec::new(), Vec::new()).await?).await
    }

    async fn follow(
        &self,
        path: &str,
        order: &impl Serialize,
        files: Vec<OwnedFd>,
        mut step: impl FnMut(&ImageEvent),
    ) -> Result<ImageEvent, ClientError> {
        let body = serde_json::to_vec(order).map_err(ClientError::Malformed)?;
        let mut lines = LineReader::new(self.call(Method::POST, path, body, files).await?);
        while let Some(line) = lines.next().await? {
            match serde_json::from_slice(&line).map_err(ClientError::Malformed)? {
                ImageEvent::Failed { status, error } => {
                    let status = StatusCode::from_u16(status).unwrap_or_default();
                    return Err(ClientError::Refused { status, message: error });
                }
                progress @ ImageEvent::Progress { .. } => step(&progress),
                last => return Ok(last),
            }
        }
        Err(ClientError::Unfinished)
    }
}
