//! The task that owns the ledger of the node's memory.
//!
//! No cycle of waits is possible: endpoints wait for this task's inbox, and this task waits for
//! nobody, as what it tells goes into inboxes that never make the sender wait.

use std::collections::HashMap;

use dormouse_sandbox::messages::ReplicaId;
use dormouse_spec::Bytes;
use prometheus::IntGauge;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use crate::{
    clock::Clock,
    link::{Fact, FactSender, MemoryFact},
    policy::{Ledger, Order, Owner, Usage},
};

/// Calls that wait for the ledger; who has more to tell waits.
const CALLS_MAX: usize = 1024;

#[derive(Debug)]
enum Call {
    Attach { owner: Owner, facts: FactSender },
    Floor { owner: Owner, replicas: u32 },
    Detach { owner: Owner },
    Adopt { owner: Owner, replica: ReplicaId, bytes: Bytes, usage: Usage },
    Reserve { owner: Owner, replica: ReplicaId, bytes: Bytes },
    ReserveFree { owner: Owner, replica: ReplicaId, bytes: Bytes, usage: Usage },
    Release { replica: ReplicaId },
    Report { replica: ReplicaId, usage: Usage },
}

/// Asks the ledger, for one owner of replicas.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    calls: mpsc::Sender<Call>,
}

/// One owner's account. It is closed by [`Self::close`] once nothing is held for it.
#[derive(Debug)]
pub(crate) struct Account {
    owner: Owner,
    calls: mpsc::Sender<Call>,
}

impl Memory {
    /// Starts the task. `used` follows what is held.
    pub(crate) fn start(budget: Bytes, clock: Clock, used: IntGauge) -> Self {
        let (calls, inbox) = mpsc::channel(CALLS_MAX);
        let keeper = Keeper { ledger: Ledger::new(budget), facts: HashMap::new(), clock, used };
        tokio::spawn(keeper.run(inbox));
        Self { calls }
    }

    /// Opens an account; grants and evictions are told to `facts`.
    pub(crate) async fn open(&self, owner: Owner, floor: u32, facts: FactSender) -> Account {
        let account = Account { owner: owner.clone(), calls: self.calls.clone() };
        account.call(Call::Attach { owner, facts }).await;
        account.set_floor(floor).await;
        account
    }
}

impl Account {
    /// How many of the owner's replicas are never evicted.
    pub(crate) async fn set_floor(&self, replicas: u32) {
        self.call(Call::Floor { owner: self.owner.clone(), replicas }).await;
    }

    pub(crate) async fn adopt(&self, replica: ReplicaId, bytes: Bytes, usage: Usage) {
        self.call(Call::Adopt { owner: self.owner.clone(), replica, bytes, usage }).await;
    }

    pub(crate) async fn reserve(&self, replica: ReplicaId, bytes: Bytes) {
        self.call(Call::Reserve { owner: self.owner.clone(), replica, bytes }).await;
    }

    /// Reserves what is free and spoken for by nobody, to be held as `usage`; told at once, granted or short.
    pub(crate) async fn reserve_free(&self, replica: ReplicaId, bytes: Bytes, usage: Usage) {
        self.call(Call::ReserveFree { owner: self.owner.clone(), replica, bytes, usage }).await;
    }

    pub(crate) async fn release(&self, replica: ReplicaId) {
        self.call(Call::Release { replica }).await;
    }

    pub(crate) async fn report(&self, replica: ReplicaId, usage: Usage) {
        self.call(Call::Report { replica, usage }).await;
    }

    pub(crate) async fn close(self) {
        self.call(Call::Detach { owner: self.owner.clone() }).await;
    }

    /// The ledger's task ends only with the process, and then nothing needs to be told.
    async fn call(&self, call: Call) {
        let _ = self.calls.send(call).await;
    }
}

struct Keeper {
    ledger: Ledger,
    facts: HashMap<Owner, FactSender>,
    clock: Clock,
    used: IntGauge,
}

impl Keeper {
    async fn run(mut self, mut inbox: mpsc::Receiver<Call>) {
        loop {
            let wake = self.ledger.next_wake(self.clock.now()).map(|at| self.clock.instant(at));
            let orders = tokio::select! {
                call = inbox.recv() => match call {
                    Some(call) => self.answer(call),
                    None => return,
                },
                () = until(wake) => self.ledger.tick(self.clock.now()),
            };
            for order in orders {
                self.tell(order);
            }
            self.used.set(i64::try_from(self.ledger.used().get()).unwrap_or(i64::MAX));
        }
    }

    fn answer(&mut self, call: Call) -> Vec<Order> {
        let now = self.clock.now();
        match call {
            Call::Attach { owner, facts } => {
                self.facts.insert(owner, facts);
                Vec::new()
            }
            Call::Floor { owner, replicas } => {
                self.ledger.set_floor(owner, replicas);
                self.ledger.tick(now)
            }
            Call::Detach { owner } => {
                self.facts.remove(&owner);
                self.ledger.set_floor(owner, 0);
                self.ledger.tick(now)
            }
            Call::Adopt { owner, replica, bytes, usage } => {
                self.ledger.adopt(now, owner, replica, bytes, usage);
                Vec::new()
            }
            Call::Reserve { owner, replica, bytes } => self.ledger.reserve(now, owner, replica, bytes),
            Call::ReserveFree { owner, replica, bytes, usage } => {
                vec![self.ledger.reserve_free(now, owner, replica, bytes, usage)]
            }
            Call::Release { replica } => self.ledger.release(now, &replica),
            Call::Report { replica, usage } => self.ledger.report(now, &replica, usage),
        }
    }

    fn tell(&self, order: Order) {
        let (owner, fact) = match order {
            Order::Grant { owner, replica } => (owner, MemoryFact::Granted(replica)),
            Order::Short { owner, replica, short } => (owner, MemoryFact::Short(replica, short)),
            Order::Evict { owner, replica } => (owner, MemoryFact::Evict(replica)),
        };
        if let Some(facts) = self.facts.get(&owner)
            && let Err(error) = facts.tell(Fact::Memory(fact))
        {
            // Each replica is granted once and evicted once, so the inbox holds far more than can come.
            tracing::error!(error = &error as &dyn std::error::Error, ?owner, "an order about memory was lost");
        }
    }
}

pub(crate) async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
