//! Clients' links on HTTP, spoken byte by byte.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::support::{Group, PATIENCE, exchange, get, wait_for_status};
use bytes::Bytes;
use data_encoding::BASE64;
use webbft_client::{Client, Config};
use webbft_protocol::auth::{ClientHandshake, ClientIdentity, ClientLink};
use webbft_protocol::membership::{Cid, SessionId};
use webbft_protocol::wire::limits::MAX_CLIENT_FRAME;
use webbft_protocol::wire::{
    ClientFrame, ClientHeader, Frame, HelloRefusal, Operation, ReplicaFrame, ReplicaHeader,
    Request, RequestId, ServerHello, Welcome, decode,
};

/// A link, from its first event on.
struct Link {
    address: SocketAddr,
    /// 32 hexadecimal digits.
    name: String,
    head: String,
    response: BufReader<TcpStream>,
}

/// Bytes of a POST's body.
fn body(frames: &[&[u8]]) -> Vec<u8> {
    let prefixed = frames.iter().flat_map(|frame| {
        let prefix = u32::try_from(frame.len()).unwrap().to_be_bytes();
        prefix.into_iter().chain(frame.iter().copied())
    });
    prefixed.collect()
}

fn post_head(name: &str, len: usize) -> String {
    // HTTP/1.0: the connection is closed after the answer.
    format!("POST /http/{name} HTTP/1.0\r\nHost: x\r\nContent-Length: {len}\r\n\r\n")
}

/// Posts a body; gives the whole answer.
fn post(address: SocketAddr, name: &str, body: &[u8]) -> String {
    let mut request = post_head(name, body.len()).into_bytes();
    request.extend_from_slice(body);
    String::from_utf8(exchange(address, &request)).unwrap()
}

/// The number of the answer's status.
fn status(answer: &str) -> &str {
    assert!(answer.to_lowercase().contains("access-control-allow-origin: *"), "{answer}");
    answer.split(' ').nth(1).unwrap()
}

/// Asks until it is so.
fn wait_until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never so");
    }
}

impl Link {
    fn open(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // HTTP/1.0, so that the body is not chunked.
        stream.write_all(b"GET /http HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
        let mut response = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(response.read_line(&mut head).unwrap(), 0, "{head}");
        }
        let mut link = Self { address, name: String::new(), head, response };
        let (event, name) = link.event().unwrap();
        assert_eq!((event.as_str(), name.len()), ("link", 32));
        link.name = name;
        link
    }

    /// The kind and the data of the next event; `None` at the end of the link.
    fn event(&mut self) -> Option<(String, String)> {
        let (mut kind, mut data) = (String::new(), None);
        loop {
            let mut line = String::new();
            match self.response.read_line(&mut line) {
                Ok(0) => return None,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                result => result.unwrap(),
            };
            // Cut off within a line where the link was cut.
            let line = line.strip_suffix('\n')?;
            match line.split_once(": ") {
                Some(("event", text)) => text.clone_into(&mut kind),
                Some(("data", text)) => data = Some(text.to_owned()),
                // A comment.
                Some(("", _)) => {}
                Some(_) => panic!("{line:?}"),
                None => {
                    assert_eq!(line, "");
                    if let Some(data) = data {
                        return Some((kind, data));
                    }
                }
            }
        }
    }

    fn frame(&mut self) -> Vec<u8> {
        let (kind, data) = self.event().expect("a frame");
        assert_eq!(kind, "");
        BASE64.decode(data.as_bytes()).unwrap()
    }

    fn post(&self, frames: &[&[u8]]) -> String {
        post(self.address, &self.name, &body(frames))
    }

    fn hello(&mut self, group: &Group) -> (ClientLink, Welcome) {
        let identity = ClientIdentity::from_secret([1; 32]);
        let (handshake, hello) = ClientHandshake::begin(&group.view, 0, &identity, [2; 32]);
        assert_eq!(status(&self.post(&[&hello])), "204");
        let (keys, welcome) = handshake.finish(&self.frame()).unwrap();
        (keys, welcome.into_inner())
    }

    fn receive(&mut self, link: &mut ClientLink) -> ReplicaFrame {
        link.open(&Bytes::from(self.frame())).unwrap().into_inner()
    }

    /// The link is over, without another frame.
    fn assert_ended(&mut self) {
        assert_eq!(self.event(), None);
        let answer = self.post(&[&[1]]);
        assert_eq!(status(&answer), "404", "{answer}");
    }
}

fn query(nonce: u64) -> ClientFrame {
    let header = ClientHeader::Query { nonce, min_cid: Cid(0), full: true };
    Frame::new(header, Bytes::from_static(br#"{"op":"get","key":"a"}"#))
}

#[test]
fn calls_go_over_http() {
    let group = Group::start(1, None);
    let address = group.address(0);
    let mut link = Link::open(address);
    for header in [
        "HTTP/1.0 200 OK",
        "content-type: text/event-stream; charset=utf-8",
        "cache-control: no-store, no-transform",
        "x-accel-buffering: no",
        "access-control-allow-origin: *",
    ] {
        assert!(link.head.contains(header), "{header}: {}", link.head);
    }
    let (mut keys, welcome) = link.hello(&group);

    // Two frames in one POST are answered in order.
    let ping = keys.seal(&Frame::bare(ClientHeader::Ping { nonce: 7 }));
    let asked = keys.seal(&query(8));
    let answer = link.post(&[&ping, &asked]);
    assert_eq!(status(&answer), "204");
    assert!(answer.contains("keep-alive: timeout=1"), "{answer}");
    let pong = link.receive(&mut keys).header;
    assert!(matches!(pong, ReplicaHeader::Pong { nonce: 7, .. }), "{pong:?}");
    let answer = link.receive(&mut keys);
    assert!(matches!(answer.header, ReplicaHeader::QueryReply { nonce: 8, .. }), "{answer:?}");
    assert_eq!(answer.body, Bytes::from_static(br#"{"ok":{"value":null}}"#));

    // An ordered request.
    let client = ClientIdentity::from_secret([1; 32]).id();
    let request = Request {
        service: group.view.service,
        id: RequestId { client, session: SessionId([3; 16]), number: 1 },
        born: welcome.time,
        operation: Operation::Execute(Bytes::from_static(br#"{"op":"put","key":"a","value":"1"}"#)),
    };
    let request = Frame::new(ClientHeader::Request { full: true }, request.encode());
    assert_eq!(status(&link.post(&[&keys.seal(&request)])), "204");
    let reply = link.receive(&mut keys);
    assert!(
        matches!(reply.header, ReplicaHeader::Reply { number: 1, cid: Cid(1), .. }),
        "{reply:?}"
    );

    // Links are counted by their kind, and end with their response.
    wait_for_status(address, |status| status["clientLinks"]["http"] == 1);
    let metrics = get(address, "/metrics");
    assert!(metrics.contains("\nwebbft_client_links{transport=\"http\"} 1\n"), "{metrics}");
    assert!(metrics.contains("\nwebbft_client_links{transport=\"websocket\"} 0\n"), "{metrics}");
    let (name, response) = (link.name, link.response);
    drop(response);
    wait_for_status(address, |status| status["clients"] == 0);
    assert_eq!(status(&post(address, &name, &body(&[&[1]]))), "404");
}

#[test]
fn what_is_wrong_with_a_request_is_said() {
    let group = Group::start(1, None);
    let address = group.address(0);
    let link = Link::open(address);
    let name = link.name.as_str();
    let long = u32::MAX.to_be_bytes();
    let body = |bytes: &[u8]| post(address, name, bytes);
    for (answer, expected, text) in [
        (post(address, &"0".repeat(32), &[0, 0, 0, 1, 7]), "404", "there is no such link"),
        (post(address, "0", &[0, 0, 0, 1, 7]), "404", "there is no such link"),
        (post(address, "%ff", &[0, 0, 0, 1, 7]), "400", "Invalid"),
        (body(&[]), "400", "the body is empty"),
        (body(&[0, 0, 0]), "400", "the body ends within the frame at byte 0"),
        (body(&[0, 0, 0, 1, 7, 0, 0, 0, 2, 7]), "400", "the body ends within the frame at byte 5"),
        (body(&[0, 0, 0, 0]), "400", "the frame at byte 0 is empty"),
        (body(&long), "413", "announced with 4294967295 bytes"),
    ] {
        assert_eq!(status(&answer), expected, "{answer}");
        assert!(answer.contains("content-type: text/plain"), "{answer}");
        assert!(answer.split_once("\r\n\r\n").unwrap().1.contains(text), "{answer}");
    }
    // Too long as announced, and too long as it turns out.
    let head = post_head(name, MAX_CLIENT_FRAME + 5);
    let answer = String::from_utf8(exchange(address, head.as_bytes())).unwrap();
    assert_eq!(status(&answer), "413");
    let mut chunked = format!(
        "POST /http/{name} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
        MAX_CLIENT_FRAME + 5
    )
    .into_bytes();
    chunked.resize(chunked.len() + MAX_CLIENT_FRAME + 5, 0);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&chunked).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");

    for (request, expected, header) in [
        ("PUT /http".to_owned(), "405", "allow: GET, HEAD, OPTIONS"),
        (format!("GET /http/{name}"), "405", "allow: POST, OPTIONS"),
        ("OPTIONS /http".to_owned(), "204", "access-control-allow-methods: GET"),
        (format!("OPTIONS /http/{name}"), "204", "access-control-allow-methods: POST"),
        // Without a response there is no link.
        ("HEAD /http".to_owned(), "200", "content-type: text/event-stream"),
    ] {
        let request = format!("{request} HTTP/1.0\r\nHost: x\r\n\r\n");
        let answer = String::from_utf8(exchange(address, request.as_bytes())).unwrap();
        assert_eq!(status(&answer), expected, "{request}");
        assert!(answer.contains(header), "{answer}");
    }
    // None of that has ended the link, or opened one.
    wait_for_status(address, |status| status["clientLinks"]["http"] == 1);
}

#[test]
fn posts_come_one_at_a_time() {
    let group = Group::start(1, None);
    let address = group.address(0);
    let mut link = Link::open(address);
    let (mut keys, _) = link.hello(&group);
    let ping = body(&[&keys.seal(&Frame::bare(ClientHeader::Ping { nonce: 1 }))]);

    let mut slow = TcpStream::connect(address).unwrap();
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    slow.write_all(post_head(&link.name, ping.len()).as_bytes()).unwrap();
    slow.write_all(&ping[..10]).unwrap();
    // Until the replica has seen the first, the second is judged by itself.
    wait_until(|| status(&post(address, &link.name, &[])) == "409");
    assert_eq!(status(&link.post(&[&[7; 40]])), "409");
    slow.write_all(&ping[10..]).unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert_eq!(status(&answer), "204");
    assert!(matches!(link.receive(&mut keys).header, ReplicaHeader::Pong { nonce: 1, .. }));

    // One that is given up half-way leaves no trace.
    let mut lost = TcpStream::connect(address).unwrap();
    lost.write_all(post_head(&link.name, ping.len()).as_bytes()).unwrap();
    lost.write_all(&ping[..10]).unwrap();
    wait_until(|| status(&post(address, &link.name, &[])) == "409");
    drop(lost);
    wait_until(|| status(&post(address, &link.name, &[])) == "400");
    let ping = keys.seal(&Frame::bare(ClientHeader::Ping { nonce: 2 }));
    assert_eq!(status(&link.post(&[&ping])), "204");
    assert!(matches!(link.receive(&mut keys).header, ReplicaHeader::Pong { nonce: 2, .. }));
}

#[test]
fn bad_frames_and_silence_end_a_link() {
    let group = Group::start(1, None);
    let address = group.address(0);

    // Garbage in place of a hello: a refusal, then the end.
    let mut link = Link::open(address);
    assert_eq!(status(&link.post(&[&[0xff; 40]])), "204");
    assert_eq!(decode(&link.frame()), Ok(ServerHello::Refused(HelloRefusal::Key)));
    link.assert_ended();

    // A wrong MAC, a frame that comes twice, and one that is none.
    let mut link = Link::open(address);
    let (mut keys, _) = link.hello(&group);
    let mut ping = keys.seal(&Frame::bare(ClientHeader::Ping { nonce: 1 }));
    *ping.last_mut().unwrap() ^= 1;
    link.post(&[&ping]);
    link.assert_ended();
    let mut link = Link::open(address);
    let (mut keys, _) = link.hello(&group);
    let ping = keys.seal(&Frame::bare(ClientHeader::Ping { nonce: 1 }));
    link.post(&[&ping]);
    link.receive(&mut keys);
    link.post(&[&ping]);
    link.assert_ended();
    let mut link = Link::open(address);
    link.hello(&group);
    link.post(&[&[0]]);
    link.assert_ended();

    // No hello within handshake_seconds.
    let mut link = Link::open(address);
    link.assert_ended();
    wait_for_status(address, |status| status["clients"] == 0);
}

/// A link is a connection like any other, from the accept to the end.
#[test]
fn links_are_limited_and_give_their_places_back() {
    let group = Group::start_with(1, None, "max_links_per_address = 5\n");
    let address = group.address(0);
    let mut links: Vec<_> = (0..5).map(|_| Link::open(address)).collect();
    assert_eq!(exchange(address, b"GET /healthz HTTP/1.0\r\n\r\n"), b"");
    // None of them says hello in time.
    for link in &mut links {
        assert_eq!(link.event(), None);
    }
    wait_until(|| {
        exchange(address, b"GET /healthz HTTP/1.0\r\n\r\n").starts_with(b"HTTP/1.0 200 ")
    });
    wait_for_status(address, |status| status["clients"] == 0);
}

#[test]
fn a_replica_that_stops_ends_its_links() {
    let mut group = Group::start(1, None);
    let mut link = Link::open(group.address(0));
    link.hello(&group);
    group.stop(0);
    assert_eq!(link.event(), None);
}

/// Whoever asks without reading the answers has to wait, and is cut off if it is too much.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_not_read_are_bounded() {
    let group = Group::start(1, None);
    let address = group.address(0);
    let innocent = Client::connect(Config::new(group.view.clone())).await.unwrap();
    let value = "v".repeat(60 << 10);
    let put = format!(r#"{{"op":"put","key":"a","value":"{value}"}}"#);
    innocent.invoke(put).await.unwrap();

    // Little by little: a POST is not answered until something is read.
    let mut link = Link::open(address);
    let (mut keys, _) = link.hello(&group);
    let mut asked = 0;
    let mut waiting = loop {
        let frame = body(&[&keys.seal(&query(asked))]);
        let mut request = post_head(&link.name, frame.len()).into_bytes();
        request.extend_from_slice(&frame);
        asked += 1;
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        stream.write_all(&request).unwrap();
        let mut answer = [0; 12];
        match stream.read_exact(&mut answer) {
            Ok(()) => assert_eq!(&answer, b"HTTP/1.0 204"),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break stream,
            Err(error) => panic!("{error}"),
        }
        assert!(asked < 4000, "the replica reads on and on");
    };
    assert_eq!(status(&link.post(&[&[1]])), "409");
    innocent.invoke(r#"{"op":"get","key":"a"}"#).await.unwrap();
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    for nonce in 0..asked {
        let answer = link.receive(&mut keys).header;
        assert!(matches!(answer, ReplicaHeader::QueryReply { nonce: got, .. } if got == nonce));
    }
    let mut answer = [0; 12];
    waiting.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.0 204");

    // All at once: more than may wait for one client.
    let frames: Vec<_> = (0..400).map(|nonce| keys.seal(&query(nonce))).collect();
    let frames: Vec<_> = frames.iter().map(Vec::as_slice).collect();
    link.post(&frames);
    wait_for_status(address, |status| status["clientLinks"]["http"] == 0);
    // The connection is ended too, though nothing was read from it.
    while link.event().is_some() {}
    innocent.invoke(r#"{"op":"get","key":"a"}"#).await.unwrap();
}
