//! Standard manifests and how they become an [`EndpointRequest`](crate::EndpointRequest).
