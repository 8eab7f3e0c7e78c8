//! Locks as their users see them, between real processes: this test program starts itself again, and
//! [`child_process`] plays the part that an environment variable names.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{
        fs::{FileExt, PermissionsExt},
        process::ExitStatusExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::*;

const PART: &str = "SHMRPC_LOCK_TEST_PART";
/// For what should happen at once: long enough for a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// A name of this test alone, removed at the end.
struct TestName(String);

impl TestName {
    fn new(what: &str) -> Self {
        let name = format!("shmrpc_test_{what}_{}", std::process::id());
        let _leftover_of_a_pid_used_again = HybridLock::remove(&name);
        Self(name)
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/dev/shm/sem.{}", self.0))
    }

    fn lock(&self, mode: LockMode, initial_value: u32) -> Result<HybridLock, LockError> {
        HybridLock::new(&self.0, mode, initial_value, 0o600)
    }
}

impl Drop for TestName {
    fn drop(&mut self) {
        let _gone_already = HybridLock::remove(&self.0);
    }
}

/// A child that plays a part; killed and reaped at the end.
struct Player(Child);

impl Player {
    fn start(part: &str, args: &[&str]) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["shm::lock::tests::child_process", "--exact", "--nocapture", "--test-threads=1"])
            .env(PART, [&[part], args].concat().join(" "))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Reads up to a line that the part says; the test harness prints lines of its own before.
    fn expect(&mut self, line: &str) {
        let mut lines = BufReader::new(self.0.stdout.as_mut().unwrap()).lines();
        assert!(lines.any(|l| l.unwrap().ends_with(line)), "the child never said {line:?}");
    }

    fn finish(mut self) {
        let mut said = String::new();
        drop(self.0.stdin.take());
        self.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(self.0.wait().unwrap().success(), "{said}");
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _reaped_already = self.0.wait();
    }
}

fn say(line: &str) {
    println!("{line}");
    std::io::stdout().flush().unwrap();
}

/// Waits for the parent: it closes the pipe or kills us.
fn until_told() {
    let _end = std::io::stdin().read(&mut [0]);
}

#[test]
fn child_process() {
    let Ok(part) = std::env::var(PART) else { return };
    let words: Vec<&str> = part.split(' ').collect();
    let connect = || HybridLock::new(words[1], LockMode::ConnectToExisting, 1, 0o600).unwrap();
    match words[0] {
        "count" => {
            let (lock, file) = (connect(), counter(Path::new(words[2])));
            for _ in 0..10_000 {
                let guard = lock.lock_guard(PATIENCE).unwrap();
                assert_eq!(guard.acquired(), Acquired::Clean);
                increment(&file);
            }
        }
        "hold" => {
            connect().lock(PATIENCE).unwrap();
            say("held");
            until_told();
        }
        "exit" => {
            connect().lock(PATIENCE).unwrap();
        }
        "post" => connect().unlock().unwrap(),
        "churn" => {
            // No spin: the more moments in which a kill finds it asleep, waking or posting.
            let lock = connect().with_spin(Duration::ZERO);
            say("churning");
            while lock.lock_guard(PATIENCE).is_ok() {}
        }
        "permissions" => {
            let umask = nix::sys::stat::Mode::from_bits_truncate(words[2].parse().unwrap());
            nix::sys::stat::umask(umask);
            let lock = HybridLock::new(words[1], LockMode::CreateNewOverwrite, 1, 0o664).unwrap();
            lock.lock(PATIENCE).unwrap();
        }
        "endure" => {
            let lock = connect().with_spin(Duration::from_micros(2));
            say("enduring");
            for round in 0..300_u64 {
                let slices = Duration::from_micros(50 * (round % 100));
                let start = Instant::now();
                let _whatever = lock.lock(slices);
                // A sleep that nobody ends lasts its slice.
                assert!(start.elapsed() < PATIENCE, "{slices:?} lasted {:?}", start.elapsed());
                let _whatever = (lock.try_lock(), lock.unlock(), lock.owner());
            }
        }
        other => panic!("no part {other:?}"),
    }
}

fn counter(path: &Path) -> fs::File {
    fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

/// Reads, adds, writes: loses counts unless something keeps others out.
fn increment(file: &fs::File) {
    let mut bytes = [0; 8];
    let _empty_at_first = file.read_at(&mut bytes, 0).unwrap();
    file.write_all_at(&(u64::from_le_bytes(bytes) + 1).to_le_bytes(), 0).unwrap();
}

fn counted(file: &fs::File) -> u64 {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, 0).unwrap();
    u64::from_le_bytes(bytes)
}

#[test]
fn modes_find_make_replace_and_refuse() {
    let name = TestName::new("modes");
    let error = name.lock(LockMode::CONNECT_TO_EXISTING, 1).unwrap_err();
    assert!(matches!(&error, LockError::NoSuchSemaphore { name: n } if *n == name.0), "{error}");

    let first = name.lock(LockMode::CREATE_NEW_EXCLUSIVE, 1).unwrap();
    let error = name.lock(LockMode::CREATE_NEW_EXCLUSIVE, 1).unwrap_err();
    assert!(matches!(&error, LockError::SemaphoreExists { name: n } if *n == name.0), "{error}");
    assert!(error.to_string().contains(&name.0));

    // Connecting ignores the initial value: this is the same lock, and it is held.
    first.lock(PATIENCE).unwrap();
    for mode in [LockMode::CONNECT_OR_CREATE, LockMode::CONNECT_TO_EXISTING] {
        assert_eq!(name.lock(mode, 0).unwrap().try_lock().unwrap(), None);
    }

    let second = name.lock(LockMode::CREATE_NEW_OVERWRITE, 1).unwrap();
    assert_eq!(second.try_lock().unwrap(), Some(Acquired::Clean));
    first.unlock().unwrap();
    assert!(matches!(first.lock(PATIENCE), Err(LockError::Replaced { .. })));
    assert!(matches!(first.try_lock(), Err(LockError::Replaced { .. })));
    assert!(matches!(first.unlink(), Err(LockError::NoSuchSemaphore { .. })));
    second.unlink().unwrap();
    assert!(matches!(HybridLock::remove(&name.0), Err(LockError::NoSuchSemaphore { .. })));
    assert!(name.lock(LockMode::CONNECT_OR_CREATE, 1).unwrap().try_lock().unwrap().is_some());
}

#[test]
fn a_replaced_lock_wakes_all_its_waiters() {
    let name = TestName::new("replaced");
    let old = name.lock(LockMode::CreateNewExclusive, 1).unwrap();
    old.lock(PATIENCE).unwrap();
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..3).map(|_| scope.spawn(|| old.lock(PATIENCE))).collect();
        thread::sleep(Duration::from_millis(30));
        name.lock(LockMode::CreateNewOverwrite, 1).unwrap();
        for waiter in waiters {
            assert!(matches!(waiter.join().unwrap(), Err(LockError::Replaced { .. })));
        }
    });
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    for name in ["", "/", "a/b", "a\0b", &"x".repeat(201)] {
        let error = HybridLock::new(name, LockMode::ConnectOrCreate, 1, 0o600).unwrap_err();
        assert!(matches!(error, LockError::InvalidName { .. }), "{error}");
    }
    let name = TestName::new("invalid");
    assert!(matches!(
        name.lock(LockMode::ConnectOrCreate, 2),
        Err(LockError::InvalidInitialValue { value: 2, .. })
    ));
    let error = HybridLock::new(&name.0, LockMode::ConnectOrCreate, 1, 0o1777).unwrap_err();
    assert!(matches!(error, LockError::InvalidPermissions { .. }), "{error}");
    assert!(!name.path().exists());
}

#[test]
fn plain_semaphores_of_others_are_told_apart() {
    let name = TestName::new("foreign");
    fs::write(name.path(), [0; 32]).unwrap();
    for mode in [LockMode::ConnectToExisting, LockMode::ConnectOrCreate] {
        assert!(matches!(name.lock(mode, 1), Err(LockError::NotALock { .. })));
    }
    assert!(matches!(name.lock(LockMode::CreateNewExclusive, 1), Err(LockError::SemaphoreExists { .. })));
    name.lock(LockMode::CreateNewOverwrite, 1).unwrap().lock(PATIENCE).unwrap();
}

#[test]
fn the_semaphore_is_where_posix_looks_for_it() {
    let name = TestName::new("posix");
    let lock = name.lock(LockMode::CreateNewExclusive, 0).unwrap();
    let path = std::ffi::CString::new(format!("/{}", name.0)).unwrap();
    // SAFETY: a NUL-terminated name; no semaphore is created, so no further arguments are read.
    let semaphore = unsafe { libc::sem_open(path.as_ptr(), 0) };
    assert!(!std::ptr::eq(semaphore, libc::SEM_FAILED));
    lock.page().wake();
    // SAFETY: opened above and not yet closed.
    assert_eq!(unsafe { libc::sem_trywait(semaphore) }, 0);
    // SAFETY: opened above, closed once.
    assert_eq!(unsafe { libc::sem_close(semaphore) }, 0);
    // SAFETY: a NUL-terminated name.
    assert_eq!(unsafe { libc::sem_unlink(path.as_ptr()) }, 0);
    assert!(!name.path().exists());
}

/// Any process that may use a lock can write all of its page: others then lock wrongly, or not at all, but neither hang
/// nor end by it.
#[test]
fn a_scribbled_lock_ends_nobody() {
    let name = TestName::new("scribbled");
    let _lock = name.lock(LockMode::CreateNewExclusive, 1).unwrap();
    let file = fs::OpenOptions::new().write(true).open(name.path()).unwrap();
    let mut players = ["one", "other"].map(|_| Player::start("endure", &[&name.0]));
    players.iter_mut().for_each(|player| player.expect("enduring"));
    let mut random = 1_u64;
    let ends =
        |players: &mut [Player; 2]| players.iter_mut().all(|player| player.0.try_wait().unwrap().is_some());
    while !ends(&mut players) {
        for _ in 0..100 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let word = [0, 1, u64::MAX, random][(random >> 62) as usize];
            file.write_all_at(&word.to_ne_bytes(), (random >> 32) % 24 * 8).unwrap();
        }
        thread::sleep(Duration::from_micros(100));
    }
    players.into_iter().for_each(Player::finish);
}

#[test]
fn permissions_are_exact_whatever_the_umask() {
    for umask in ["63", "0"] {
        let name = TestName::new(&format!("umask{umask}"));
        Player::start("permissions", &[&name.0, umask]).finish();
        assert_eq!(fs::metadata(name.path()).unwrap().permissions().mode() & 0o777, 0o664);
    }
}

#[test]
fn timeouts_may_be_fractions_of_a_second() {
    let name = TestName::new("timeouts");
    let lock = name.lock(LockMode::CreateNewExclusive, 1).unwrap();
    lock.lock(None).unwrap();
    for timeout in [Duration::ZERO, Duration::from_micros(2), Duration::from_millis(12)] {
        let start = Instant::now();
        let error = lock.lock(timeout).unwrap_err();
        assert!(matches!(error, LockError::TimedOut { after, .. } if after == timeout), "{error}");
        assert!(start.elapsed() >= timeout);
    }
    lock.unlock().unwrap();
    lock.lock(Duration::from_micros(2)).unwrap();
    let sleeper = name.lock(LockMode::ConnectToExisting, 1).unwrap().with_spin(Duration::ZERO);
    assert!(matches!(sleeper.lock(Duration::from_micros(2)), Err(LockError::TimedOut { .. })));
}

#[test]
fn only_the_owner_unlocks() {
    let name = TestName::new("owner");
    let lock = name.lock(LockMode::CreateNewExclusive, 1).unwrap();
    assert!(matches!(lock.unlock(), Err(LockError::NotOwner { owner: None, .. })));
    let mut holder = Player::start("hold", &[&name.0]);
    holder.expect("held");
    let error = lock.unlock().unwrap_err();
    assert!(matches!(error, LockError::NotOwner { owner: Some(pid), .. } if pid == holder.0.id()), "{error}");
    assert_eq!(lock.owner(), Some(holder.0.id()));
    // The child owns what a thread of its own locks, and the parent nothing of it.
    assert_eq!(lock.try_lock().unwrap(), None);
}

#[test]
fn a_signal_is_posted_by_anybody_and_counts() {
    let name = TestName::new("signal");
    let signal = name.lock(LockMode::CreateNewExclusive, 0).unwrap();
    assert_eq!(signal.try_lock().unwrap(), None);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| signal.lock(PATIENCE));
        Player::start("post", &[&name.0]).finish();
        assert_eq!(waiter.join().unwrap().unwrap(), Acquired::Clean);
    });
    assert_eq!(signal.owner(), None);
    for _ in 0..3 {
        signal.unlock().unwrap();
    }
    for _ in 0..3 {
        assert_eq!(signal.try_lock().unwrap(), Some(Acquired::Clean));
    }
    assert_eq!(signal.try_lock().unwrap(), None);
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..4).map(|_| scope.spawn(|| signal.lock(PATIENCE))).collect();
        thread::sleep(Duration::from_millis(20));
        for _ in 0..4 {
            signal.unlock().unwrap();
        }
        assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap().is_ok()));
    });
}

#[test]
fn four_processes_exclude_each_other() {
    let name = TestName::new("exclusion");
    let lock = name.lock(LockMode::CreateNewExclusive, 1).unwrap();
    let path = std::env::temp_dir().join(&name.0);
    let file = counter(&path);
    let start = lock.lock_guard(PATIENCE).unwrap();
    let players: Vec<_> =
        (0..4).map(|_| Player::start("count", &[&name.0, path.to_str().unwrap()])).collect();
    drop(start);
    players.into_iter().for_each(Player::finish);
    fs::remove_file(&path).unwrap();
    assert_eq!(counted(&file), 40_000);
}

/// Plain memory: what the lock does not order, ThreadSanitizer reports.
struct Guarded(std::cell::UnsafeCell<u64>);

// SAFETY: touched only by whoever holds the lock under test.
unsafe impl Sync for Guarded {}

#[test]
fn threads_exclude_each_other() {
    for spin in [Duration::ZERO, Duration::from_micros(20)] {
        let name = TestName::new(&format!("threads{}", spin.as_micros()));
        // One handle: two mappings of one page are two places to ThreadSanitizer.
        let lock = name.lock(LockMode::CreateNewExclusive, 1).unwrap().with_spin(spin);
        let count = Guarded(std::cell::UnsafeCell::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                let (lock, count) = (&lock, &count);
                scope.spawn(move || {
                    for _ in 0..2_500 {
                        let _guard = lock.lock_guard(PATIENCE).unwrap();
                        // SAFETY: the guard keeps all others out.
                        unsafe { *count.0.get() += 1 };
                    }
                });
            }
        });
        assert_eq!(count.0.into_inner(), 10_000);
    }
}

#[test]
fn the_lock_of_a_killed_holder_is_recovered() {
    let name = TestName::new("killed");
    let lock = name.lock(LockMode::CreateNewExclusive, 1).unwrap();
    let mut holder = Player::start("hold", &[&name.0]);
    holder.expect("held");
    thread::scope(|scope| {
        let waiter = scope.spawn(|| lock.lock(PATIENCE));
        thread::sleep(Duration::from_millis(30));
        // Not reaped before the waiter has the lock: a zombie is dead.
        holder.0.kill().unwrap();
        assert_eq!(waiter.join().unwrap().unwrap(), Acquired::Recovered);
    });
    assert_eq!(holder.0.wait().unwrap().signal(), Some(libc::SIGKILL));
    lock.unlock().unwrap();
    assert_eq!(lock.lock(PATIENCE).unwrap(), Acquired::Clean);
}

#[test]
fn kills_at_any_moment_stop_nobody_else() {
    let name = TestName::new("churn");
    let lock = name.lock(LockMode::CreateNewExclusive, 1).unwrap();
    let churn = || {
        let mut player = Player::start("churn", &[&name.0]);
        player.expect("churning");
        player
    };
    let mut players = [churn(), churn(), churn()];
    for round in 0..40 {
        let player = &mut players[round % 3];
        player.0.kill().unwrap();
        drop(lock.lock_guard(PATIENCE).unwrap());
        *player = churn();
    }
    drop(players);
    drop(lock.lock_guard(PATIENCE).unwrap());
    assert_eq!(lock.try_lock().unwrap(), Some(Acquired::Clean));
}

#[test]
fn a_holder_that_exits_is_recovered_without_waiting() {
    let name = TestName::new("exited");
    let lock = name.lock(LockMode::CreateNewExclusive, 1).unwrap();
    Player::start("exit", &[&name.0]).finish();
    assert_eq!(lock.try_lock().unwrap(), Some(Acquired::Recovered));
    assert_eq!(lock.owner(), Some(std::process::id()));
}

#[test]
fn a_stopped_holder_is_not_dead() {
    let name = TestName::new("stopped");
    let lock = name.lock(LockMode::CreateNewExclusive, 1).unwrap();
    let mut holder = Player::start("hold", &[&name.0]);
    holder.expect("held");
    let pid = nix::unistd::Pid::from_raw(holder.0.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    let error = lock.lock(Duration::from_millis(150)).unwrap_err();
    assert!(matches!(error, LockError::TimedOut { .. }), "{error}");
}

#[test]
fn stray_posts_give_nobody_the_lock() {
    let name = TestName::new("stray");
    let lock = name.lock(LockMode::CreateNewExclusive, 1).unwrap();
    lock.lock(PATIENCE).unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| lock.lock(PATIENCE));
        for _ in 0..20 {
            lock.page().wake();
            thread::sleep(Duration::from_millis(1));
            assert!(!waiter.is_finished());
        }
        lock.unlock().unwrap();
        assert_eq!(waiter.join().unwrap().unwrap(), Acquired::Clean);
    });
}
