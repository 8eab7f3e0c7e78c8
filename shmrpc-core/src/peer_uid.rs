//! Whose process is at the other end of a connection over loopback: the kernel says which uid owns the
//! peer's socket, asked directly (`diag`) or, where it cannot be, by reading its table of sockets. Used
//! by the TCP gateway and by the web side; it decides nothing.

mod diag;

use std::{
    fs,
    io::{self, BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// The uid that owns the socket at `peer` of a connection whose end here is `local`; `None` if no live
/// socket of this network namespace is at that end.
///
/// # Errors
/// When neither way works.
pub fn of_connection(peer: SocketAddr, local: SocketAddr) -> io::Result<Option<u32>> {
    let (peer, local) = (canonical(peer), canonical(local));
    diag::ask(peer, local).or_else(|_no_such_service| look_up(peer, local))
}

/// As [`of_connection`], from the table of all sockets.
fn look_up(peer: SocketAddr, local: SocketAddr) -> io::Result<Option<u32>> {
    let wanted = (peer, local);
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        let file = match fs::File::open(table) {
            Ok(file) => file,
            // A kernel without IPv6 has no second table.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for line in BufReader::new(file).lines().skip(1) {
            if let Some(uid) = owner(&line?, wanted) {
                return Ok(Some(uid));
            }
        }
    }
    Ok(None)
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The uid of a row, if it is the wanted connection seen from the peer's end. Sockets that no process
/// holds any more (inode 0: closed, waiting) are listed as root's and do not count.
fn owner(row: &str, (peer, local): (SocketAddr, SocketAddr)) -> Option<u32> {
    let mut fields = row.split_ascii_whitespace().skip(1);
    let its_local = parse_address(fields.next()?)?;
    let its_remote = parse_address(fields.next()?)?;
    if (its_local, its_remote) != (peer, local) {
        return None;
    }
    // state, queues, timer, retransmissions, then uid, timeout, inode
    let uid = fields.nth(4)?.parse().ok()?;
    let inode: u64 = fields.nth(1)?.parse().ok()?;
    (inode != 0).then_some(uid)
}

/// `0100007F:15B3`: words of the address in the machine's byte order, the port in hexadecimal.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok();
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?.to_ne_bytes())),
        32 => {
            let mut bytes = [0; 16];
            for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(at)?.to_ne_bytes());
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(canonical(SocketAddr::new(ip, port)))
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        time::{Duration, Instant},
    };

    use super::*;

    #[test]
    fn our_own_connections_are_ours() {
        for address in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                println!("no {address} on this machine");
                continue;
            };
            let to = SocketAddr::new(
                if address.starts_with("127") || address.starts_with("[::]") {
                    IpAddr::V4(Ipv4Addr::LOCALHOST)
                } else {
                    IpAddr::V6(Ipv6Addr::LOCALHOST)
                },
                listener.local_addr().unwrap().port(),
            );
            let client = TcpStream::connect(to).unwrap();
            let (server, peer) = listener.accept().unwrap();
            let (peer, local) = (canonical(peer), canonical(server.local_addr().unwrap()));
            let own = Some(nix::unistd::getuid().as_raw());
            assert_eq!(of_connection(peer, local).unwrap(), own, "over {address}");
            assert_eq!(look_up(peer, local).unwrap(), own, "in the table, over {address}");
            match diag::ask(peer, local) {
                Ok(uid) => assert_eq!(uid, own, "asked, over {address}"),
                Err(error) => println!("no sock_diag on this machine: {error}"),
            }
            drop(client);
            // A process that another test is about to start may still have it, until its `exec`.
            let until = Instant::now() + Duration::from_secs(10);
            while of_connection(peer, local).unwrap().is_some() && Instant::now() < until {}
            assert_eq!(of_connection(peer, local).unwrap(), None, "of a closed socket");
            assert_eq!(look_up(peer, local).unwrap(), None, "of a closed socket, in the table");
        }
    }

    #[test]
    fn rows_are_read_as_the_kernel_writes_them() {
        let row = "   5: 0100007F:A1B2 0100007F:15B3 01 00000000:00000000 00:00000000 00000000  1000        0 4242 1";
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(owner(row, (at(0xa1b2), at(0x15b3))), Some(1000));
        assert_eq!(owner(row, (at(0x15b3), at(0xa1b2))), None);
        assert_eq!(owner(&row.replace("4242", "0"), (at(0xa1b2), at(0x15b3))), None);
        assert_eq!(owner("nonsense", (at(1), at(2))), None);
    }
}
