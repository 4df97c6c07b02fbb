//! Images, over the admin API. What takes long answers with one line a step.

use std::{collections::BTreeSet, future::Future, os::fd::OwnedFd, time::Duration};

use dormouse_controller::{ImageError, ImageProgress, Images, PullRequest};
use dormouse_spec::ImageReference;
use http::Method;
use hyper::body::Incoming;
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use super::{Answer, document, is_open_for_reading, is_open_for_writing, json, read_order, refused, streamed};
use crate::{
    admin::{
        AdminError,
        api::images::{ExportOrder, ImageEvent, ImageStatus, ImportOrder, PullOrder, RemoveOrder, RemovedStatus},
        descriptors::Received,
        lines::Lines,
    },
    status::Refusal,
};

/// Lines that wait to be written to a caller who does not read.
const EVENTS_MAX: usize = 4;
/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

pub(super) enum Route {
    List,
    Inspect(String),
    Pull,
    Import,
    Export,
    Remove,
    Prune,
}

/// `rest` is what follows `/v1/images` in the path.
pub(super) fn route(method: &Method, rest: &[&str]) -> Result<Route, AdminError> {
    Ok(match (rest, method.as_str()) {
        ([], "GET") => Route::List,
        (["pull"], "POST") => Route::Pull,
        (["import"], "POST") => Route::Import,
        (["export"], "POST") => Route::Export,
        (["remove"], "POST") => Route::Remove,
        (["prune"], "POST") => Route::Prune,
        ([], _) => return Err(AdminError::Method { allow: "GET" }),
        (["pull" | "import" | "export" | "remove" | "prune"], _) => return Err(AdminError::Method { allow: "POST" }),
        (name, "GET") => Route::Inspect(name.join("/")),
        _ => return Err(AdminError::Method { allow: "GET" }),
    })
}

pub(super) async fn answer(
    images: &Images,
    route: Route,
    body: Incoming,
    received: &Received,
) -> Result<Answer, AdminError> {
    match route {
        Route::List => {
            let views = images.list().await?;
            Ok(document(&views.iter().map(ImageStatus::brief).collect::<Vec<_>>()))
        }
        Route::Inspect(name) => {
            let (view, content) = images.inspect(&name.parse()?).await?;
            Ok(document(&ImageStatus::of(&view, content.as_ref())))
        }
        Route::Pull => pull(images.clone(), read_order(body).await?).await,
        Route::Import => {
            let order = read_order(body).await?;
            let archive = one_descriptor(received)?;
            if !is_open_for_reading(&archive) {
                return Err(AdminError::NotReadable { path: "the archive".to_owned() });
            }
            import(images.clone(), order, archive).await
        }
        Route::Export => {
            let order = read_order(body).await?;
            let archive = one_descriptor(received)?;
            if !is_open_for_writing(&archive) {
                return Err(AdminError::NotWritable);
            }
            export(images.clone(), order, archive).await
        }
        Route::Remove => {
            let RemoveOrder { references } = read_order(body).await?;
            Ok(document(&RemovedStatus::from(images.remove(references).await?)))
        }
        Route::Prune => Ok(document(&RemovedStatus::from(images.prune().await?))),
    }
}

fn one_descriptor(received: &Received) -> Result<OwnedFd, AdminError> {
    let mut descriptors = received.take();
    match (descriptors.pop(), descriptors.len()) {
        (Some(only), 0) => Ok(only),
        (last, before) => Err(AdminError::Descriptors { files: 1, descriptors: before + usize::from(last.is_some()) }),
    }
}

async fn pull(images: Images, order: PullOrder) -> Result<Answer, AdminError> {
    let PullOrder { reference, credentials } = order;
    let request = PullRequest { reference: reference.clone(), credentials };
    Ok(with_progress(move |progress| async move {
        let view = images.pull(request, progress).await?;
        tracing::info!(image = %reference, digest = %view.digest, "pulled");
        Ok(ImageEvent::Stored { images: vec![ImageStatus::brief(&view)] })
    })
    .await)
}

async fn import(images: Images, order: ImportOrder, archive: OwnedFd) -> Result<Answer, AdminError> {
    Ok(with_progress(move |progress| async move {
        let views = images.import(archive, order.name, progress).await?;
        for view in &views {
            tracing::info!(image = %view.reference, digest = %view.digest, "imported");
        }
        Ok(ImageEvent::Stored { images: views.iter().map(ImageStatus::brief).collect() })
    })
    .await)
}

async fn export(images: Images, order: ExportOrder, archive: OwnedFd) -> Result<Answer, AdminError> {
    let references: BTreeSet<ImageReference> = order.references.into_iter().collect();
    Ok(with_progress(move |_nothing_to_tell| async move {
        let exported = images.export(references, archive).await?;
        Ok(ImageEvent::Exported { images: exported.images, bytes: exported.bytes })
    })
    .await)
}

/// Answers with the progress as it is made, or, where it failed before there was any, with the error. Work
/// that nobody waits for any more is given up.
async fn with_progress<F>(work: impl FnOnce(watch::Sender<ImageProgress>) -> F) -> Answer
where
    F: Future<Output = Result<ImageEvent, ImageError>> + Send + 'static,
{
    let (sender, progress) = watch::channel(ImageProgress::default());
    let (events, mut lines) = mpsc::channel(EVENTS_MAX);
    tokio::spawn(run(work(sender), progress, events));
    match lines.recv().await {
        Some(ImageEvent::Failed { status, error }) => {
            let mut answer = document(&crate::admin::api::ErrorBody { error });
            *answer.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
            answer
        }
        Some(first) => streamed("application/jsonl", Lines::new(Some(first), lines, |event| json(&event))),
        None => refused(&AdminError::Image(ImageError::Draining)),
    }
}

async fn run(
    work: impl Future<Output = Result<ImageEvent, ImageError>>,
    mut progress: watch::Receiver<ImageProgress>,
    events: mpsc::Sender<ImageEvent>,
) {
    tokio::pin!(work);
    let mut told_all = false;
    let result = loop {
        tokio::select! {
            biased;
            result = &mut work => break result,
            () = events.closed() => return,
            changed = next(&mut progress), if !told_all => match changed {
                // A line that the caller does not take is left out: it must not hold the work up.
                Some(progress) => drop(events.try_send(progress.into())),
                None => told_all = true,
            },
        }
    };
    let last = result.unwrap_or_else(|error| {
        let refusal = Refusal::from(&AdminError::Image(error));
        tracing::info!("what was asked of images failed: {}", refusal.message);
        ImageEvent::Failed { status: refusal.status.as_u16(), error: refusal.message }
    });
    // A caller that went away misses it.
    let _ = events.send(last).await;
}

/// The next progress that is worth a line; none once there is no more.
async fn next(progress: &mut watch::Receiver<ImageProgress>) -> Option<ImageProgress> {
    sleep(PROGRESS_EVERY).await;
    progress.changed().await.ok()?;
    Some(*progress.borrow_and_update())
}
