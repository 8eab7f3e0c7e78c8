//! The directory of a folder of its own, as several processes would use it.

use std::{os::fd::AsRawFd, time::Instant};

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept, bind, listen};

use super::*;

fn scratch(name: &str) -> (std::path::PathBuf, Directory) {
    let path = std::env::temp_dir().join(format!("shmrpc-test-{}-{name}", std::process::id()));
    let dir = Arc::new(RuntimeDir::open(&path).unwrap());
    (path, Directory::new(dir))
}

fn entry(id: u64) -> Entry {
    Entry {
        role: Role::Client,
        service: "echo_serv".into(),
        id,
        node: format!("{id:032x}"),
        process: ProcessStamp::current(),
        board: 0,
    }
}

fn listener(path: &Path) -> OwnedFd {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let listener = nix::sys::socket::socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
    bind(listener.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    listen(&listener, Backlog::new(1).unwrap()).unwrap();
    listener
}

#[test]
fn it_grows_and_leaves_nothing() {
    let (path, directory) = scratch("grows");
    for id in 1..=150 {
        directory.publish(&entry(id)).unwrap();
    }
    assert_eq!(directory.entries().unwrap().len(), 150);
    let segment = directory.segment_name().unwrap();
    directory.withdraw((1..=150).collect()).unwrap();
    assert!(directory.entries().unwrap().is_empty());
    assert!(!std::path::Path::new("/dev/shm").join(segment).exists());
    std::fs::remove_dir(&path).unwrap();
}

#[test]
fn who_joins_is_told_of_the_workers_of_his_service() {
    let (path, directory) = scratch("joins");
    let worker =
        |id: u64, service: &str| Entry { role: Role::Worker, service: service.into(), board: 3, ..entry(id) };
    // There is no segment at first, then a free slot, and now and then none.
    assert_eq!(directory.join(&entry(1)).unwrap(), []);
    directory.publish(&worker(2, "echo_serv")).unwrap();
    directory.publish(&worker(3, "worker")).unwrap();
    assert_eq!(directory.join(&entry(4)).unwrap(), [worker(2, "echo_serv")]);
    for id in 5..=150 {
        assert_eq!(directory.join(&entry(id)).unwrap(), [worker(2, "echo_serv")]);
    }
    assert_eq!(directory.entries().unwrap().len(), 150);
    directory.withdraw((1..=150).collect()).unwrap();
    std::fs::remove_dir(&path).unwrap();
}

#[test]
fn a_change_shows_at_a_look() {
    let (path, directory) = scratch("look");
    assert_eq!(directory.look(), None);
    directory.publish(&entry(1)).unwrap();
    let before = directory.look();
    assert!(before.is_some());
    assert_eq!(directory.look(), before);
    // Times of files may be as coarse as a tick of the kernel.
    std::thread::sleep(Duration::from_millis(20));
    directory.publish(&entry(2)).unwrap();
    assert_ne!(directory.look(), before);
    directory.withdraw(vec![1, 2]).unwrap();
    assert_eq!(directory.look(), None);
    std::fs::remove_dir(&path).unwrap();
}

#[test]
fn who_is_not_listed_rightly_is_missing() {
    let (path, directory) = scratch("missing");
    let sum = |entry: &Entry| Kept::new(entry.clone()).unwrap().sum;
    let missing = |entries: &[Entry]| directory.missing(entries.iter().map(sum).collect()).unwrap();
    assert_eq!(missing(&[entry(1)]), HashSet::from([sum(&entry(1))]));
    directory.publish(&entry(1)).unwrap();
    directory.publish(&entry(2)).unwrap();
    assert_eq!(missing(&[entry(1), entry(3)]), HashSet::from([sum(&entry(3))]));
    let changed = Entry { board: 5, ..entry(2) };
    assert_eq!(missing(std::slice::from_ref(&changed)), HashSet::from([sum(&changed)]));
    directory.withdraw(vec![1, 2]).unwrap();
    std::fs::remove_dir(&path).unwrap();
}

#[test]
fn a_truncated_segment_is_made_anew() {
    let (path, directory) = scratch("truncated");
    directory.publish(&entry(1)).unwrap();
    let segment = std::path::Path::new("/dev/shm").join(directory.segment_name().unwrap());
    File::options().write(true).open(&segment).unwrap().set_len(0).unwrap();
    assert!(directory.entries().unwrap().is_empty());
    directory.publish(&entry(2)).unwrap();
    assert_eq!(directory.entries().unwrap(), [entry(2)]);
    directory.withdraw(vec![2]).unwrap();
    std::fs::remove_dir(&path).unwrap();
}

#[test]
fn the_dead_are_swept() {
    let (path, directory) = scratch("swept");
    let mut dead = entry(7);
    dead.process.start_ticks += 1;
    directory.publish(&dead).unwrap();
    directory.publish(&entry(8)).unwrap();
    directory.sweep().unwrap();
    assert_eq!(directory.entries().unwrap(), [entry(8)]);
    directory.withdraw(vec![8]).unwrap();
    std::fs::remove_dir(&path).unwrap();
}

/// A process that dies closes its files one after the other; a child of its `fork` may have them for longer.
#[test]
fn a_dead_ones_socket_goes_though_it_is_still_open() {
    let (path, directory) = scratch("dying");
    let mut dead = entry(7);
    dead.process.start_ticks += 1;
    let sockets = [&dead, &entry(8), &entry(9)].map(|entry| path.join(format!("{}.sock", entry.node)));
    let _listeners = sockets.each_ref().map(|socket| listener(socket));
    directory.publish(&dead).unwrap();
    directory.publish(&entry(8)).unwrap();
    directory.sweep().unwrap();
    // The third is not listed yet.
    assert_eq!(sockets.each_ref().map(|socket| socket.exists()), [false, true, true]);
    sockets.iter().skip(1).for_each(|socket| std::fs::remove_file(socket).unwrap());
    directory.withdraw(vec![8]).unwrap();
    std::fs::remove_dir(&path).unwrap();
}

#[test]
fn a_directory_in_the_folder_stays_there_and_leaves_nothing() {
    let (path, directory) = scratch("in-folder");
    // As if somebody had made one for whom the folder is a mount; that it is lost harms nobody.
    std::os::unix::fs::symlink("entries.lost", path.join(LINK)).unwrap();
    std::fs::write(path.join("entries.unlinked"), "whose maker has died").unwrap();
    for id in 1..=150 {
        directory.publish(&entry(id)).unwrap();
    }
    assert_eq!(directory.entries().unwrap().len(), 150);
    directory.sweep().unwrap();
    let mut names: Vec<String> = file_names(&path).collect();
    names.sort();
    assert_eq!(names, [LINK.to_owned(), directory.segment_name().unwrap()]);
    assert!(names[1].starts_with(IN_FOLDER));
    directory.withdraw((1..=150).collect()).unwrap();
    std::fs::remove_dir(&path).unwrap();
}

#[test]
fn a_process_of_another_pid_namespace_lives_as_long_as_its_socket() {
    let (path, directory) = scratch("foreign");
    let process = ProcessStamp { namespace: 1, ..ProcessStamp::current() };
    let foreign = Entry { process, ..entry(9) };
    let socket = path.join(format!("{}.sock", foreign.node));
    let listener = listener(&socket);
    directory.publish(&entry(8)).unwrap();
    directory.publish(&foreign).unwrap();
    directory.sweep().unwrap();
    assert_eq!(directory.entries().unwrap(), [entry(8), foreign]);
    assert_eq!(accept(listener.as_raw_fd()), Err(nix::Error::EAGAIN), "it does not notice");
    drop(listener);
    // A process that another test is about to start may still have it, until its `exec`.
    let until = Instant::now() + Duration::from_secs(10);
    while socket.exists() && Instant::now() < until {
        directory.sweep().unwrap();
    }
    assert!(!socket.exists());
    assert_eq!(directory.entries().unwrap(), [entry(8)]);
    directory.withdraw(vec![8]).unwrap();
    std::fs::remove_dir(&path).unwrap();
}
