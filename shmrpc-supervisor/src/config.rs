//! Ini text → typed configuration, with defaults filled in, and all of its faults at once. The only
//! place that knows ini keys. Reads the file, looks users up, and nothing else: which program a service runs and what that
//! program offers is found out by [`plan`](crate::plan), which comes next.

mod cgroup;
mod diagnostic;
mod ini;
mod keys;
mod logs;
mod pool;
mod reader;
mod service;
mod surroundings;
mod tcp;
mod value;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

pub use self::diagnostic::{Diagnostic, Diagnostics, nearest};
pub use self::{
    cgroup::CgroupLimits,
    logs::Rotation,
    pool::{Autoscale, Recycling, Scaling},
    service::{Policy, Restart, ServiceSettings, Source},
    surroundings::{Dependencies, Surroundings},
    tcp::TcpSettings,
};
use self::{
    keys::{DEFAULTS, WEB},
    reader::Reader,
};

/// What `[web monitor]` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSettings {
    /// Where the dashboard listens.
    pub address: SocketAddr,
    /// Users beside the daemon's own whose processes on this machine may come in without the token.
    pub allow_users: Vec<u32>,
    /// Names under which it may be asked for, beside its own address.
    pub allow_hosts: Vec<String>,
    /// The history that it shows.
    pub history: HistorySettings,
}

/// Where and how much history is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistorySettings {
    /// The folder of its file; `None`: in memory.
    pub dir: Option<PathBuf>,
    /// The file takes no more.
    pub max_bytes: u64,
}

const DEFAULT_HISTORY_BYTES: u64 = 256 << 20;
const HISTORY_BYTES: std::ops::RangeInclusive<u64> = (16 << 20)..=(64 << 30);

/// A file's size beyond which it is not an ini file of ours.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What a whole ini file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The dashboard.
    pub web: WebSettings,
    /// The services in file order.
    pub services: Vec<ServiceSettings>,
    /// What is worth knowing and no fault, with lines: aliases that were met.
    pub notes: Vec<(usize, String)>,
}

impl Settings {
    /// Reads a file. Relative paths in it are relative to its folder. Faults are added to `faults`, and
    /// what could be understood in spite of them is returned, so that it can be checked further.
    pub fn load(file: &Path, faults: &mut Diagnostics) -> Self {
        let bytes = read_bounded(file).unwrap_or_else(|error| {
            faults.push(Diagnostic::new(0, format!("cannot be read: {error}")));
            Vec::new()
        });
        Self::parse(&bytes, &folder_of(file), faults)
    }

    /// As [`Self::load`], for the bytes of a file that lies in the folder `base`.
    pub fn parse(bytes: &[u8], base: &Path, faults: &mut Diagnostics) -> Self {
        let mut document = ini::parse(bytes, faults);
        let mut notes = Vec::new();
        for section in &mut document.sections {
            keys::canonical(section, faults, &mut notes);
        }
        let defaults = document.section(DEFAULTS);
        // Faults in the defaults are told even if every service overrides them.
        let common = defaults.map(|defaults| service::common(&mut Reader::new(defaults, None, faults), base));
        let log_dir = common.map_or_else(|| base.join(service::LOG_DIR), |common| common.log_dir);
        let web = web(&document, base, log_dir, faults);
        let services: Vec<ServiceSettings> = document
            .sections
            .iter()
            .filter(|section| section.name != WEB && section.name != DEFAULTS)
            .filter_map(|section| service::read(section, defaults, base, faults))
            .collect();
        if services.is_empty() && faults.is_empty() {
            faults.push(
                Diagnostic::new(0, "no service is configured")
                    .accepted("a section [StructName] with import_from, or any section with program"),
            );
        }
        Self { web, services, notes }
    }
}

/// The folder in which a file lies.
#[must_use]
pub fn folder_of(file: &Path) -> PathBuf {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    absolute.parent().map(Path::to_owned).unwrap_or_default()
}

fn read_bounded(file: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("larger than {MAX_FILE_BYTES} bytes")));
    }
    Ok(bytes)
}

fn web(document: &ini::Document, base: &Path, log_dir: PathBuf, faults: &mut Diagnostics) -> WebSettings {
    let (mut host, mut port) = (IpAddr::V4(Ipv4Addr::LOCALHOST), 5155);
    let (mut allow_users, mut allow_hosts) = (Vec::new(), Vec::new());
    let mut history = HistorySettings { dir: Some(log_dir), max_bytes: DEFAULT_HISTORY_BYTES };
    if let Some(section) = document.section(WEB) {
        let mut reader = Reader::new(section, None, faults);
        let accepted = "an IP address without port, such as 127.0.0.1 or ::1; localhost";
        host = reader.read("host", accepted, |text| value::bind(text).flatten()).unwrap_or(host);
        port = reader.read("port", "0 (any free port) to 65535", |text| text.parse().ok()).unwrap_or(port);
        allow_users = reader.read("allow_users", value::ACCEPTED_USERS, value::users).unwrap_or_default();
        allow_hosts = reader.read("allow_hosts", value::ACCEPTED_HOSTS, value::hosts).unwrap_or_default();
        let folder = |text: &str| match text {
            "" => None,
            "none" => Some(None),
            path => Some(Some(base.join(path))),
        };
        history.dir = reader.read("history_dir", "a folder, or none", folder).unwrap_or(history.dir);
        let within = |text: &str| value::size_bytes(text).filter(|bytes| HISTORY_BYTES.contains(bytes));
        history.max_bytes =
            reader.read("history_max_bytes", "a size from 16M to 64G", within).unwrap_or(history.max_bytes);
    }
    WebSettings { address: SocketAddr::new(host, port), allow_users, allow_hosts, history }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Settings, Vec<String>) {
        let mut faults = Diagnostics::new("t.ini");
        let settings = Settings::parse(text.as_bytes(), Path::new("/base"), &mut faults);
        let faults = faults.sorted().iter().map(|fault| format!("{}: {fault}", fault.line)).collect();
        (settings, faults)
    }

    #[test]
    fn defaults_reach_every_service_and_sections_override_them() {
        let (settings, faults) = parse(
            "[web monitor]\nport=0\nhost=::1\nallow_users=root, 7\n[defaults]\nlog_dir=logs\nbind_tcp=127.0.0.1\nmin_proc_num=2\n\
             [Echo]\nimport_from=echo\n[Echo:eu]\nimport_from=echo\nport=7\nmin_proc_num=1\ntcp_bind=none\n\
             [front end]\nprogram=sleep 5\n",
        );
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(settings.web.address.to_string(), "[::1]:0");
        assert_eq!(settings.web.allow_users, [0, 7]);
        let [echo, copy, front] = &settings.services[..] else { panic!("three services") };
        assert_eq!((echo.min_proc_num, copy.min_proc_num), (2, 1));
        assert_eq!(echo.tcp.bind, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        assert_eq!(copy.tcp.bind, None);
        assert_eq!(echo.log_dir, Path::new("/base/logs"));
        assert!(matches!(&copy.source, Source::Import { prefix: Some(p), .. } if p == "eu"));
        assert!(matches!(&front.source, Source::Program { name, .. } if name == "front_end"));
        assert_eq!(settings.notes, [(7, "bind_tcp is read as tcp_bind".to_owned())]);
    }

    #[test]
    fn other_machines_are_let_in_only_in_so_many_words() {
        let text = "[Echo]\nimport_from=echo\ntcp_bind=0.0.0.0\n";
        let (_, faults) = parse(text);
        assert!(faults.len() == 1 && faults[0].contains("tcp_allow_remote = True"), "{faults:?}");
        assert!(faults[0].contains("set tcp_secret_file or tcp_tls_client_ca_file"), "{faults:?}");
        let (_, faults) = parse(&format!("{text}tcp_secret_file=/nonexistent/secret\n"));
        assert!(faults.len() == 1 && faults[0].contains("/nonexistent/secret"), "{faults:?}");
        let (settings, faults) = parse(&format!("{text}tcp_allow_remote=True\n"));
        assert!(faults.is_empty() && settings.services[0].tcp.allow_remote, "{faults:?}");
    }

    #[test]
    fn limits_of_tcp_are_within_reason() {
        let text = "[Echo]\nimport_from=echo\n";
        let (settings, faults) = parse(&format!(
            "{text}tcp_max_connections=7\ntcp_max_in_flight=8\ntcp_max_message_bytes=1M\n\
             tcp_handshake_timeout=2s\ntcp_frame_timeout=3\ntcp_idle_timeout=5m\n"
        ));
        assert!(faults.is_empty(), "{faults:?}");
        let limits = settings.services[0].tcp.limits;
        assert_eq!((limits.max_connections, limits.max_in_flight), (Some(7), Some(8)));
        assert_eq!(limits.max_message_bytes, Some(1 << 20));
        assert_eq!((limits.handshake_timeout, limits.frame_timeout), (Some(seconds(2)), Some(seconds(3))));
        assert_eq!(limits.idle_timeout, Some(seconds(300)));
        let (settings, faults) =
            parse(&format!("[defaults]\ntcp_idle_timeout=5m\n{text}tcp_idle_timeout=never\n"));
        assert!(faults.is_empty() && settings.services[0].tcp.limits == Default::default(), "{faults:?}");
        for (line, accepted) in [
            ("tcp_max_connections=0", "from 1 to 1000000"),
            ("tcp_max_in_flight=many", "from 1 to 1000000"),
            ("tcp_max_message_bytes=100", "from 1K to 4095M"),
            ("tcp_max_message_bytes=5G", "from 1K to 4095M"),
            ("tcp_handshake_timeout=0", "100ms or more"),
            ("tcp_frame_timeout=never", "100ms or more"),
            ("tcp_idle_timeout=10ms", "100ms or more, or never"),
        ] {
            let (_, faults) = parse(&format!("{text}{line}\n"));
            let key = line.split('=').next().unwrap();
            assert!(faults.len() == 1 && faults[0].starts_with(&format!("3: [Echo] {key}")), "{faults:?}");
            assert!(faults[0].contains(accepted), "{faults:?}");
        }
    }

    fn seconds(seconds: u64) -> std::time::Duration {
        std::time::Duration::from_secs(seconds)
    }

    #[test]
    fn every_fault_is_told_with_line_key_and_what_is_accepted() {
        let (_, faults) = parse(
            "[defaults]\nlogdir=x\nstart_timeout=fast\n[Echo]\nimport_from=a\nprogram=b\n\
             [default]\nthreads=0\n[A:]\nimport_from=a\n[B:x]\nimport_from=b\n\
             [C]\nimport_from=c\nmin_proc_num=3\nmax_proc_num=2\ntcp_bind=127.0.0.1:80\nport=0\n\
             host=1\ntcp_bind=::1\nbind_tcp=::1\n[web monitor]\nport=http\n",
        );
        let expected = [
            "2: [defaults] logdir: unknown key; did you mean log_dir?; accepted: log_dir, log_max_file_bytes,",
            "3: [defaults] start_timeout: \"fast\" is not accepted; accepted: a time such as 30",
            "6: [Echo] has both import_from and program",
            "7: [default] names no program; did you mean defaults?",
            "8: [default] threads: \"0\" is not accepted; accepted: a whole number from 1 to 1024",
            "9: [A:] \"A\" cannot name a service",
            "11: [B:x] port: a copy under the prefix x needs a port of its own",
            "16: [C] min_proc_num: min_proc_num 3 exceeds max_proc_num 2",
            "17: [C] tcp_bind: \"127.0.0.1:80\" is not accepted; accepted: an IP address without port",
            "18: [C] port: \"0\" is not accepted; accepted: 1 to 65535",
            "19: [C] host: a key of [web monitor], unknown here",
            "20: [C] tcp_bind: duplicate key, first at line 17",
            "21: [C] bind_tcp: the same as tcp_bind at line 17, which stands already",
            "23: [web monitor] port: \"http\" is not accepted; accepted: 0 (any free port) to 65535",
        ];
        assert_eq!(faults.len(), expected.len(), "{faults:#?}");
        for (fault, start) in faults.iter().zip(expected) {
            assert!(fault.starts_with(start), "{fault}\nshould start with\n{start}");
        }
    }
}
