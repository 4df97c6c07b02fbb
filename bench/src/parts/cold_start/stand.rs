use std::time::{Duration, Instant};

use super::rung::Rung;
use crate::{
    Bench, Failure,
    daemon::{Daemon, EndpointSettings, Wake},
    models::{Answer, Model},
    stats::Samples,
};

/// A daemon set up for one rung, with one model.
#[derive(Debug)]
pub(super) struct Stand {
    pub(super) daemon: Daemon,
    rung: &'static Rung,
    endpoint: String,
}

/// What was measured of one rung.
#[derive(Debug, Default)]
pub(super) struct Rested {
    pub(super) idle: Samples,
    pub(super) churned: Samples,
    /// What ended the samples under churn. Those without are none the worse.
    pub(super) churn_failed: Option<String>,
    /// A further request after each of the first.
    pub(super) warm: Samples,
    /// The spawner's part, where the daemon tells it.
    pub(super) spawner: Samples,
    pub(super) spawner_churned: Samples,
    /// Why that is not known.
    pub(super) untold: Option<String>,
    /// Deletes that were not answered yet when the wake was.
    pub(super) in_flight: Samples,
}

impl Rested {
    pub(super) fn under_churn(&self) -> Result<&Samples, String> {
        self.churn_failed.as_ref().map_or(Ok(&self.churned), |reason| Err(reason.clone()))
    }
}

impl Stand {
    /// Fails with the daemon's words where it knows no such rung.
    pub(super) fn build(
        bench: &Bench,
        rung: &'static Rung,
        model: &Model,
        reference: &Answer,
    ) -> Result<Self, Failure> {
        let daemon = Daemon::start(bench, rung.configuration)?;
        let endpoint = model.endpoint();
        daemon.deploy(&endpoint, model, &EndpointSettings { max_replicas: Some(1), ..rung.rest.settings() })?;
        let stand = Self { daemon, rung, endpoint };
        // Whatever is done once per machine is done by now, and pages are in memory.
        stand.wake(model, reference)?;
        Ok(stand)
    }

    /// Waits until the endpoint rests on its rung, and the pool is full.
    pub(super) fn rest(&self) -> Result<(), Failure> {
        self.daemon.until_phases(&self.endpoint, self.rung.rest.phases())?;
        self.daemon.until_blanks(self.rung.blanks)
    }

    /// The first answer, whose time is that of a caller who knows nothing of the endpoint's state.
    pub(super) fn wake(&self, model: &Model, reference: &Answer) -> Result<Duration, Failure> {
        let (took, answer) = self.daemon.first_answer(&self.endpoint, model)?;
        answer.check(reference)?;
        Ok(took)
    }

    /// What the daemon tells of the wake by a request that was sent at `asked`, where there was one. One from another
    /// rung is no sample of this one.
    pub(super) fn told(&self, asked: Instant) -> Result<Option<Result<Wake, String>>, Failure> {
        let Some(told) = self.rung.told else { return Ok(None) };
        match self.daemon.wake_since(&self.endpoint, asked) {
            Ok(wake) if wake.rung != told => {
                Err(format!("a wake was to come from `{told}` and came from `{}`", wake.rung).into())
            }
            told => Ok(Some(told.map_err(|error| format!("the daemon does not tell: {error}")))),
        }
    }
}
