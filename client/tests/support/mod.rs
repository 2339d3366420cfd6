//! Replicas over real sockets that execute by themselves: enough for one client, whose requests
//! reach each of them in the same order.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use webbft_protocol::auth::{NoiseKeypair, ReplicaLink, ServerHandshake};
use webbft_protocol::membership::{
    Cid, Digest, MacAlgorithm, Member, ReplicaId, ServiceId, SessionId, View, ViewNumber,
};
use webbft_protocol::time::UnixMicros;
use webbft_protocol::wire::{
    ClientFrame, ClientHeader, ExecutionResult, Frame, Operation, ReplicaFrame, ReplicaHeader,
    Request, Topic, Welcome, encode,
};

/// How a replica behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Honest,
    /// Other results and events than the honest ones.
    Lies,
    /// Text messages after the handshake.
    Babbles,
    /// Answers no requests and queries.
    Mute,
}

/// Four replicas, those not stopped.
pub(crate) struct Cluster {
    pub(crate) view: View,
    replicas: Vec<Option<JoinHandle<()>>>,
    closed: mpsc::UnboundedReceiver<usize>,
    closed_sender: mpsc::UnboundedSender<usize>,
}

fn keypair(index: usize) -> NoiseKeypair {
    NoiseKeypair::from_secret([10 + u8::try_from(index).unwrap(); 32])
}

impl Cluster {
    pub(crate) async fn start(behaviours: [Behaviour; 4]) -> Self {
        Self::start_in(ViewNumber(0), behaviours).await
    }

    /// The members of a view of this number, whose ids and events begin at ten times that.
    pub(crate) async fn start_in(number: ViewNumber, behaviours: [Behaviour; 4]) -> Self {
        let mut members = Vec::new();
        let mut listeners = Vec::new();
        for index in 0..4_u8 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            members.push(Member {
                id: ReplicaId(u16::from(index) + 10 * u16::try_from(number.0).unwrap()),
                url: format!("ws://{}/ws", listener.local_addr().unwrap()),
                peer_address: String::new(),
                public_key: Digest([index; 32]),
                noise_key: Digest(*keypair(index.into()).public()),
            });
            listeners.push(listener);
        }
        let view = View {
            service: ServiceId([7; 16]),
            number,
            f: 1,
            mac: MacAlgorithm::HmacSha256,
            activation: Cid(1),
            previous: Digest::default(),
            members,
        };
        let (closed_sender, closed) = mpsc::unbounded_channel();
        let mut cluster = Self { view, replicas: Vec::new(), closed, closed_sender };
        for (index, listener) in listeners.into_iter().enumerate() {
            let task = cluster.spawn(index, listener, behaviours[index]);
            cluster.replicas.push(Some(task));
        }
        cluster
    }

    fn spawn(&self, me: usize, listener: TcpListener, behaviour: Behaviour) -> JoinHandle<()> {
        let (view, closed) = (self.view.clone(), self.closed_sender.clone());
        tokio::spawn(async move {
            // Dropped with this task, and with it every link.
            let mut links = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (view, closed) = (view.clone(), closed.clone());
                links.spawn(async move {
                    serve(&view, me, behaviour, stream).await;
                    let _ = closed.send(me);
                });
            }
        })
    }

    /// Stops a replica: its port refuses connections afterwards.
    pub(crate) async fn stop(&mut self, index: usize) {
        let task = self.replicas[index].take().expect("it runs");
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }

    /// Starts it anew, on the same port and with no memory.
    pub(crate) async fn restart(&mut self, index: usize) {
        let url = &self.view.members[index].url;
        let address: SocketAddr = url[5..].trim_end_matches("/ws").parse().unwrap();
        let listener = TcpListener::bind(address).await.unwrap();
        self.replicas[index] = Some(self.spawn(index, listener, Behaviour::Honest));
    }

    /// The next replica whose link to the client was closed from the other side.
    pub(crate) async fn link_closed(&mut self) -> usize {
        self.closed.recv().await.unwrap()
    }
}

/// One link, until it is closed.
async fn serve(view: &View, me: usize, behaviour: Behaviour, stream: TcpStream) {
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
    let Some(Ok(Message::Binary(hello))) = socket.next().await else { return };
    let keypair = keypair(me);
    let handshake = ServerHandshake { view, keypair: &keypair };
    let welcome = Welcome { last_cid: Cid(0), time: UnixMicros(0) };
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).unwrap();
    let accepted = handshake.accept(&hello, &welcome, seed).expect("the client knows our key");
    socket.send(Message::Binary(accepted.reply.into())).await.unwrap();
    if behaviour == Behaviour::Babbles {
        socket.send(Message::Text("hello".into())).await.unwrap();
    }
    let (link, view) = (accepted.link, view.number);
    let mut replica = Replica { link, behaviour, view, topics: BTreeMap::new() };
    while let Some(Ok(message)) = socket.next().await {
        let Message::Binary(bytes) = message else { continue };
        let frame = replica.link.open(&bytes).expect("the client seals well").into_inner();
        for answer in replica.answer(&frame) {
            if socket.feed(Message::Binary(answer)).await.is_err() {
                return;
            }
        }
        if socket.flush().await.is_err() {
            return;
        }
    }
}

struct Replica {
    link: ReplicaLink,
    behaviour: Behaviour,
    view: ViewNumber,
    topics: BTreeMap<(SessionId, Topic), u64>,
}

impl Replica {
    fn answer(&mut self, frame: &ClientFrame) -> Vec<Bytes> {
        let mut answers = Vec::new();
        match &frame.header {
            ClientHeader::Request { .. } | ClientHeader::Query { .. }
                if self.behaviour == Behaviour::Mute => {}
            ClientHeader::Request { .. } => {
                let request = Request::decode(&frame.body).expect("a request");
                self.execute(&request, &mut answers);
            }
            ClientHeader::Query { nonce, .. } => {
                let body = self.value(&frame.body);
                let header = ReplicaHeader::QueryReply {
                    nonce: *nonce,
                    view: self.view,
                    as_of: Cid(0),
                    executed: Cid(0),
                    digest: Digest::of(&body),
                    full: true,
                };
                answers.push(Frame::new(header, body));
            }
            ClientHeader::Ping { nonce } => {
                answers.push(Frame::bare(ReplicaHeader::Pong {
                    nonce: *nonce,
                    last_cid: Cid(0),
                    time: UnixMicros(0),
                    leader: ReplicaId(0),
                }));
            }
            ClientHeader::Resume { .. }
            | ClientHeader::FetchEvent { .. }
            | ClientHeader::Announce { .. } => {}
        }
        answers.iter().map(|answer: &ReplicaFrame| self.link.seal(answer).into()).collect()
    }

    /// Echoes an operation. `publish N` publishes N events, whose payloads are their numbers, on
    /// every topic that is subscribed to.
    fn execute(&mut self, request: &Request, answers: &mut Vec<ReplicaFrame>) {
        let (session, cid) = (request.id.session, Cid(request.id.number));
        let result = match &request.operation {
            Operation::Execute(payload) | Operation::Query(payload) => {
                if let Some(count) = payload.strip_prefix(b"publish ") {
                    let count: u64 = std::str::from_utf8(count).unwrap().parse().unwrap();
                    self.publish(count, cid, answers);
                }
                ExecutionResult::Value(self.value(payload))
            }
            Operation::Subscribe(topic) => {
                let first = 10 * self.view.0;
                let last = self.topics.entry((session, topic.clone())).or_insert(first);
                ExecutionResult::Subscribed { next: *last + 1 }
            }
            Operation::Unsubscribe(topic) => {
                self.topics.remove(&(session, topic.clone()));
                ExecutionResult::Unsubscribed
            }
        };
        let body = Bytes::from(encode(&result));
        let header = ReplicaHeader::Reply {
            session,
            number: request.id.number,
            view: self.view,
            cid,
            digest: Digest::of(&body),
            full: true,
        };
        answers.push(Frame::new(header, body));
    }

    fn publish(&mut self, count: u64, cid: Cid, answers: &mut Vec<ReplicaFrame>) {
        for ((session, topic), last) in &mut self.topics {
            for _ in 0..count {
                *last += 1;
                let payload = match self.behaviour {
                    Behaviour::Lies => Bytes::from_static(b"lie"),
                    _ => last.to_string().into(),
                };
                let header = ReplicaHeader::Event {
                    session: *session,
                    topic: topic.clone(),
                    number: *last,
                    view: self.view,
                    cid,
                    digest: Digest::of(&payload),
                    full: true,
                };
                answers.push(Frame::new(header, payload));
            }
        }
    }

    fn value(&self, payload: &Bytes) -> Bytes {
        match self.behaviour {
            Behaviour::Lies => Bytes::from_static(b"lie"),
            _ => payload.clone(),
        }
    }
}
