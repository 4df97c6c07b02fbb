//! Whether one that took requests still does, where its manifest has a `readinessProbe`.

use crate::{
    probe::Seen,
    readiness::Look,
    watch::{Looks, in_a_row},
};

/// Looks until it is dropped, and tells what comes to be so: that it failed as often in a row as it may, or went well
/// as often as it must. That it is ready is told at first too: whoever is told may know otherwise from before.
pub(crate) async fn keep_looking(mut looks: Looks, tell: impl Fn(Look)) {
    let (mut successes, mut failures) = (0_u32, 0_u32);
    // What was told of it, while it is not ready.
    let mut told: Option<Seen> = None;
    loop {
        match looks.next().await {
            Ok(()) => {
                (successes, failures) = (successes.saturating_add(1), 0);
                if successes == looks.probe.success_threshold {
                    told = None;
                    tell(Look::Ready);
                }
            }
            Err(failure) => {
                (successes, failures) = (0, failures.saturating_add(1));
                let seen = Seen::from(&failure);
                let is_new = told.as_ref().is_none_or(|told| told.told != seen.told);
                if failures >= looks.probe.failure_threshold && is_new {
                    told = Some(seen.clone());
                    tell(Look::NotReady(in_a_row("readiness probe", seen, failures)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{net::TcpListener, time::Duration};

    use dormouse_spec::Probe;

    use super::*;
    use crate::{
        address::tests::inside,
        probe::tests::{get, serve},
        watch::Watching,
    };

    const WELL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    const BUSY: &str = "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n";
    const GONE: &str = "HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n";

    #[tokio::test]
    async fn what_comes_to_be_so_in_a_row_is_told_and_no_more() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (inside, _made) = inside(port);
        let _asked = serve(
            listener,
            &[
                // Known from before, and not often enough to be otherwise.
                WELL, WELL, WELL, BUSY, BUSY, WELL, BUSY, BUSY,
                // Not ready; once, whatever follows, but for what is seen anew.
                BUSY, BUSY, GONE, WELL, GONE, BUSY, WELL, // Ready again.
                WELL, BUSY, BUSY, BUSY,
            ],
        );
        let probe = Probe { period: Duration::from_millis(1), success_threshold: 2, ..get("/ready", &[]) };
        let looks = Looks::begin(inside, probe, None);
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let _watching = Watching::begin(keep_looking(looks, move |look| tell.send(look).unwrap()));
        let not_ready = |status: &str, times: u32| {
            let told = format!("readiness probe: GET /ready on port {port} was answered {status}, {times} times");
            Look::NotReady(Seen { told, in_full: None })
        };
        let unavailable = "503 Service Unavailable";
        for look in
            [Look::Ready, not_ready(unavailable, 3), not_ready("410 Gone", 5), Look::Ready, not_ready(unavailable, 3)]
        {
            assert_eq!(told.recv().await.unwrap(), look);
        }
    }
}
