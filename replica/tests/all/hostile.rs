//! Links that misbehave: each closes itself and nothing else.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::{Group, PATIENCE, exchange, get};
use bytes::Bytes;
use tungstenite::{Message, WebSocket};
use webbft_client::{Client, Config};
use webbft_protocol::auth::{ClientHandshake, ClientIdentity, ClientLink};
use webbft_protocol::wire::{
    ClientHeader, Frame, HelloRefusal, ReplicaHeader, ServerHello, decode,
};

type Socket = WebSocket<TcpStream>;

fn web_socket(group: &Group) -> Socket {
    let stream = TcpStream::connect(group.address(0)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    tungstenite::client(group.view.members[0].url.as_str(), stream).unwrap().0
}

fn hello(group: &Group) -> (Socket, ClientLink) {
    let mut socket = web_socket(group);
    let identity = ClientIdentity::from_secret([1; 32]);
    let (handshake, hello) = ClientHandshake::begin(&group.view, 0, &identity, [2; 32]);
    socket.send(Message::Binary(hello.into())).unwrap();
    let Message::Binary(answer) = socket.read().unwrap() else { panic!("no answer") };
    let (link, _welcome) = handshake.finish(&answer).unwrap();
    (socket, link)
}

fn ping(link: &mut ClientLink, nonce: u64) -> Vec<u8> {
    link.seal(&Frame::bare(ClientHeader::Ping { nonce }))
}

/// The replica closes this link; no frame of the protocol comes first.
fn assert_closed(mut socket: Socket) {
    loop {
        match socket.read() {
            Ok(Message::Binary(bytes)) => panic!("an answer of {} bytes", bytes.len()),
            Ok(_) => {}
            Err(tungstenite::Error::Io(error))
                if error.kind() == std::io::ErrorKind::WouldBlock =>
            {
                panic!("the link stays open")
            }
            Err(_) => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_link_closes_itself_only() {
    let group = Group::start(1, None);
    let innocent = Client::connect(Config::new(group.view.clone())).await.unwrap();
    let innocent_goes_on = async || {
        let reply = innocent.invoke(r#"{"op":"get","key":"a"}"#).await.unwrap();
        assert_eq!(reply.result, Bytes::from_static(br#"{"ok":{"value":null}}"#));
    };
    innocent_goes_on().await;

    // Garbage in place of a hello: a refusal, then the end.
    let mut socket = web_socket(&group);
    socket.send(Message::Binary(Bytes::from_static(&[0xff; 40]))).unwrap();
    let Message::Binary(answer) = socket.read().unwrap() else { panic!("no refusal") };
    assert_eq!(decode(&answer), Ok(ServerHello::Refused(HelloRefusal::Key)));
    assert_closed(socket);

    // Text.
    let (mut socket, _) = hello(&group);
    socket.send(Message::text("hello")).unwrap();
    assert_closed(socket);

    // A wrong MAC, and a frame that comes twice.
    let (mut socket, mut link) = hello(&group);
    let mut frame = ping(&mut link, 1);
    *frame.last_mut().unwrap() ^= 1;
    socket.send(Message::Binary(frame.into())).unwrap();
    assert_closed(socket);
    let (mut socket, mut link) = hello(&group);
    let frame = Bytes::from(ping(&mut link, 7));
    socket.send(Message::Binary(frame.clone())).unwrap();
    let Message::Binary(pong) = socket.read().unwrap() else { panic!("no pong") };
    let pong = link.open(&pong).unwrap();
    assert!(matches!(pong.header, ReplicaHeader::Pong { nonce: 7, .. }), "{pong:?}");
    socket.send(Message::Binary(frame)).unwrap();
    assert_closed(socket);

    // Shorter than a MAC, empty, cut short in the middle of a WebSocket frame.
    for bytes in [&[][..], &[0, 0], &[1; 33]] {
        let (mut socket, _) = hello(&group);
        socket.send(Message::Binary(Bytes::copy_from_slice(bytes))).unwrap();
        assert_closed(socket);
    }
    let (mut socket, _) = hello(&group);
    socket.get_mut().write_all(&[0x82, 0xfe, 0x10, 0x00, 1, 2, 3, 4, 5]).unwrap();
    socket.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
    assert_closed(socket);

    // A WebSocket frame that announces 16 MiB, one that is not masked, a reserved opcode.
    let announced = [0x82, 0xff, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    for bytes in [&announced[..], &[0x82, 0x01, 0x00], &[0x83, 0x80, 0, 0, 0, 0]] {
        let (mut socket, _) = hello(&group);
        socket.get_mut().write_all(bytes).unwrap();
        assert_closed(socket);
    }
    innocent_goes_on().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_nonsense_and_slow_handshakes_end() {
    let group = Group::start(1, None);
    let address = group.address(0);
    let innocent = Client::connect(Config::new(group.view.clone())).await.unwrap();
    assert!(get(address, "/ws").starts_with("HTTP/1.0 426 "));
    let bad_key = b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n";
    assert!(exchange(address, bad_key).starts_with(b"HTTP/1.1 400 "));
    assert!(exchange(address, &[0x16, 3, 1, 2, 0, 1]).starts_with(b"HTTP/1.1 400 "));
    // Half a request, half a link, no byte at all: each ends after handshake_seconds.
    exchange(address, b"GET /ws HTTP/1.1\r\nHost:");
    let mut silent = web_socket(&group);
    assert_closed_stream(silent.get_mut());
    // And at the peers' port: nonsense, and TLS that goes no further.
    let peers = group.daemons[0].as_ref().unwrap().peer_address();
    exchange(peers, b"GET / HTTP/1.1\r\n\r\n");
    innocent.invoke(r#"{"op":"get","key":"a"}"#).await.unwrap();
}

fn assert_closed_stream(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("stays open"),
        _ => {}
    }
}

/// Whoever asks without reading the answers is not read any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_slowed_not_buffered() {
    let group = Group::start(1, None);
    let innocent = Client::connect(Config::new(group.view.clone())).await.unwrap();
    let (mut socket, _link) = hello(&group);
    let flood = tokio::task::spawn_blocking(move || {
        // Masked pings with 125 bytes, each of which is answered.
        let mut ping = vec![0x89, 0x80 | 125, 0, 0, 0, 0];
        ping.resize(6 + 125, b'x');
        let burst = ping.repeat(500);
        let stream = socket.get_mut();
        stream.set_write_timeout(Some(Duration::from_secs(3))).unwrap();
        let mut sent = 0;
        // Far more than the buffers of both sockets and of the replica.
        while sent < 256 << 20 {
            match stream.write(&burst[sent % ping.len()..]) {
                Ok(count) => sent += count,
                Err(_) => return sent,
            }
        }
        panic!("the replica reads on and on");
    });
    while !flood.is_finished() {
        innocent.invoke(r#"{"op":"get","key":"a"}"#).await.unwrap();
    }
    flood.await.unwrap();
}
