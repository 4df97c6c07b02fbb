#![allow(clippy::unwrap_used)]
use std::{
    net::{TcpListener, TcpStream as StdStream},
    os::fd::AsFd,
};

use dormouse_sandbox::{
    channel::{self, Channel},
    commands::{Order, Outcome},
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
};

use super::*;
use crate::link::{Requests, outbox};

/// As the spawner makes it, but in this namespace.
pub(crate) fn socket() -> OwnedFd {
    socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None).unwrap()
}

pub(crate) fn replica() -> ReplicaId {
    ReplicaId::new(&"hello".parse().unwrap(), 1, 1)
}

/// A replica that listens, and a spawner that makes sockets for it; the task tells how many.
pub(crate) fn inside(port: u16) -> (Arc<Inside>, JoinHandle<usize>) {
    inside_speaking(AppProtocol::Http1, port)
}

pub(crate) fn inside_speaking(protocol: AppProtocol, port: u16) -> (Arc<Inside>, JoinHandle<usize>) {
    let (outbox, requests) = outbox();
    let inside = Inside::new(replica(), port, protocol, Vec::new(), outbox);
    let made = tokio::spawn(make_sockets(Arc::downgrade(&inside), requests));
    (inside, made)
}

async fn make_sockets(inside: std::sync::Weak<Inside>, mut requests: Requests) -> usize {
    let mut made = 0;
    while let Some(request) = requests.next().await {
        assert_eq!(request, Request::Socket { replica: replica(), kind: SocketKind::Network });
        let Some(inside) = inside.upgrade() else { break };
        inside.put(SocketKind::Network, socket());
        made += 1;
    }
    made
}

#[tokio::test]
async fn connections_are_made_of_sockets_that_were_asked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (inside, made) = inside(listener.local_addr().unwrap().port());
    inside.fill().await;
    let mut connections = Vec::new();
    for _ in 0..3 {
        connections.push(inside.connect(inside.port()).await.unwrap());
    }
    let (mut accepted, _) = listener.accept().unwrap();
    let mut first = connections.remove(0);
    first.write_all(b"a").await.unwrap();
    let mut byte = [0];
    std::io::Read::read_exact(&mut accepted, &mut byte).unwrap();
    std::io::Write::write_all(&mut accepted, b"b").unwrap();
    first.read_exact(&mut byte).await.unwrap();
    assert_eq!((byte, first.nodelay().unwrap()), (*b"b", true));
    drop(inside);
    let made = made.await.unwrap();
    assert!((3..=3 + SOCKETS_AHEAD).contains(&made), "{made}");
}

#[tokio::test]
async fn those_who_give_up_leave_no_heap_of_sockets() {
    let (outbox, mut requests) = outbox();
    let inside = Inside::new(replica(), 1, AppProtocol::Http1, Vec::new(), outbox);
    let mut waiting: Vec<_> = (0..5)
        .map(|_| {
            let inside = Arc::clone(&inside);
            tokio::spawn(async move { inside.connect(1).await.map(drop) })
        })
        .collect();
    for _ in 0..5 + SOCKETS_AHEAD {
        requests.next().await.unwrap();
    }
    for task in waiting.drain(..) {
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }
    for _ in 0..5 + SOCKETS_AHEAD {
        inside.put(SocketKind::Network, socket());
    }
    let stock = inside.lock();
    assert_eq!((stock.ready.len(), stock.waiting, stock.asked), (SOCKETS_AHEAD, 0, 0));
}

#[tokio::test]
async fn who_waits_is_told_why_there_is_none_and_nobody_else() {
    let (outbox, mut requests) = outbox();
    let inside = Inside::new(replica(), 1, AppProtocol::Http1, Vec::new(), outbox);
    let waits = tokio::spawn({
        let inside = Arc::clone(&inside);
        async move { inside.connect(1).await }
    });
    requests.next().await.unwrap();
    inside.fail(SocketKind::Network, "there is no such replica".to_owned());
    let error = waits.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "there is no such replica");
    inside.fail(SocketKind::Network, "again".to_owned());
    assert!(inside.lock().failed.is_empty());
}

#[tokio::test]
async fn an_address_leads_to_what_serves_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("replica.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(matches!(Address::Unix(path).connect().await.unwrap(), Stream::Unix(_)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (inside, _made) = inside(listener.local_addr().unwrap().port());
    let connected = Address::Inside(inside).connect().await.unwrap();
    let Stream::Tcp(stream) = connected else { panic!("it is a port") };
    let peer = StdStream::from(stream.as_fd().try_clone_to_owned().unwrap()).peer_addr().unwrap();
    assert_eq!(peer, listener.local_addr().unwrap());
}

fn report(number: u64) -> Report {
    Report { number, outcome: Outcome::Exited(0), output: String::new() }
}

#[tokio::test]
async fn an_order_is_answered_by_the_report_of_its_number() {
    let (outbox, mut requests) = outbox();
    let commands = ["no", "yes"].map(|word| vec![word.to_owned()]).to_vec();
    let inside = Inside::new(replica(), 1, AppProtocol::Http1, commands.clone(), outbox);
    let run = |command: &str| {
        let (inside, command) = (Arc::clone(&inside), vec![command.to_owned()]);
        tokio::spawn(async move { inside.run(&command, Duration::from_secs(5)).await })
    };
    let asked = Request::Socket { replica: replica(), kind: SocketKind::Orders };
    let refused = run("yes");
    assert_eq!(requests.next().await.unwrap(), asked);
    inside.fail(SocketKind::Orders, "it does not run yet".to_owned());
    let refused = refused.await.unwrap().unwrap_err();
    assert!(matches!(&refused, OrderError::NoSocket(_)) && refused.to_string().contains("not run yet"), "{refused}");
    assert!(matches!(run("maybe").await.unwrap(), Err(OrderError::Unknown)));

    let answered = run("yes");
    assert_eq!(requests.next().await.unwrap(), asked);
    let (node, runner) = channel::pair().unwrap();
    inside.put(SocketKind::Orders, node);
    let mut runner = Channel::<Report, Order>::new(runner);
    let order = loop {
        match runner.try_receive().unwrap() {
            Some((order, _)) => break order,
            None => tokio::task::yield_now().await,
        }
    };
    assert_eq!((order.command, order.timeout_ms), (1, 5_000));
    for number in [order.number - 1, order.number] {
        runner.try_send(&report(number), &[]).unwrap();
    }
    assert_eq!(answered.await.unwrap().unwrap(), report(order.number));
    // One that was taken over tells of others for ever, and only that is told.
    let flooded = run("yes");
    let mut told = 0;
    while !flooded.is_finished() {
        match runner.try_send(&report(0), &[]) {
            Ok(()) => told += 1,
            Err(channel::ChannelError::Full) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(matches!(flooded.await.unwrap(), Err(OrderError::Flood)), "{told}");
    drop(runner);
    assert!(matches!(run("no").await.unwrap(), Err(OrderError::Gone(_))), "over the same socket");
}
