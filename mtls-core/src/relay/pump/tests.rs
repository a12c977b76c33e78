//! Pumps between pipes in memory, and between sockets.

use std::sync::Arc;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::timeout;

use super::flow::CHUNK;
use super::*;

const PIPE: usize = 4096;
const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn peer_that_never_reads_costs_one_chunk_and_stops_its_sender() {
    let (mut client, mut client_end) = duplex(PIPE);
    let (_server, mut server_end) = duplex(PIPE);
    let counters = Counters::default();
    let pipes = Pipes::new(0);
    let context = PumpContext {
        counters: &counters,
        pipes: &pipes,
        idle: HOUR,
    };
    let pump = Pump::new(Vec::new(), Vec::new());
    let pumping = pump.run(&mut client_end, &mut server_end, context);
    let mut taken = 0;
    let mut stalled = 0;
    let flooding = async {
        while stalled < 100 {
            let write = client.write(&[7; PIPE]);
            tokio::select! {
                biased;
                written = write => { taken += written.expect("a pipe"); stalled = 0; }
                () = yield_now() => stalled += 1,
            }
        }
    };
    tokio::select! {
        end = pumping => panic!("{end:?}"),
        () = flooding => {}
    }
    assert!(taken >= 2 * PIPE, "{taken}");
    assert!(taken <= 2 * PIPE + CHUNK, "{taken}");
    assert_eq!(counters.to_server.load(Ordering::Relaxed), PIPE as u64);
}

#[tokio::test]
async fn what_was_read_before_leads_and_half_closes_pass() {
    let (mut client, mut client_end) = duplex(PIPE);
    let (mut server, mut server_end) = duplex(PIPE);
    let counters = Counters::default();
    let pipes = Pipes::new(0);
    let context = PumpContext {
        counters: &counters,
        pipes: &pipes,
        idle: HOUR,
    };
    let pump = Pump::new(b"one ".to_vec(), b"three ".to_vec());
    let pumping = pump.run(&mut client_end, &mut server_end, context);
    let ends = async {
        client.write_all(b"two").await.expect("a pipe");
        client.shutdown().await.expect("a pipe");
        let mut asked = String::new();
        server.read_to_string(&mut asked).await.expect("a pipe");
        server.write_all(b"four").await.expect("a pipe");
        server.shutdown().await.expect("a pipe");
        let mut answered = String::new();
        client.read_to_string(&mut answered).await.expect("a pipe");
        (asked, answered)
    };
    let (end, (asked, answered)) = tokio::join!(pumping, ends);
    assert_eq!(end, PumpEnd::Closed);
    assert_eq!((&*asked, &*answered), ("one two", "three four"));
    assert_eq!(counters.total(), 17);
}

#[tokio::test(start_paused = true)]
async fn tunnel_ends_when_both_ends_were_silent_for_too_long() {
    let (mut client, mut client_end) = duplex(PIPE);
    let (mut server, mut server_end) = duplex(PIPE);
    let counters = Counters::default();
    let begun = tokio::time::Instant::now();
    let pipes = Pipes::new(0);
    let context = PumpContext {
        counters: &counters,
        pipes: &pipes,
        idle: HOUR,
    };
    let pump = Pump::new(Vec::new(), Vec::new());
    let pumping = pump.run(&mut client_end, &mut server_end, context);
    let ends = async {
        tokio::time::sleep(HOUR / 2).await;
        client.write_all(b"x").await.expect("a pipe");
        server.read_u8().await.expect("a byte")
    };
    let (end, _) = tokio::join!(pumping, ends);
    assert_eq!(end, PumpEnd::Idle);
    assert_eq!(begun.elapsed().as_secs(), 2 * HOUR.as_secs());
}

/// Both ends' sockets, and the relay's in between.
struct Sockets {
    client: TcpStream,
    client_end: TcpStream,
    server_end: TcpStream,
    server: TcpStream,
}

impl Sockets {
    async fn new() -> Self {
        Self::of([tcp_pair().await, tcp_pair().await])
    }

    fn of([(client, client_end), (server_end, server)]: [(TcpStream, TcpStream); 2]) -> Self {
        Self {
            client,
            client_end,
            server_end,
            server,
        }
    }
}

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let to = listener.local_addr().expect("an address");
    let (near, far) = tokio::join!(TcpStream::connect(to), listener.accept());
    (near.expect("a connection"), far.expect("a connection").0)
}

/// A connection over Multipath TCP; `None` where the system has none.
async fn mptcp_pair() -> Option<(TcpStream, TcpStream)> {
    let socket = || {
        let kind = Type::STREAM.nonblocking();
        let socket = Socket::new(Domain::IPV4, kind, Some(Protocol::MPTCP)).ok()?;
        Some(TcpSocket::from_std_stream(socket.into()))
    };
    let (listening, connecting) = (socket()?, socket()?);
    let any = "127.0.0.1:0".parse().expect("an address");
    listening.bind(any).expect("a port");
    let listener = listening.listen(1).expect("a listener");
    let to = listener.local_addr().expect("an address");
    let (near, far) = tokio::join!(connecting.connect(to), listener.accept());
    let (near, far) = (near.expect("a connection"), far.expect("a connection").0);
    let protocol = SockRef::from(&far).protocol().expect("a socket");
    assert_eq!(protocol, Some(Protocol::MPTCP));
    Some((near, far))
}

/// Relays in a task, with so many pipes.
fn relay(
    mut client_end: TcpStream,
    mut server_end: TcpStream,
    pipes: &Arc<Pipes>,
) -> JoinHandle<PumpEnd> {
    let pipes = Arc::clone(pipes);
    tokio::spawn(async move {
        let counters = Counters::default();
        let context = PumpContext {
            counters: &counters,
            pipes: &pipes,
            idle: HOUR,
        };
        let pump = Pump::new(Vec::new(), Vec::new());
        pump.run(&mut client_end, &mut server_end, context).await
    })
}

/// Bytes of which each is known by its place.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 251) as u8).collect()
}

/// Writes until nothing has been taken for a while; how much was.
async fn flood(stream: &mut TcpStream) -> usize {
    let bytes = vec![7; CHUNK];
    let mut taken = 0;
    let pause = Duration::from_secs(1);
    while let Ok(written) = timeout(pause, stream.write(&bytes)).await {
        taken += written.expect("a connection");
    }
    taken
}

#[tokio::test]
async fn bulk_arrives_whole_with_pipes_and_without() {
    for limit in [0, 1, 64] {
        let pipes = bulk(Sockets::new().await, limit).await;
        assert!(pipes <= limit, "{pipes}");
        assert_eq!(pipes > 0, limit > 0, "bulk takes the pipes it can");
    }
}

#[tokio::test]
async fn bulk_of_multipath_tcp_is_spliced_at_each_end_too() {
    for [client, server] in [[true, false], [false, true], [true, true]] {
        let pair = |mptcp| async move {
            match mptcp {
                true => mptcp_pair().await,
                false => Some(tcp_pair().await),
            }
        };
        let (Some(client), Some(server)) = (pair(client).await, pair(server).await) else {
            println!("skipped: no Multipath TCP");
            return;
        };
        let pipes = bulk(Sockets::of([client, server]), 64).await;
        assert!(pipes > 0, "bulk takes pipes");
    }
}

/// Moves bytes in bulk both ways; the number of pipes that were opened.
async fn bulk(sockets: Sockets, limit: usize) -> usize {
    let Sockets {
        mut client,
        client_end,
        server_end,
        mut server,
    } = sockets;
    let pipes = Arc::new(Pipes::new(limit));
    let pumping = relay(client_end, server_end, &pipes);
    let sent = pattern(8 << 20);
    let upload = async {
        client.write_all(&sent).await.expect("a connection");
        client.shutdown().await.expect("a connection");
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.expect("an answer");
        answer
    };
    let echo = async {
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.expect("a connection");
        server.write_all(&got).await.expect("a connection");
        server.shutdown().await.expect("a connection");
        got
    };
    let (answer, got) = tokio::join!(upload, echo);
    assert!(got == sent, "the upload arrived changed");
    assert!(answer == sent, "the download arrived changed");
    assert_eq!(pumping.await.expect("an end"), PumpEnd::Closed);
    pipes.open()
}

#[tokio::test]
async fn small_messages_need_no_pipe() {
    let Sockets {
        mut client,
        client_end,
        server_end,
        mut server,
    } = Sockets::new().await;
    let pipes = Arc::new(Pipes::new(64));
    let _pumping = relay(client_end, server_end, &pipes);
    let mut byte = [0];
    for expected in 0..100 {
        client.write_all(&[expected]).await.expect("a connection");
        server.read_exact(&mut byte).await.expect("a connection");
        assert_eq!(byte, [expected]);
    }
    assert_eq!(pipes.open(), 0);
}

#[tokio::test]
async fn pieces_of_every_size_keep_their_order() {
    let Sockets {
        mut client,
        client_end,
        server_end,
        mut server,
    } = Sockets::new().await;
    let pipes = Arc::new(Pipes::new(2));
    let pumping = relay(client_end, server_end, &pipes);
    let sent = pattern(6 << 20);
    let sending = async {
        let sizes = [1, 200_000, 1, 17, 300_000, 2, 1_400, 64 * 1024, 1 << 20];
        let mut rest = &sent[..];
        for size in sizes.into_iter().cycle() {
            let (now, later) = rest.split_at(size.min(rest.len()));
            client.write_all(now).await.expect("a connection");
            rest = later;
            if rest.is_empty() {
                break;
            }
            yield_now().await;
        }
        client.shutdown().await.expect("a connection");
    };
    let receiving = async {
        let mut got = Vec::new();
        let mut buffer = vec![0; 100_000];
        // Slow at times, so that pipes stay full.
        for turn in 0.. {
            let part = if turn % 7 == 0 { 1 } else { buffer.len() };
            match server
                .read(&mut buffer[..part])
                .await
                .expect("a connection")
            {
                0 => break,
                read => got.extend_from_slice(&buffer[..read]),
            }
            if turn % 50 == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        server.shutdown().await.expect("a connection");
        got
    };
    let ((), got) = tokio::join!(sending, receiving);
    assert!(
        got == sent,
        "{} of {} bytes, or changed",
        got.len(),
        sent.len()
    );
    assert_eq!(pumping.await.expect("an end"), PumpEnd::Closed);
}

#[tokio::test]
async fn receivers_that_never_read_hold_the_pipes_and_others_still_pass() {
    let pipes = Arc::new(Pipes::new(2));
    let mut stalled = Vec::new();
    for _ in 0..3 {
        let mut sockets = Sockets::new().await;
        let pumping = relay(sockets.client_end, sockets.server_end, &pipes);
        let taken = flood(&mut sockets.client).await;
        // Four socket buffers of a few MiB at most, and what the relay holds.
        assert!(taken < 64 << 20, "{taken}");
        stalled.push((sockets.client, sockets.server, pumping));
    }
    assert_eq!(pipes.open(), 2);
    let mut sockets = Sockets::new().await;
    let _pumping = relay(sockets.client_end, sockets.server_end, &pipes);
    let sent = pattern(4 << 20);
    let mut got = vec![0; sent.len()];
    let (wrote, read) = tokio::join!(
        sockets.client.write_all(&sent),
        sockets.server.read_exact(&mut got)
    );
    wrote.expect("a connection");
    read.expect("a connection");
    assert!(got == sent, "arrived changed");
    // A tunnel that ends with its pipe full gives the place back.
    for (client, server, pumping) in stalled {
        abort(&server);
        drop((client, server));
        assert!(matches!(
            pumping.await.expect("an end"),
            PumpEnd::Broken { .. }
        ));
    }
    assert_eq!(pipes.open(), 0);
}

#[tokio::test]
async fn data_that_an_end_sends_before_its_reset_is_delivered_although_it_accepts_none() {
    for unread in [1, 1 << 20] {
        let (mut client, mut client_end) = duplex(1 << 20);
        let (mut server_end, mut server) = tcp_pair().await;
        client.write_all(&vec![7; unread]).await.expect("a pipe");
        let response = b"HTTP/1.1 413 Content Too Large\r\n\r\n";
        server.write_all(response).await.expect("a connection");
        abort(&server);
        drop(server);
        let counters = Counters::default();
        let pipes = Pipes::new(8);
        let context = PumpContext {
            counters: &counters,
            pipes: &pipes,
            idle: HOUR,
        };
        let pump = Pump::new(Vec::new(), Vec::new());
        let end = pump.run(&mut client_end, &mut server_end, context).await;
        assert_eq!(end, PumpEnd::Broken { by: Role::Server });
        drop(client_end);
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.expect("a pipe");
        assert_eq!(received, response, "{unread}");
    }
}

#[tokio::test]
async fn reset_by_either_end_resets_the_other() {
    for (limit, by) in [
        (0, Role::Client),
        (8, Role::Client),
        (0, Role::Server),
        (8, Role::Server),
    ] {
        let mut sockets = Sockets::new().await;
        let pipes = Arc::new(Pipes::new(limit));
        let pumping = relay(sockets.client_end, sockets.server_end, &pipes);
        let sent = pattern(1 << 20);
        let mut got = vec![0; sent.len()];
        let (wrote, read) = tokio::join!(
            sockets.client.write_all(&sent),
            sockets.server.read_exact(&mut got)
        );
        wrote.expect("a connection");
        read.expect("a connection");
        let (breaks, mut stays) = match by {
            Role::Client => (sockets.client, sockets.server),
            Role::Server => (sockets.server, sockets.client),
        };
        abort(&breaks);
        drop(breaks);
        let error = stays.read(&mut got).await.expect_err("a reset");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        assert_eq!(pumping.await.expect("an end"), PumpEnd::Broken { by });
    }
}

#[tokio::test]
async fn reset_after_a_half_close_reaches_the_other_too() {
    for by in [Role::Client, Role::Server] {
        let sockets = Sockets::new().await;
        let pumping = relay(
            sockets.client_end,
            sockets.server_end,
            &Arc::new(Pipes::new(1)),
        );
        let (mut breaks, mut stays) = match by {
            Role::Client => (sockets.client, sockets.server),
            Role::Server => (sockets.server, sockets.client),
        };
        breaks.shutdown().await.expect("a connection");
        assert_eq!(stays.read(&mut [0]).await.expect("the end"), 0);
        abort(&breaks);
        drop(breaks);
        assert_eq!(pumping.await.expect("an end"), PumpEnd::Broken { by });
        let error = async {
            loop {
                if let Err(error) = stays.write(&[0]).await {
                    return error;
                }
                yield_now().await;
            }
        };
        let error = timeout(HOUR, error).await.expect("soon");
        let reset = std::io::ErrorKind::ConnectionReset;
        assert!([reset, std::io::ErrorKind::BrokenPipe].contains(&error.kind()));
    }
}
