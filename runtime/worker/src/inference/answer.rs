//! From the bytes of a call to the bytes of its reply.

use std::sync::Arc;

use ort::session::RunOptions;

use super::{Call, Cancellation, Engine, Reply};
use crate::Assignment;
use crate::defence::Defence;
use crate::error::ApiError;
use crate::model::{Model, RunError};
use crate::v2::InferRequest;
use crate::v2::encoding::Coding;
use crate::v2::response::{InferResponse, OutputTensor};

/// A model with the name it answers under.
#[derive(Debug)]
pub(crate) struct Answerer {
    model: Model,
    name: String,
    version: String,
    body_bytes_max: usize,
}

impl Answerer {
    pub(crate) fn new(model: Model, assignment: &Assignment) -> Self {
        Self {
            model,
            name: assignment.name.clone(),
            version: assignment.version.clone(),
            body_bytes_max: assignment.body_bytes_max,
        }
    }

    fn decode(&self, call: &Call) -> Result<InferRequest, ApiError> {
        let coding = Coding::from_content_encoding(call.content_encoding.as_deref().unwrap_or_default())?;
        let limit = if Defence::InflateLimit.stands() { self.body_bytes_max } else { usize::MAX };
        let inflated = coding.decode(&call.body, limit)?;
        let body = inflated.as_deref().unwrap_or(&call.body);
        Ok(InferRequest::decode(body, call.header_length.as_deref(), self.model.signature())?)
    }
}

impl Engine for Answerer {
    fn infer(&mut self, call: &Call, cancellation: &Cancellation) -> Result<Reply, ApiError> {
        let coding = Coding::from_accept_encoding(call.accept_encoding.as_deref().unwrap_or_default())?;
        let mut request = self.decode(call)?;
        let id = request.id.take();
        let options = Arc::new(RunOptions::new().map_err(RunError::Run)?);
        if !cancellation.begin(Arc::clone(&options)) {
            return Err(ApiError::Stopping);
        }
        let (name, version) = (&self.name, &self.version);
        let InferResponse { body, header_length } =
            self.model.run(request, &options, |outputs: &[OutputTensor<'_>]| {
                InferResponse::encode(name, version, id.as_deref(), outputs)
            })??;
        Ok(Reply { body: coding.encode(body)?.into(), header_length, coding, verified: None })
    }
}
