//! The same as the process of an image: it finds its script where KServe mounts a model, and listens on a port.

use std::{
    env,
    net::Ipv4Addr,
    process::{ExitCode, exit},
};

use tokio::net::TcpListener;

use super::{MODEL, ScriptFile, control::Work, load, on_sigterm, runtime, serve};

/// What Knative calls an endpoint.
const NAME: &str = "K_SERVICE";
const PORT: &str = "PORT";

pub fn run_in_image() -> ExitCode {
    runtime().block_on(work());
    ExitCode::SUCCESS
}

async fn work() {
    let script = ScriptFile(MODEL.into());
    let [name, port] = [NAME, PORT].map(|variable| env::var(variable).expect(variable));
    tokio::spawn(on_sigterm(script.clone()));
    println!("fake replica of {name}, version 1");
    if let Err(refusal) = load(&script).await {
        eprintln!("{refusal}");
        exit(1);
    }
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port.parse().expect(PORT))).await.unwrap();
    let model = serve::Model { name, version: "1".to_owned(), work: Work::Serve, script };
    serve::serve(async || listener.accept().await.map(|(stream, _)| stream), model).await;
}
