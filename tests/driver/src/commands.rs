//! What the node says to what runs commands in a container, and hears of it.

use dormouse_sandbox::{
    channel::{Channel, ChannelError},
    commands::{Order, Report},
    messages::{ReplicaId, SocketKind},
};

use crate::{machine::until, node::Node};

/// The node's end.
#[derive(Debug)]
pub struct Orders {
    channel: Channel<Order, Report>,
    number: u64,
}

impl Node {
    /// The one socket for orders of a replica, or why there is none.
    pub fn orders(&mut self, replica: &ReplicaId) -> Result<Orders, String> {
        let socket = self.socket_of(replica, SocketKind::Orders)?;
        Ok(Orders { channel: Channel::without_descriptors(socket), number: 0 })
    }
}

impl Orders {
    /// As one who begins to count there.
    pub fn skip_to(&mut self, number: u64) {
        self.number = number;
    }

    /// Asks for it, and does not wait. Comes back with the order's number.
    pub fn give(&mut self, command: usize, timeout_ms: u64) -> u64 {
        self.number += 1;
        self.channel.try_send(&Order { number: self.number, command, timeout_ms }, &[]).unwrap();
        self.number
    }

    pub fn report(&mut self) -> Result<Report, ChannelError> {
        let mut told = None;
        until("a command's end is told", || {
            told = self.channel.try_receive().transpose();
            told.is_some()
        });
        told.unwrap().map(|(report, _)| report)
    }

    /// Asks for it and waits.
    pub fn run(&mut self, command: usize, timeout_ms: u64) -> Report {
        let number = self.give(command, timeout_ms);
        let report = self.report().unwrap();
        assert_eq!(report.number, number);
        report
    }
}
