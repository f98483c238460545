//! Whether the neighbours answer on which a choice among several ways depends. The kernel finds out itself while packets
//! are sent to them, and tells. Of a way that is not used it would never find out that its neighbour is back: those that
//! have failed are asked again and again.

mod verdicts;

use std::{collections::BTreeSet, time::Duration};

use rtnetlink::{
    MulticastGroup,
    sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tracing::debug;

use super::{
    HostError,
    neighbour::{ONE_BY_ONE, probe, states},
    neighbour_event::{self, NOTIFICATION_BYTES, NeighbourEvent},
    session::Session,
    watch::is_overrun,
};
use crate::model::LinkNeighbour;
use verdicts::Verdicts;

/// How often neighbours that have failed are asked; the kernel takes three seconds for three questions by itself.
const ASK: Duration = Duration::from_secs(1);
/// How many are asked at once; if there are more, they take turns.
const AT_ONCE: usize = 256;
/// How often the kernel's table is read, in case it told of something that was lost, and neighbours of which it has not
/// heard for a while are confirmed.
const LOOK: Duration = Duration::from_secs(10);
/// The same where there are so many that it takes a while.
const LOOK_AT_MANY: Duration = Duration::from_secs(30);
/// How long nothing is read after that, also where the kernel tells of more than it keeps for us all the time.
const PAUSE: Duration = Duration::from_millis(500);

/// Follows neighbours.
pub struct Reachability {
    /// Tells of every neighbour's state; none while there is nobody to follow.
    events: Option<TokioSocket>,
    verdicts: Verdicts,
    /// When the table was read the last time.
    looked: Instant,
    /// When it is read the next time.
    look: Instant,
    /// When anything is to be done the next time.
    next: Instant,
}

impl Reachability {
    /// Follows nobody yet.
    #[must_use]
    pub fn new() -> Self {
        let now = Instant::now();
        Self { events: None, verdicts: Verdicts::default(), looked: now, look: now, next: now }
    }

    /// Follows those that are `watched` and tells which of them have `failed`, until nobody has any to follow.
    ///
    /// # Errors
    /// If a socket breaks or cannot be opened.
    pub async fn run(
        mut self,
        mut watched: watch::Receiver<BTreeSet<LinkNeighbour>>,
        failed: watch::Sender<BTreeSet<LinkNeighbour>>,
    ) -> Result<(), HostError> {
        self.verdicts = Verdicts::knowing(failed.borrow().clone());
        watched.mark_changed();
        let mut buffer = Vec::with_capacity(NOTIFICATION_BYTES);
        loop {
            buffer.clear();
            let follows = self.events.is_some();
            tokio::select! {
                changed = watched.changed() => match changed {
                    Ok(()) => self.follow(watched.borrow_and_update().clone())?,
                    Err(_) => return Ok(()),
                },
                received = receive(self.events.as_mut(), &mut buffer), if follows => match received {
                    Ok(()) => self.take(&buffer),
                    Err(error) if is_overrun(&error) => self.look_soon(),
                    Err(error) => return Err(HostError::Watch(error)),
                },
                () = sleep_until(self.next), if follows => self.ask().await?,
            }
            let now_failed = self.verdicts.failed();
            failed.send_if_modified(|failed| {
                let changes = failed != now_failed;
                if changes {
                    failed.clone_from(now_failed);
                }
                changes
            });
        }
    }

    /// Follows these instead of those before.
    fn follow(&mut self, watched: BTreeSet<LinkNeighbour>) -> Result<(), HostError> {
        if watched.is_empty() {
            self.events = None;
        } else if self.events.is_none() {
            self.events = Some(subscribe().map_err(HostError::Socket)?);
        }
        self.verdicts.watch(watched);
        self.look_soon();
        Ok(())
    }

    fn look_soon(&mut self) {
        self.look = self.look.min(Instant::now().max(self.looked + PAUSE));
        self.next = self.next.min(self.look);
    }

    /// Takes in what the kernel tells. One that is gone says nothing about the way: the next packet asks for it anew.
    fn take(&mut self, notification: &[u8]) {
        let Some(NeighbourEvent { neighbour: Some(neighbour), gone: false, state, .. }) =
            neighbour_event::parse(notification)
        else {
            return;
        };
        if self.verdicts.take(neighbour, state) {
            self.next = self.next.min(Instant::now() + ASK);
        }
    }

    /// Reads the table if that is due, and asks those that have failed.
    async fn ask(&mut self) -> Result<(), HostError> {
        let session = Session::open()?;
        let now = Instant::now();
        if now >= self.look {
            match states(&session, self.verdicts.watched()).await {
                Ok(states) => states.into_iter().for_each(|(neighbour, state)| {
                    self.verdicts.take(neighbour, state);
                }),
                // Of a table that changes all the time, the kernel tells as well.
                Err(error) => debug!("{error}"),
            }
            let many = self.verdicts.watched().len() > ONE_BY_ONE;
            (self.looked, self.look) = (now, now + if many { LOOK_AT_MANY } else { LOOK });
        }
        for neighbour in self.verdicts.next_to_ask(AT_ONCE) {
            probe(&session, neighbour).await;
        }
        self.next = if self.verdicts.asks() { self.look.min(now + ASK) } else { self.look };
        Ok(())
    }
}

fn subscribe() -> std::io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
    let group = 1 << (MulticastGroup::Neigh as u32 - 1);
    socket.socket_mut().bind(&SocketAddr::new(0, group))?;
    Ok(socket)
}

async fn receive(socket: Option<&mut TokioSocket>, buffer: &mut Vec<u8>) -> std::io::Result<()> {
    match socket {
        Some(socket) => socket.recv(buffer).await,
        None => std::future::pending().await,
    }
}
