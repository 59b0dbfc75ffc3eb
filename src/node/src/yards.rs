//! Messages between processes that are connected to this node's socket for front ends, and those of other nodes:
//! [`synod_delivery::routing`] decides, and this does what it says.
//!
//! What a connection asks is begun where its frames are read, one after the other, so that messages are sent in the order in which they
//! were said; only what has to be waited for is waited for beside.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use metrics::counter;
use synod_delivery::routing::{Effect, NotOpened, Order, Outcome, Reason, Router, TICK_MS, YardId};
use synod_gateway::Gateway;
use synod_lane::front::{FrontAnswer, FrontQuestion};
use synod_lane::message::Blob;
use synod_lane::yard::{Arrived, ServerTold, YardAnswer, YardQuestion, YardTold};
use synod_mesh::Mesh;
use synod_types::limits::{ROUTE_PATIENCE_MS, ROUTE_PATIENCE_MS_MAX, YARD_ARRIVALS_MAX};
use synod_types::{Address, Message, NodeId, RouteMessage, wire};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::fronts::{Host, Teller, answer_anywhere};
use crate::remote::count;
use crate::roster::Roster;

/// Ticks between two looks at who the other nodes are.
const ROSTER_TICKS: u32 = 25;

/// What is to be done for a question, beside.
pub(crate) type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// All yards of this node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Yards(Arc<Inner>);

struct Inner {
    mesh: Arc<Mesh>,
    roster: Arc<Roster>,
    state: Mutex<State>,
}

struct State {
    router: Router,
    /// Who waits for the outcome of a message.
    senders: HashMap<u64, oneshot::Sender<Outcome>>,
    /// Rung when something arrives in a yard, or it is closed.
    bells: BTreeMap<YardId, Arc<Notify>>,
}

/// The yard of one connection; reaped when this is dropped.
pub(crate) struct Yard {
    yards: Yards,
    name: String,
    id: YardId,
    bell: Arc<Notify>,
    /// Whose turn it is to take: what two look at, both would have.
    place: Arc<Semaphore>,
}

impl Drop for Yard {
    fn drop(&mut self) {
        info!(yard = self.name, "a yard is closed: its process is gone");
        let id = self.id;
        self.yards.with(|state, effects| {
            state.bells.remove(&id);
            state.router.on_gone(id, effects);
        });
    }
}

impl Yards {
    /// In this life of the node.
    pub(crate) fn new(mesh: Arc<Mesh>, roster: Arc<Roster>, life: u64) -> Yards {
        let router = {
            let known = roster.load();
            Router::new(known.node, known.name(known.node).unwrap_or_default(), life)
        };
        let state = State { router, senders: HashMap::new(), bells: BTreeMap::new() };
        Yards(Arc::new(Inner { mesh, roster, state: Mutex::new(state) }))
    }

    /// Lets time pass, until the node stops.
    pub(crate) async fn run(self) {
        let mut ticks = tokio::time::interval(Duration::from_millis(TICK_MS));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut until_roster = 0;
        loop {
            ticks.tick().await;
            if until_roster == 0 {
                until_roster = ROSTER_TICKS;
                let servers = self.servers();
                self.with(|state, effects| state.router.set_servers(servers, effects));
            }
            until_roster -= 1;
            self.with(|state, effects| state.router.on_tick(effects));
        }
    }

    fn servers(&self) -> BTreeMap<NodeId, String> {
        let known = self.0.roster.load();
        known.others().filter_map(|node| Some((node, known.name(node)?.to_owned()))).collect()
    }

    /// Another node sent a packet of its link to this one.
    pub(crate) fn on_packet(&self, from: NodeId, bytes: &[u8]) {
        match wire::decode(bytes) {
            Ok(packet) => self.with(|state, effects| state.router.on_packet(from, packet, effects)),
            Err(why) => {
                count("malformed");
                warn!(%from, %why, "a node sent a packet for yards that makes no sense; dropped");
            }
        }
    }

    /// The yards that are open here.
    pub(crate) fn list(&self) -> FrontAnswer {
        let yards = self.with(|state, _| state.router.yards());
        let told = yards.into_iter().map(|yard| YardTold {
            yard: yard.name,
            queues: yard.queues,
            waiting: u64::try_from(yard.waiting).expect("usize has at most 64 bits"),
        });
        FrontAnswer::Yard(YardAnswer::Yards(told.collect()))
    }

    /// Begins what a connection asks, whose yard is in `own`.
    pub(crate) fn begin(
        &self,
        host: &Host,
        own: &mut Option<Yard>,
        ask: YardQuestion,
        teller: Teller,
    ) -> Job {
        let answer = match ask {
            YardQuestion::Servers => self.told_servers(&host.node),
            YardQuestion::List => self.list(),
            YardQuestion::Open { yard, queues } => self.open(&host.gateway, own, &yard, queues),
            YardQuestion::Reply { number, body } => self.reply(own.as_ref(), number, body.0),
            YardQuestion::Receive { queue, max, wait_ms } => match own {
                Some(yard) => {
                    let max = max.map_or(1, |max| usize::try_from(max).unwrap_or(usize::MAX));
                    let taking = Taking {
                        yards: self.clone(),
                        id: yard.id,
                        bell: Arc::clone(&yard.bell),
                        place: Arc::clone(&yard.place),
                        queue,
                        max: max.clamp(1, YARD_ARRIVALS_MAX),
                        patience: Duration::from_millis(u64::from(patience_ms(wait_ms))),
                    };
                    return Box::pin(taking.run(teller));
                }
                None => no_yard(),
            },
            YardQuestion::Send { to, body, wait_ms } => {
                let wanted = Wanted { to, body: body.0, wait_ms, kind: Kind::Message };
                return self.send(host, own.as_ref(), wanted, teller);
            }
            YardQuestion::Request { to, body, wait_ms } => {
                let wanted = Wanted { to, body: body.0, wait_ms, kind: Kind::Request };
                return self.send(host, own.as_ref(), wanted, teller);
            }
        };
        telling(teller, answer)
    }

    fn told_servers(&self, own: &str) -> FrontAnswer {
        let mut servers: Vec<ServerTold> = self.with(|state, _| {
            let names = self.servers().into_values();
            let told = |server: String| {
                let is_there = state.router.is_there(&server).unwrap_or_default();
                ServerTold { server, is_there }
            };
            names.map(told).collect()
        });
        servers.push(ServerTold { server: own.to_owned(), is_there: true });
        servers.sort_by(|one, other| one.server.cmp(&other.server));
        FrontAnswer::Yard(YardAnswer::Servers(servers))
    }

    fn open(
        &self,
        gateway: &Gateway,
        own: &mut Option<Yard>,
        name: &str,
        queues: Option<Vec<String>>,
    ) -> FrontAnswer {
        // One that took nothing for too long may be opened again.
        own.take_if(|yard| !self.with(|state, _| state.router.is_open(yard.id)));
        if let Some(yard) = own {
            let text =
                format!("this connection is the yard {:?} already: connect again for another one", yard.name);
            return FrontAnswer::problem("yard-taken", text);
        }
        if gateway.find(name).is_some() {
            return FrontAnswer::problem("yard-taken", format!("{name:?} is an application of this cluster"));
        }
        let opened: Result<_, NotOpened> = self.with(|state, _| {
            let id = state.router.open(name, queues)?;
            let bell = Arc::new(Notify::new());
            state.bells.insert(id, Arc::clone(&bell));
            Ok((id, bell))
        });
        match opened {
            Ok((id, bell)) => {
                info!(yard = name, "a process has opened a yard");
                let place = Arc::new(Semaphore::new(1));
                *own = Some(Yard { yards: self.clone(), name: name.to_owned(), id, bell, place });
                FrontAnswer::Yard(YardAnswer::Opened)
            }
            Err(why) => {
                count("not-opened");
                let code = match why {
                    NotOpened::Taken => "yard-taken",
                    NotOpened::TooMany => "busy",
                    NotOpened::BadName => "bad-address",
                };
                FrontAnswer::problem(code, why)
            }
        }
    }

    fn reply(&self, own: Option<&Yard>, number: u64, body: Bytes) -> FrontAnswer {
        let Some(yard) = own else { return no_yard() };
        match self.with(|state, effects| state.router.reply(yard.id, number, body, effects)) {
            Ok(()) => FrontAnswer::Yard(YardAnswer::Sent),
            Err(why) => FrontAnswer::problem("no-such-request", why),
        }
    }

    fn send(&self, host: &Host, own: Option<&Yard>, wanted: Wanted, teller: Teller) -> Job {
        let Wanted { to, body, wait_ms, kind } = wanted;
        let to = match destination(&host.gateway, &to, kind) {
            Ok(to) => to,
            Err(answer) => return telling(teller, answer),
        };
        if let Some(app) = to.yard.as_ref().filter(|yard| host.gateway.find(yard).is_some()) {
            let server = to.server.clone().unwrap_or_else(|| host.node.clone());
            let ask = FrontQuestion::At { server, ask: Box::new(query(app.clone(), body, wait_ms)) };
            let host = host.clone();
            return Box::pin(async move { answer_anywhere(&host, ask, &teller).await });
        }
        let order = Order {
            from: own.map(|yard| yard.name.clone()),
            to,
            body,
            wants_reply: kind == Kind::Request,
            patience_ms: patience_ms(wait_ms),
        };
        let (sender, outcome) = oneshot::channel();
        let number = self.with(|state, effects| {
            let number = state.router.send(order, effects);
            state.senders.insert(number, sender);
            number
        });
        let waiting = Waiting { yards: self.clone(), number };
        Box::pin(async move {
            let outcome = outcome.await.unwrap_or(Outcome::Refused(Reason::Late));
            drop(waiting);
            teller.tell(told(outcome)).await;
        })
    }

    /// Has the router take an event, and does what follows from it.
    fn with<T>(&self, work: impl FnOnce(&mut State, &mut Vec<Effect>) -> T) -> T {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut effects = Vec::new();
        let result = work(&mut state, &mut effects);
        for effect in effects {
            match effect {
                Effect::Send { to, packet } => {
                    let packet = RouteMessage::Packet(wire::encode(&packet).into());
                    self.0.mesh.send(to, &Message::Route(packet));
                }
                Effect::Arrived(yard) => {
                    if let Some(bell) = state.bells.get(&yard) {
                        bell.notify_one();
                    }
                }
                Effect::Reaped(yard) => {
                    warn!("a yard is closed: its process has taken nothing for too long");
                    if let Some(bell) = state.bells.remove(&yard) {
                        bell.notify_one();
                    }
                }
                Effect::Tell { errand, outcome } => {
                    if let Some(sender) = state.senders.remove(&errand) {
                        // Who asked may have gone meanwhile.
                        let _ = sender.send(outcome);
                    }
                }
                Effect::Count { what, times } => {
                    counter!("synod_route_events_total", "event" => what.name()).increment(times);
                }
            }
        }
        result
    }
}

/// A message as a connection asks for it.
struct Wanted {
    to: String,
    body: Bytes,
    wait_ms: Option<u64>,
    kind: Kind,
}

/// The answer is there.
fn telling(teller: Teller, answer: FrontAnswer) -> Job {
    Box::pin(async move {
        teller.tell(answer).await;
    })
}

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Message,
    Request,
}

/// Somebody waits for an outcome, and may stop to.
struct Waiting {
    yards: Yards,
    number: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.yards.with(|state, _| {
            state.senders.remove(&self.number);
            state.router.forget(self.number);
        });
    }
}

/// A yard's process takes messages.
struct Taking {
    yards: Yards,
    id: YardId,
    bell: Arc<Notify>,
    place: Arc<Semaphore>,
    queue: Option<String>,
    max: usize,
    patience: Duration,
}

impl Taking {
    /// What is not told was not taken.
    async fn run(self, teller: Teller) {
        let Taking { yards, id, bell, place, queue, max, patience } = self;
        // The one before may have told what it has not taken yet.
        let _turn = place.acquire_owned().await;
        let late = tokio::time::sleep(patience);
        tokio::pin!(late);
        let arrivals = loop {
            match yards.with(|state, _| state.router.look(id, queue.as_deref(), max)) {
                Some(arrivals) if arrivals.is_empty() => {}
                Some(arrivals) => break arrivals,
                None => {
                    let text = "this connection's yard was closed, since it took nothing for too long: open it again";
                    teller.tell(FrontAnswer::problem("yard-reaped", text)).await;
                    return;
                }
            }
            tokio::select! {
                () = bell.notified() => {}
                () = &mut late => break Vec::new(),
            }
        };
        let numbers: Vec<u64> = arrivals.iter().map(|arrival| arrival.number).collect();
        let told = arrivals.into_iter().map(|arrival| Arrived {
            number: arrival.number,
            from: arrival.from.to_string(),
            queue: arrival.queue,
            body: Blob(arrival.body),
            wants_reply: arrival.wants_reply,
        });
        if teller.tell(FrontAnswer::Yard(YardAnswer::Arrived(told.collect()))).await {
            yards.with(|state, effects| {
                numbers.into_iter().for_each(|number| state.router.on_taken(id, number, effects));
            });
        }
    }
}

fn told(outcome: Outcome) -> FrontAnswer {
    match outcome {
        Outcome::Taken => FrontAnswer::Yard(YardAnswer::Taken),
        Outcome::Replied(body) => FrontAnswer::Yard(YardAnswer::Replied(Blob(body))),
        Outcome::Refused(reason) => FrontAnswer::problem(reason.name(), reason),
    }
}

/// The address, if it is that of a yard, or of an application that is asked.
fn destination(gateway: &Gateway, to: &str, kind: Kind) -> Result<Address, FrontAnswer> {
    let to = Address::of_yard(to).map_err(|why| FrontAnswer::problem("bad-address", why))?;
    let is_app = to.yard.as_ref().is_some_and(|yard| gateway.find(yard).is_some());
    match kind {
        Kind::Message if is_app => {
            let text = "this is an application: it takes signed commands, and answers requests";
            Err(FrontAnswer::problem("not-a-yard", text))
        }
        Kind::Request if is_app && !to.queue.is_empty() => {
            Err(FrontAnswer::problem("unknown-queue", "an application has no queues"))
        }
        Kind::Message | Kind::Request => Ok(to),
    }
}

/// An application is asked as a yard is.
fn query(app: String, body: Bytes, wait_ms: Option<u64>) -> FrontQuestion {
    FrontQuestion::Query { app, query: Blob(body), linearizable: false, min: None, wait_ms }
}

fn patience_ms(wait_ms: Option<u64>) -> u32 {
    let wait_ms = wait_ms.map_or(ROUTE_PATIENCE_MS, |ms| u32::try_from(ms).unwrap_or(u32::MAX));
    wait_ms.min(ROUTE_PATIENCE_MS_MAX)
}

fn no_yard() -> FrontAnswer {
    FrontAnswer::problem("no-yard", "this connection has opened no yard")
}
