//! Which user is at the other end of a loopback connection: looked up in the kernel's table of TCP
//! sockets (`/proc/net/tcp`, `/proc/net/tcp6`), where the peer's own socket stands with its owner's uid.
//!
//! Blocking, and as long as the table: call it once a connection, off the async threads.

use std::{
    fs,
    io::{self, BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// The uid that owns the peer's socket of the connection `local` ↔ `remote`, both on this machine.
/// `None`: no such socket is there (any more), or nobody holds it.
///
/// # Errors
/// When the kernel's tables cannot be read.
pub fn peer_uid(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<u32>> {
    // An IPv6 socket may carry an IPv4 connection, so both tables are searched for both families.
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let file = match fs::File::open(table) {
            Ok(file) => file,
            // A kernel without IPv6 has no second table.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if let Some(uid) = owner_in_table(BufReader::new(file), remote, local)? {
            return Ok(Some(uid));
        }
    }
    Ok(None)
}

/// The owner of the socket whose own address is `local` and whose peer is `remote`.
fn owner_in_table(table: impl BufRead, local: SocketAddr, remote: SocketAddr) -> io::Result<Option<u32>> {
    let (local, remote) = (canonical(local), canonical(remote));
    for line in table.lines().skip(1) {
        if let Some(row) = Row::parse(&line?)
            && row.is_held
            && row.local == local
            && row.remote == remote
        {
            return Ok(Some(row.uid));
        }
    }
    Ok(None)
}

struct Row {
    local: SocketAddr,
    remote: SocketAddr,
    uid: u32,
    /// Some process holds it. The kernel reports uid 0 for sockets without a holder (those closed, in
    /// TIME_WAIT or not accepted yet): believing that would take anybody for root.
    is_held: bool,
}

impl Row {
    /// `sl local remote state tx:rx tr:when retransmits uid timeout inode …`
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace().skip(1);
        let local = parse_address(words.next()?)?;
        let remote = parse_address(words.next()?)?;
        let uid = words.nth(4)?.parse().ok()?;
        let inode: u64 = words.nth(1)?.parse().ok()?;
        Some(Self { local, remote, uid, is_held: inode != 0 })
    }
}

/// `0100007F:1423`: the address as native-endian words in hexadecimal, then the port.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |index: usize| {
        let digits = address.get(index * 8..index * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (index, chunk) in octets.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(index)?);
            }
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some(canonical(SocketAddr::new(ip, port)))
}

/// IPv4 addresses in IPv6 clothes become IPv4; flow and scope are dropped.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1423 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1
   1: 0100007F:9C40 0100007F:1423 01 00000000:00000000 00:00000000 00000000  1001        0 4243 1
   2: 0100007F:9C41 0100007F:1423 06 00000000:00000000 03:000017F5 00000000     0        0 0 3
   3: 0100007F:1423 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 4244 1
   4: 0000000000000000FFFF00000100007F:9C42 0000000000000000FFFF00000100007F:1423 01 00000000:00000000 00:00000000 00000000  1002        0 4245 1
   5: broken
";

    fn owner(client: &str) -> Option<u32> {
        owner_in_table(TABLE.as_bytes(), client.parse().unwrap(), "127.0.0.1:5155".parse().unwrap()).unwrap()
    }

    #[test]
    fn the_clients_row_counts_not_the_servers() {
        assert_eq!(owner("127.0.0.1:40000"), Some(1001));
    }

    #[test]
    fn a_socket_without_holder_has_no_owner() {
        assert_eq!(owner("127.0.0.1:40001"), None);
    }

    #[test]
    fn mapped_addresses_are_the_same_connection() {
        assert_eq!(owner("127.0.0.1:40002"), Some(1002));
        assert_eq!(owner("[::ffff:127.0.0.1]:40002"), Some(1002));
    }

    #[test]
    fn strangers_have_no_owner() {
        assert_eq!(owner("127.0.0.1:40003"), None);
    }

    #[test]
    fn our_own_connections_are_ours() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, remote) = listener.accept().unwrap();
            let found = peer_uid(server.local_addr().unwrap(), remote).unwrap();
            assert_eq!(found, Some(nix::unistd::geteuid().as_raw()));
            drop(client);
        }
    }
}
