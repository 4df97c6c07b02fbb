#![allow(clippy::unwrap_used)]
use dormouse_controller::Place;
use dormouse_sandbox::messages::ExitCause;
use dormouse_spec::Bytes;

use super::*;

fn told(error: impl Into<InferenceError>) -> (u16, String, Option<u64>) {
    let refusal = Refusal::from(&error.into());
    (refusal.status.as_u16(), refusal.message.clone(), refusal.retry_after_seconds())
}

#[test]
fn what_a_later_call_may_cure_is_503_with_a_time_in_whole_seconds() {
    let retry_after = Duration::from_millis(1_200);
    let cause = "exit".to_owned();
    for error in [
        AcquireError::Deploying { retry_after },
        AcquireError::QueueFull { waiters: 1, retry_after },
        AcquireError::BackOff { cause: cause.clone(), retry_after },
        AcquireError::StartFailed { cause, retry_after },
        AcquireError::Draining { retry_after },
        AcquireError::OutOfCapacity { short: Bytes::new(1), retry_after },
    ] {
        let (status, message, seconds) = told(error);
        assert_eq!((status, seconds), (503, Some(2)), "{message}");
    }
    let soon = AcquireError::QueueFull { waiters: 1, retry_after: Duration::ZERO };
    assert_eq!(told(soon).2, Some(1));
    assert_eq!(told(InferenceError::Draining).2, Some(1));
}

#[test]
fn a_deadline_is_504_and_names_its_place() {
    let (status, queue, _) = told(AcquireError::DeadlineExceeded { place: Place::Queue });
    assert!(status == 504 && queue.contains("queue"), "{queue}");
    let (status, start, _) = told(AcquireError::DeadlineExceeded { place: Place::Start });
    assert!(status == 504 && start.contains("start"), "{start}");
    let (status, unready, _) = told(AcquireError::Unready { cause: "readiness probe: silence".to_owned() });
    assert!(status == 504 && unready.ends_with(": readiness probe: silence"), "{unready}");
    let (status, inference, _) = told(InferenceError::DeadlineInInference);
    assert!(status == 504 && inference.contains("inference"), "{inference}");
    let (status, image, _) = told(InferenceError::DeadlineInReplica);
    assert!(status == 504 && image.contains("replica"), "{image}");
}

#[test]
fn a_replica_that_died_is_502_and_out_of_memory_is_told_from_a_crash() {
    let (status, memory, _) =
        told(InferenceError::ReplicaDied(ExitCause::OutOfMemory { limit_bytes: 256 << 20 }.into()));
    assert!(status == 502 && memory.contains("out of memory"), "{memory}");
    let (status, crash, _) = told(InferenceError::ReplicaDied(ExitCause::Signal { signal: 11 }.into()));
    assert!(status == 502 && crash.contains("signal 11"), "{crash}");
    assert_eq!(told(InferenceError::SwitchedUnasked).0, 502);
}

#[test]
fn a_clients_mistake_is_4xx() {
    assert_eq!(told(InferenceError::NoSuchPath).0, 404);
    assert_eq!(told(InferenceError::NoSuchModel("x".to_owned())).0, 404);
    assert_eq!(told(AcquireError::NotFound).0, 404);
    assert_eq!(told(InferenceError::BodyTooLarge { limit: Bytes::from_mebibytes(64) }).0, 413);
    let method = Refusal::from(&InferenceError::Method { allow: "POST" });
    assert_eq!((method.status.as_u16(), method.allow), (405, Some("POST")));
    assert_eq!(told(InferenceError::NotServed("loading")).0, 501);
}

#[test]
fn a_deploy_tells_a_wrong_request_from_a_wrong_model_from_a_full_node() {
    let told = |error: DeployError| Refusal::from(&error).status.as_u16();
    assert_eq!(told(DeployError::Invalid("x".to_owned())), 400);
    assert_eq!(told(DeployError::Model { reason: "opset 99".to_owned() }), 422);
    assert_eq!(told(DeployError::NeverFits { needs: Bytes::new(2), budget: Bytes::new(1) }), 409);
    assert_eq!(told(DeployError::Busy("m".parse().unwrap())), 409);
    assert_eq!(told(DeployError::Draining), 503);
}

#[test]
fn an_error_is_told_with_its_causes_as_json() {
    let error = DeployError::Failed { operation: "storing".to_owned(), source: "the disk is \"full\"".into() };
    let refusal = Refusal::from(&error);
    assert_eq!(refusal.status.as_u16(), 500);
    assert_eq!(refusal.body(), r#"{"error":"storing failed: the disk is \"full\""}"#);
}

/// After `UNAVAILABLE` a client may call again, so it is told where nothing was begun and nowhere else.
#[test]
fn a_client_of_grpc_is_told_whether_it_may_call_again() {
    let retry_after = Duration::ZERO;
    let died = || InferenceError::ReplicaDied(ExitCause::Signal { signal: 11 }.into());
    let table: [(InferenceError, u8); 6] = [
        (AcquireError::QueueFull { waiters: 1, retry_after }.into(), GRPC_UNAVAILABLE),
        (died(), GRPC_INTERNAL),
        (InferenceError::DeadlineInReplica, GRPC_DEADLINE_EXCEEDED),
        (InferenceError::NoSuchPath, GRPC_UNIMPLEMENTED),
        (InferenceError::BodyTooLarge { limit: Bytes::new(1) }, GRPC_RESOURCE_EXHAUSTED),
        (InferenceError::BodyBroken, GRPC_INVALID_ARGUMENT),
    ];
    for (error, status) in table {
        assert_eq!(Refusal::from(&error).grpc_status(), status, "{error}");
    }
    let refusal = Refusal { message: "100 % größer\n".to_owned(), ..Refusal::from(&died()) };
    assert_eq!(refusal.grpc_message(), "100 %25 gr%C3%B6%C3%9Fer%0A");
}
