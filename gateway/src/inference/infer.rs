//! Requests that a replica answers: an inference of a model, and whatever an image is asked.

use std::{net::IpAddr, sync::Arc};

use dormouse_controller::EndpointView;
use http::{HeaderValue, Method, Request};

use super::{
    Gateway, InferenceError,
    metrics::Observation,
    places::{Place, UnderWay},
    request_body::RequestBody,
    router::ModelPath,
    service::Answer,
};

/// Who asked, and how the request is called in logs.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) address: IpAddr,
    pub(super) request_id: HeaderValue,
    /// The one that its connection takes.
    pub(super) place: Arc<Place>,
}

impl Gateway {
    /// # Errors
    /// See [`InferenceError`]; nothing was answered then.
    pub(super) async fn infer(
        &self,
        model: ModelPath<'_>,
        request: Request<RequestBody>,
        caller: &Caller,
        under_way: UnderWay,
    ) -> Result<Answer, InferenceError> {
        let view = self.controller.endpoint(model.name);
        let observation = self.observe(view.as_deref());
        self.pass_on(self.endpoint_of(model, view), observation, request, caller, under_way).await
    }

    /// Passes a request on as it is.
    ///
    /// # Errors
    /// See [`InferenceError`]; nothing was answered then.
    pub(super) async fn forward(
        &self,
        image: Arc<EndpointView>,
        request: Request<RequestBody>,
        caller: &Caller,
        under_way: UnderWay,
    ) -> Result<Answer, InferenceError> {
        let observation = self.observe(Some(&image));
        // It is for proxies of whole connections, and names no path that could be passed on.
        let is_connect = request.method() == Method::CONNECT;
        let endpoint = if is_connect { Err(InferenceError::NotServed("the method CONNECT")) } else { Ok(image) };
        self.pass_on(endpoint, observation, request, caller, under_way).await
    }

    async fn pass_on(
        &self,
        endpoint: Result<Arc<EndpointView>, InferenceError>,
        mut observation: Observation,
        request: Request<RequestBody>,
        caller: &Caller,
        under_way: UnderWay,
    ) -> Result<Answer, InferenceError> {
        let answered = match endpoint {
            Ok(view) => self.send(&view, request, caller, under_way).await,
            Err(error) => Err(error),
        };
        match answered {
            Ok(answered) => Ok(answered.deliver(observation, caller, self.pace())),
            Err(error) => {
                observation.answered(crate::status::Refusal::from(&error).status);
                Err(error)
            }
        }
    }

    fn observe(&self, view: Option<&EndpointView>) -> Observation {
        let name = view.map(|view| &view.endpoint.name);
        if name.is_some_and(|name| self.metrics.is_sweep_due(name)) {
            self.drop_series_of_deleted();
        }
        self.metrics.watch(name)
    }

    /// The endpoint a path means, if it has the version that the path means.
    pub(super) fn endpoint_of(
        &self,
        model: ModelPath<'_>,
        view: Option<Arc<EndpointView>>,
    ) -> Result<Arc<EndpointView>, InferenceError> {
        let view = view.ok_or_else(|| InferenceError::NoSuchModel(shown(model.name)))?;
        match model.version {
            Some(asked) if asked != view.revision.to_string() => Err(InferenceError::NoSuchVersion {
                model: view.endpoint.name.to_string(),
                asked: shown(asked),
                serving: view.revision,
            }),
            _ => Ok(view),
        }
    }
}

/// No name is longer, so that more of what a client sent tells nothing.
const SHOWN_CHARS_MAX: usize = 128;

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}
