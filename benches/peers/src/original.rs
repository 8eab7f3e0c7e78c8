//! What the Python original took on the same kind of machine: absolute figures, taken elsewhere, which therefore are
//! only reported beside ours.

/// One of its cases: which of our rows does the same, and what the original took, p50 in microseconds: the commit that
/// we began from and its newest, over shared memory and over TCP, and a pipe of Python's multiprocessing.
pub struct Case {
    pub title: &'static str,
    pub shm_row: &'static str,
    pub tcp_row: &'static str,
    pub shm_us: [f64; 2],
    pub tcp_us: [f64; 2],
    pub pipe_us: Option<f64>,
    /// How many times faster we want to be over shared memory, where we said so.
    pub wanted: Option<f64>,
}

pub const CASES: [Case; 5] = [
    Case {
        title: "raw 64 B",
        shm_row: "shmrpc/one/64/pinned",
        tcp_row: "shmrpc TCP/one/64/pinned",
        shm_us: [6.0, 5.6],
        tcp_us: [41.0, 72.0],
        pipe_us: Some(33.0),
        wanted: Some(15.0),
    },
    Case {
        title: "raw 4 KiB",
        shm_row: "shmrpc/one/4096/pinned",
        tcp_row: "shmrpc TCP/one/4096/pinned",
        shm_us: [8.4, 6.6],
        tcp_us: [48.0, 87.0],
        pipe_us: Some(40.0),
        wanted: None,
    },
    Case {
        title: "raw 1 MiB",
        shm_row: "shmrpc/one/1048576/pinned",
        tcp_row: "shmrpc TCP/one/1048576/pinned",
        shm_us: [1637.0, 1374.0],
        tcp_us: [804.0, 2882.0],
        pipe_us: Some(2967.0),
        wanted: Some(5.0),
    },
    Case {
        title: "json, about 70 B",
        shm_row: "shmrpc json small/one/64/pinned",
        tcp_row: "shmrpc TCP json small/one/64/pinned",
        shm_us: [21.0, 18.0],
        tcp_us: [69.0, 113.0],
        pipe_us: Some(65.0),
        wanted: None,
    },
    Case {
        title: "msgpack, small",
        shm_row: "shmrpc msgpack small/one/64/pinned",
        tcp_row: "shmrpc TCP msgpack small/one/64/pinned",
        shm_us: [11.0, 10.0],
        tcp_us: [53.0, 94.0],
        pipe_us: None,
        wanted: None,
    },
];
