use tokio::sync::mpsc;

/// Lines of an endpoint's logs, oldest first, each with the replica it came from.
pub type LogLines = mpsc::Receiver<String>;

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("there is no endpoint named `{0}`")]
    NotFound(String),
    #[error("reading the logs of `{endpoint}` failed")]
    Read {
        endpoint: String,
        #[source]
        source: std::io::Error,
    },
}
