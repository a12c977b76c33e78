use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use socket2::{Domain, Protocol, Socket, Type};

use super::diagnostics::Diagnostics;
use super::{Watch, report};

const HERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn mptcp_socket() -> Option<Socket> {
    match Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP)) {
        Ok(socket) => Some(socket),
        Err(error) => {
            println!("skipped: no Multipath TCP: {error}");
            None
        }
    }
}

fn mptcp_listener() -> Option<TcpListener> {
    let socket = mptcp_socket()?;
    socket.bind(&HERE.into()).unwrap();
    socket.listen(1).unwrap();
    Some(socket.into())
}

fn connect(to: SocketAddr) -> TcpStream {
    let socket = mptcp_socket().unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

#[test]
fn a_connection_has_one_subflow_at_first_and_counts_its_bytes() {
    let Some(listener) = mptcp_listener() else {
        return;
    };
    let mut client = connect(listener.local_addr().unwrap());
    let (mut server, _) = listener.accept().unwrap();
    server.write_all(b"hello").unwrap();
    client.read_exact(&mut [0; 5]).unwrap();
    let (local, peer) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    let found = report(local, peer).expect("a report");
    assert!(!found.fallback);
    let [first] = &found.subflows[..] else {
        panic!("{found:?}");
    };
    assert_eq!((first.local, first.peer), (local, peer));
    assert_eq!(first.bytes_received, 5);
    assert_eq!(first.interface.as_deref(), Some("lo"));
}

#[test]
fn a_connection_to_a_server_without_multipath_tcp_is_reported_as_fallback() {
    if mptcp_socket().is_none() {
        return;
    }
    let listener = TcpListener::bind(HERE).unwrap();
    let client = connect(listener.local_addr().unwrap());
    let (_server, _) = listener.accept().unwrap();
    let found = report(client.local_addr().unwrap(), client.peer_addr().unwrap());
    let found = found.expect("a report");
    assert!(found.fallback);
    assert_eq!(found.subflows.len(), 1);
}

#[test]
fn a_tcp_connection_has_no_report() {
    let listener = TcpListener::bind(HERE).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert_eq!(
        report(client.local_addr().unwrap(), client.peer_addr().unwrap()),
        None
    );
}

#[test]
fn subflows_of_other_connections_are_not_listed() {
    let Some(listener) = mptcp_listener() else {
        return;
    };
    let to = listener.local_addr().unwrap();
    let (one, other) = (connect(to), connect(to));
    for client in [one, other] {
        let (local, peer) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let found = report(local, peer).expect("a report");
        assert_eq!(found.subflows.len(), 1);
        assert_eq!(found.subflows[0].local, local);
    }
}

#[test]
fn a_connection_that_was_found_is_looked_up_again_without_a_search() {
    let Some(listener) = mptcp_listener() else {
        return;
    };
    let mut client = connect(listener.local_addr().unwrap());
    let (mut server, _) = listener.accept().unwrap();
    let peer = server.peer_addr().unwrap();
    for local in [None, Some(server.local_addr().unwrap())] {
        client.write_all(b"hello").unwrap();
        server.read_exact(&mut [0; 5]).unwrap();
        let mut diagnostics = Diagnostics::open().unwrap();
        let found = diagnostics.snapshot(local, peer).unwrap().expect("a state");
        client.write_all(b"again").unwrap();
        server.read_exact(&mut [0; 5]).unwrap();
        let again = diagnostics
            .snapshot_again(&found)
            .expect("the same subflow");
        assert_eq!(
            diagnostics.snapshot(local, peer).unwrap(),
            Some(again.clone())
        );
        assert_eq!(again.received, found.received + 5);
        let [first, again] = [&found, &again].map(|state| state.subflows[0].bytes_received);
        assert_eq!(again, first + 5);
    }
}

#[test]
fn a_connection_whose_subflows_may_have_changed_is_searched_for() {
    let Some(listener) = mptcp_listener() else {
        return;
    };
    let client = connect(listener.local_addr().unwrap());
    let (local, peer) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    let mut diagnostics = Diagnostics::open().unwrap();
    let found = diagnostics.snapshot(Some(local), peer).unwrap();
    let found = found.expect("a state");
    let changed = |change: fn(&mut super::Snapshot)| {
        let mut changed = found.clone();
        change(&mut changed);
        changed
    };
    for other in [
        changed(|state| state.token = !state.token),
        changed(|state| state.subflows.push(state.subflows[0].clone())),
        changed(|state| state.subflows[0].local.set_port(1)),
        changed(|state| state.subflows.clear()),
    ] {
        assert_eq!(diagnostics.snapshot_again(&other), None, "{other:?}");
    }
    let mut watch = Watch::new(Some(local), peer);
    for _ in 0..2 {
        assert_eq!(watch.read().unwrap().as_ref(), Some(&found));
    }
    drop((client, listener));
    assert_eq!(diagnostics.snapshot_again(&found), None);
}
