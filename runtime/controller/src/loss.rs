use dormouse_sandbox::messages::ExitCause;

/// Why a replica answers nothing any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LossCause {
    #[error("{0}")]
    Ended(ExitCause),
    /// Its liveness probe failed, so it is ended and another takes its place. What was seen.
    #[error("{0}")]
    Unwell(String),
}

impl From<ExitCause> for LossCause {
    fn from(cause: ExitCause) -> Self {
        Self::Ended(cause)
    }
}
