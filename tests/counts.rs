//! What a raw call through shared memory costs, in counts that do not depend on the machine's mood: system calls, of
//! which there are none while both sides are awake, and instructions, of which there is an upper bound.
//!
//! Client and worker are threads of one process, which this program runs and traces (`ptrace`). The tracer counts
//! into memory that it shares with the traced process, each system call before it is made and each instruction of the
//! thread that wants its own counted. A program of its own, since its waiting would take other tests' children.
#![allow(unsafe_code, reason = "shared words, and a child that asks to be traced")]

use std::{
    collections::HashSet,
    fs::OpenOptions,
    num::NonZeroUsize,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicI32, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use nix::{
    sys::{
        mman::{MapFlags, ProtFlags, mmap},
        ptrace::{self, Options},
        signal::Signal,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, getppid, gettid},
};
use shmrpc::{
    ConnectOptions, Definition, Door, ServeOptions, Serving,
    client::Pending,
    method::MethodInfo,
    raw_method,
    server::{Loan, LoanError, ShmBytes},
    service,
};

/// Of the client and the worker together, for one of a few calls of 64 bytes. What is built without optimisation takes
/// six times as many; the bounds are a tenth to a sixth above what was counted when they were set.
const MOST_INSTRUCTIONS: u64 = if cfg!(debug_assertions) { 28_000 } else { 4_600 };

/// What tracer and traced share.
#[derive(Default)]
#[repr(C)]
struct Words {
    system_calls: AtomicU64,
    instructions: AtomicU64,
    /// The thread whose instructions are counted, or 0.
    stepped: AtomicI32,
}

impl Words {
    fn map(file: &Path) -> &'static Self {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(file);
        let file = file.expect("the shared file");
        file.set_len(size_of::<Self>() as u64).expect("it can be sized");
        let len = NonZeroUsize::new(size_of::<Self>()).expect("there are words");
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping of an open file, at no given address.
        let at =
            unsafe { mmap(None, len, access, MapFlags::MAP_SHARED, &file, 0) }.expect("it can be mapped");
        // SAFETY: mapped for the life of the process, zeroes at first, and only used through atomics.
        unsafe { at.cast().as_ref() }
    }

    /// This thread's instructions are counted from here on.
    fn step(&self) {
        self.stepped.store(gettid().as_raw(), SeqCst);
        // The tracer finds out when we next stop.
        let _ = getppid();
    }

    fn step_no_more(&self) {
        self.stepped.store(0, SeqCst);
    }
}

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(file) if Path::new(&file).is_absolute() => be_traced(Words::map(Path::new(&file))),
        _ => trace(),
    }
}

/// Runs this program again and counts.
fn trace() -> ExitCode {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("words");
    let words = Words::map(&file);
    let mut traced = Command::new(std::env::current_exe().expect("our own path"));
    traced.arg(&file);
    // SAFETY: one plain system call between fork and exec.
    unsafe { traced.pre_exec(|| Ok(ptrace::traceme()?)) };
    let traced = Pid::from_raw(traced.spawn().expect("it starts").id().cast_signed());
    let mut in_system_call = HashSet::new();
    let mut known = false;
    loop {
        let status = waitpid(Pid::from_raw(-1), Some(WaitPidFlag::__WALL)).expect("it is our child");
        let mut signal = None;
        match status {
            WaitStatus::Exited(pid, code) if pid == traced => return ExitCode::from(code as u8),
            WaitStatus::Signaled(pid, signal, _) if pid == traced => panic!("it died of {signal}"),
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => continue,
            WaitStatus::Stopped(pid, Signal::SIGTRAP) if !known => {
                let options = Options::PTRACE_O_TRACESYSGOOD
                    | Options::PTRACE_O_TRACECLONE
                    | Options::PTRACE_O_EXITKILL;
                ptrace::setoptions(pid, options).expect("it is traced");
                known = true;
            }
            WaitStatus::Stopped(_, Signal::SIGTRAP) => {
                words.instructions.fetch_add(1, SeqCst);
            }
            // A thread that has just been made.
            WaitStatus::Stopped(_, Signal::SIGSTOP) => {}
            WaitStatus::Stopped(_, other) => signal = Some(other),
            WaitStatus::PtraceSyscall(pid) => {
                if in_system_call.insert(pid) {
                    words.system_calls.fetch_add(1, SeqCst);
                } else {
                    in_system_call.remove(&pid);
                }
            }
            _ => {}
        }
        let Some(pid) = status.pid() else { continue };
        // A thread may be gone meanwhile: then there is nothing to resume.
        let _gone = if words.stepped.load(SeqCst) == pid.as_raw() {
            in_system_call.remove(&pid);
            ptrace::step(pid, signal)
        } else {
            ptrace::syscall(pid, signal)
        };
    }
}

struct Echo {
    words: &'static Words,
    handled: AtomicU64,
    /// Calls of `held` end when so many have been let go.
    let_go: AtomicU64,
}

#[service(name = "counted_calls", port = 5595)]
impl Echo {
    #[raw_method]
    fn copied(&self, data: ShmBytes<'_>, reply: Loan<'_>) -> Result<(), LoanError> {
        self.handled.fetch_add(1, SeqCst);
        reply.copy_from(data)
    }

    /// Occupies the only thread until it is let go, and counts the instructions of what the thread does next until
    /// the next such call.
    #[raw_method]
    fn held(&self, _data: ShmBytes<'_>, _reply: Loan<'_>) -> Result<(), LoanError> {
        self.words.step_no_more();
        let number = self.handled.fetch_add(1, SeqCst) + 1;
        while self.let_go.load(SeqCst) < number {
            std::hint::spin_loop();
        }
        self.words.step();
        Ok(())
    }
}

const BATCH: u32 = 200;
const DEADLINE: Duration = Duration::from_secs(60);

/// The traced process: both sides.
fn be_traced(words: &'static Words) -> ExitCode {
    let folder = tempfile::tempdir().expect("a folder");
    let echo = Arc::new(Echo { words, handled: AtomicU64::new(0), let_go: AtomicU64::new(0) });
    let mut options = ServeOptions::default();
    options.runtime_dir = Some(folder.path().join("run"));
    options.threads = 1;
    let serving = Serving::start(Arc::<Echo>::clone(&echo), options).expect("the service starts");
    let mut options = ConnectOptions::default();
    options.runtime_dir = Some(folder.path().join("run"));
    let client = EchoBlockingClient::connect_with("shm://", &options).expect("it is found");

    let fewest = fewest_system_calls(words, &client);
    println!("{fewest} system calls in {BATCH} calls while both sides were awake");
    let (of_client, of_worker) = instructions(&echo, &client);
    println!(
        "{of_client} instructions of the client a call, {of_worker} of the worker; the bound is {MOST_INSTRUCTIONS}"
    );
    drop(client);
    drop(serving);
    let failed = u8::from(fewest > 0) + u8::from(of_client + of_worker > MOST_INSTRUCTIONS);
    println!(
        "test result: {}. {} passed; {failed} failed",
        if failed == 0 { "ok" } else { "FAILED" },
        2 - failed
    );
    ExitCode::from(failed)
}

/// Whoever is kept from running for a while sleeps, and ticks come and go: one batch in many has to be without.
fn fewest_system_calls(words: &Words, client: &EchoBlockingClient) -> u64 {
    let (method, message) = (method("copied"), [7; 64]);
    let mut reply = Vec::with_capacity(message.len());
    let (until, mut fewest) = (Instant::now() + DEADLINE, u64::MAX);
    while fewest > 0 && Instant::now() < until {
        let before = words.system_calls.load(SeqCst);
        for _ in 0..BATCH {
            let called =
                client.connection().call_raw_into_blocking::<LoanError>(method, &message, &mut reply);
            assert!(called.is_ok() && reply == message);
        }
        fewest = fewest.min(words.system_calls.load(SeqCst) - before);
    }
    fewest
}

/// Instructions a call: of the client, that begins many while the worker is occupied and takes their answers when all
/// are there, and of the worker, that finds them waiting.
fn instructions(echo: &Echo, client: &EchoBlockingClient) -> (u64, u64) {
    // Few enough to lie in two rings, beside those that occupy the worker: it takes them in the order in which they were begun.
    const CALLS: u64 = 12;
    let words = echo.words;
    let begin =
        |name| client.connection().begin(method(name).into(), Door::Native, &[7; 64]).expect("there is room");
    let await_handled = |count| {
        let until = Instant::now() + DEADLINE;
        while echo.handled.load(SeqCst) < count {
            assert!(Instant::now() < until, "the worker handles {count} calls");
        }
    };
    // A first round makes rings and fills caches of memory; the second counts.
    let mut counted = (0, 0);
    for _ in 0..2 {
        let first = echo.handled.load(SeqCst);
        let mut taken = vec![begin("held")];
        await_handled(first + 1);
        let mut pending: Vec<Pending> = Vec::with_capacity(CALLS as usize);
        let before = words.instructions.load(SeqCst);
        words.step();
        for _ in 0..CALLS {
            pending.push(begin("copied"));
        }
        words.step_no_more();
        let begun = words.instructions.load(SeqCst);
        taken.push(begin("held"));
        echo.let_go.store(first + 1, SeqCst);
        await_handled(first + CALLS + 2);
        let handled = words.instructions.load(SeqCst);
        words.step();
        for call in pending {
            assert_eq!(call.wait().expect("it is answered").body, [7; 64]);
        }
        words.step_no_more();
        let all = words.instructions.load(SeqCst);
        counted = ((begun - before + all - handled) / CALLS, (handled - begun) / CALLS);
        echo.let_go.store(u64::MAX, SeqCst);
        // Its thread is stepped on until somebody says otherwise.
        taken.into_iter().for_each(|call| drop(call.wait()));
        words.step_no_more();
        echo.let_go.store(first + CALLS + 2, SeqCst);
    }
    counted
}

fn method(name: &str) -> &'static MethodInfo {
    let methods = <EchoBlockingClient as Definition>::INFO.methods;
    methods.iter().find(|method| method.name == name).expect("the service has it")
}
