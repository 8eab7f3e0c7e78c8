//! Whatever parses bytes of a peer, as functions of bytes: one target each, for the coverage-guided fuzzer in
//! `fuzz/` and for the plain tests in `shmrpc-supervisor/tests/fuzz`, which share them.
//!
//! A target must come to an end, soon, with any bytes, and ask for no more memory than the limits allow; what
//! it checks beside that is said at each. Only built with the feature `fuzzing`; no part of the interface.

mod frames;
mod regions;
mod values;

/// One parser.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, in the fuzzer's and the tests' words.
    pub name: &'static str,
    /// Parses; panics if something is wrong with the parser.
    pub run: fn(&[u8]),
    /// Inputs that are right, to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// The targets of this crate.
pub const TARGETS: &[Target] = &[
    Target { name: "tcp_frames", run: frames::tcp_frames, seeds: frames::tcp_seeds },
    Target { name: "handshake", run: frames::handshake, seeds: frames::handshake_seeds },
    Target { name: "snappy", run: frames::snappy, seeds: frames::snappy_seeds },
    Target { name: "session", run: frames::session, seeds: frames::session_seeds },
    Target { name: "endpoint", run: frames::endpoint, seeds: frames::endpoint_seeds },
    Target { name: "json", run: values::json, seeds: values::json_seeds },
    Target { name: "msgpack", run: values::msgpack, seeds: values::msgpack_seeds },
    Target { name: "bincode", run: values::bincode, seeds: values::bincode_seeds },
    Target { name: "raw", run: values::raw, seeds: values::raw_seeds },
    Target { name: "channel", run: regions::channel, seeds: regions::channel_seeds },
    Target { name: "board", run: regions::board, seeds: regions::board_seeds },
    Target { name: "arena", run: regions::arena, seeds: regions::arena_seeds },
    Target { name: "counters", run: regions::counters, seeds: regions::counters_seeds },
    Target { name: "attach", run: regions::attach, seeds: regions::attach_seeds },
    Target {
        name: "link_message",
        run: crate::transport::shm::fuzzing::link_message,
        seeds: crate::transport::shm::fuzzing::link_seeds,
    },
    Target {
        name: "directory",
        run: crate::transport::shm::fuzzing::directory,
        seeds: crate::transport::shm::fuzzing::directory_seeds,
    },
];

/// Takes numbers off the front of an input, which decide what a target does with the rest.
#[derive(Debug)]
pub(crate) struct Script<'a>(pub(crate) &'a [u8]);

impl Script<'_> {
    /// The next byte; zero at the end.
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// The next eight bytes, or what is left of them.
    pub(crate) fn word(&mut self) -> u64 {
        (0..8).fold(0, |word, _| word << 8 | u64::from(self.byte()))
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
