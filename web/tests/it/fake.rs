//! A daemon without processes: services whose states follow orders after a moment, methods that answer
//! by their names, a console log, and time series that are waves. For the tests of this crate and for `examples/demo.rs`.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures_util::{StreamExt as _, stream};
use shmrpc_core::{
    Encoding, RpcError, Status,
    client::{Door, Reply},
    method::{MethodDescription, MethodId, Shape},
    observe::LatencyHistogram,
    schema::Schemas,
};
use shmrpc_web::{
    Action, Call, CallItems, CallStatistics, CallStream, Column, ControlError, Daemon, DaemonFuture,
    HistoryPage, HistoryQuery, LogPage, LogStream, LogTail, MethodSnapshot, Part, ScaleTo, Series,
    ServiceSnapshot, ServiceStatus, Snapshot, Usage, WorkerSnapshot, WorkerSpan, WorkerState,
};
use tokio::sync::watch;

/// How long an order takes.
const ORDER_TAKES: Duration = Duration::from_millis(300);

pub(crate) struct FakeDaemon {
    pub(crate) log: LogTail,
    state: Mutex<State>,
    started: Instant,
    snapshots_taken: AtomicU64,
}

pub(crate) struct State {
    pub(crate) services: Vec<ServiceSnapshot>,
    /// What becomes of which service when.
    changes: Vec<(Instant, String, ServiceStatus)>,
    next_pid: u32,
}

impl FakeDaemon {
    pub(crate) fn new() -> Arc<Self> {
        let services = vec![echo_service(), service("reports", "Reports", "Nightly reports.", Some(5601))];
        let mut state = State { services, changes: Vec::new(), next_pid: 4200 };
        state.settle("echo_serv", ServiceStatus::Running);
        let log = LogTail::new(5000, 4 << 20);
        log.push("", None, LogStream::Daemon, "2 services configured".into());
        Arc::new(Self {
            log,
            state: Mutex::new(state),
            started: Instant::now(),
            snapshots_taken: AtomicU64::new(0),
        })
    }

    /// How often somebody wanted to know how things are.
    pub(crate) fn snapshots_taken(&self) -> u64 {
        self.snapshots_taken.load(Ordering::Relaxed)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap();
        let now = Instant::now();
        while let Some(index) = state.changes.iter().position(|change| change.0 <= now) {
            let (_, name, status) = state.changes.remove(index);
            state.settle(&name, status);
        }
        state
    }
}

impl State {
    /// Puts a service into a state, with the workers that belong to it.
    pub(crate) fn settle(&mut self, name: &str, status: ServiceStatus) {
        let service = self.services.iter_mut().find(|service| service.name == name).unwrap();
        service.status = status;
        service.workers.clear();
        if status == ServiceStatus::Running {
            for _ in 0..service.fixed_workers.unwrap_or(service.min_workers) {
                self.next_pid += 1;
                service.workers.push(worker(self.next_pid));
            }
        }
        service.usage = service.workers.iter().map(|worker| &worker.usage).sum();
        service.uptime_ms = (status == ServiceStatus::Running).then_some(0);
    }
}

impl Daemon for FakeDaemon {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots_taken.fetch_add(1, Ordering::Relaxed);
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Arc::new(Snapshot {
            time_ms: time.as_millis() as u64,
            host: "testbox".into(),
            version: "0.1.0".into(),
            pid: std::process::id(),
            uptime_ms: self.started.elapsed().as_millis() as u64,
            cpus: 4,
            services: self.state().services.clone(),
        })
    }

    fn control<'a>(&'a self, service: &'a str, action: Action) -> DaemonFuture<'a, Result<(), ControlError>> {
        Box::pin(async move {
            let mut state = self.state();
            let found = state.services.iter_mut().find(|known| known.name == service);
            let Some(found) = found else { return Err(ControlError::NotFound(service.into())) };
            let status = found.status;
            let (now, then) = match action {
                Action::Start if status.can_start() => (ServiceStatus::Starting, ServiceStatus::Running),
                Action::Stop if status.can_stop() => (ServiceStatus::Stopping, ServiceStatus::Stopped),
                Action::Restart | Action::RestartAtOnce => (ServiceStatus::Stopping, ServiceStatus::Running),
                _ => return Err(ControlError::Conflict { service: service.into(), action, status }),
            };
            found.status = now;
            found.status_detail = None;
            state.changes.push((Instant::now() + ORDER_TAKES, service.into(), then));
            self.log.push("", None, LogStream::Daemon, format!("{service}: {} ordered", action.name()));
            Ok(())
        })
    }

    fn scale<'a>(&'a self, service: &'a str, to: ScaleTo) -> DaemonFuture<'a, Result<(), ControlError>> {
        Box::pin(async move {
            let mut state = self.state();
            let found = state.services.iter_mut().find(|known| known.name == service);
            let Some(found) = found else { return Err(ControlError::NotFound(service.into())) };
            let now = found.workers.len() as u32;
            let wanted = match to {
                ScaleTo::Workers(size) => Some(size),
                ScaleTo::More(more) => Some(now.saturating_add(more)),
                ScaleTo::Fewer(fewer) => Some(now.saturating_sub(fewer)),
                ScaleTo::Auto => None,
            };
            found.fixed_workers = wanted.map(|size| size.min(found.max_workers));
            let status = found.status;
            state.settle(service, status);
            Ok(())
        })
    }

    fn call<'a>(&'a self, call: Call<'a>) -> DaemonFuture<'a, Result<Reply, RpcError>> {
        Box::pin(async move {
            let (service, method) = (call.service.to_owned(), call.method.to_owned());
            if !self.snapshot().service(&service).is_some_and(|s| s.status == ServiceStatus::Running) {
                return Err(RpcError::Unavailable { service, reason: "no worker runs".into() });
            }
            let body = call.body.to_vec();
            let reply = |status| Ok(Reply { status, body: body.clone() });
            match call.method {
                "fail" => Ok(Reply { status: Status::ServiceError, body: br#"{"kind":"nope"}"#.into() }),
                "fail_msgpack" if call.door == Door::Native => {
                    Ok(Reply { status: Status::ServiceError, body: vec![0xa4, b'n', b'o', b'p', b'e'] })
                }
                "print" => {
                    let words: Vec<String> = serde_json::from_slice(&body)
                        .map_err(|error| RpcError::BadArguments(error.to_string()))?;
                    self.log.push(&service, Some(4201), LogStream::Stdout, words.join(" "));
                    Ok(Reply { status: Status::Ok, body: b"null".into() })
                }
                "sleep" => {
                    let after = call.deadline.unwrap_or(Duration::from_secs(30));
                    tokio::time::sleep(after).await;
                    Err(RpcError::DeadlineExceeded { service, method, after })
                }
                "die" => Err(RpcError::WorkerDied { service, method, worker: "pid 4201".into() }),
                "panic" => Err(RpcError::Panicked("oh no".into())),
                "refuse" => Err(RpcError::BadArguments("expected two numbers".into())),
                "busy" => Err(RpcError::Busy("64 calls wait".into())),
                "big" => Err(RpcError::TooLarge { what: "reply", len_bytes: 99, limit_bytes: 9 }),
                _ => reply(Status::Ok),
            }
        })
    }

    /// Counts to three; or gives back each item that it gets, except to `pour`, whose reply has them all.
    fn stream<'a>(
        &'a self,
        call: Call<'a>,
        items: Option<CallItems>,
    ) -> DaemonFuture<'a, Result<CallStream, RpcError>> {
        let reply = Reply { status: Status::Ok, body: call.body.to_vec() };
        if let Some(items) = items {
            let pours = call.method.starts_with("pour");
            let parts = stream::unfold(Some((items, reply)), move |left| async move {
                let (mut items, mut reply) = left?;
                while let Some(item) = items.next().await {
                    match item {
                        Ok(item) if pours => reply.body.extend_from_slice(&item),
                        Ok(item) => return Some((Ok(Part::Item(item.to_vec())), Some((items, reply)))),
                        Err(reason) => return Some((Err(RpcError::BadArguments(reason)), None)),
                    }
                }
                Some((Ok(Part::Reply(reply)), None))
            });
            return Box::pin(std::future::ready(Ok(Box::pin(parts) as CallStream)));
        }
        let items = (1..=3).map(|i: u8| Ok(Part::Item(i.to_string().into_bytes())));
        let parts: Vec<_> = items.chain([Ok(Part::Reply(reply))]).collect();
        Box::pin(std::future::ready(Ok(Box::pin(stream::iter(parts)) as CallStream)))
    }

    fn history(&self, query: HistoryQuery) -> DaemonFuture<'_, HistoryPage> {
        let mut page = query.grid(1000);
        let known = self.state().services.iter().find(|s| s.name == query.service).map(|s| s.status);
        if matches!(known, Some(ServiceStatus::Running) | None) {
            // Each service has waves of its own.
            let shift_ms = query.service.bytes().map(u64::from).sum::<u64>() * 977;
            for column in &mut page.columns {
                draw(column, page.from_ms + shift_ms, page.step_ms);
            }
        }
        if let (Some(service), None) =
            (self.state().services.iter().find(|s| s.name == query.service), query.worker)
        {
            let span = |worker: &WorkerSnapshot| WorkerSpan {
                pid: worker.pid,
                first_ms: page.from_ms,
                last_ms: query.to_ms,
            };
            page.workers = service.workers.iter().map(span).collect();
        }
        Box::pin(std::future::ready(page))
    }

    fn log_since(&self, after: Option<u64>, limit: usize) -> LogPage {
        self.log.since(after, limit)
    }

    fn log_changes(&self) -> watch::Receiver<u64> {
        self.log.changes()
    }
}

/// Waves of ten minutes around a level that is likely for the quantity, with a hole of a minute in every twenty.
fn draw(column: &mut Column, from_ms: u64, step_ms: u64) {
    let level: f32 = match column.series {
        Series::Rss => 9.4e6,
        Series::Pss => 6.1e6,
        Series::Read | Series::Written => 2.0e5,
        Series::Fds => 14.0,
        Series::Threads => 6.0,
        Series::Workers => 2.0,
        Series::Calls => 1200.0,
        Series::P50 => 3.1e4,
        Series::P90 => 9.0e4,
        Series::P99 => 2.4e5,
        Series::Wait => 5.0e5,
        Series::Cpu | Series::Errors | Series::Queued | Series::Busy => 0.6,
    };
    for (i, value) in column.values.iter_mut().enumerate() {
        let time_ms = from_ms + i as u64 * step_ms;
        if (time_ms / 60_000) % 20 == 19 {
            continue;
        }
        let wave = (time_ms % 600_000) as f32 / 600_000.0 * std::f32::consts::TAU;
        let mixed = (time_ms / 1000).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let noise = (mixed >> 40) as f32 / 16_777_216.0 - 0.5;
        let mean = level * (1.0 + 0.4 * wave.sin() + 0.2 * noise);
        *value = Some(mean);
        for (extremes, factor) in [(&mut column.min, 0.8), (&mut column.max, 1.3)] {
            if let Some(extremes) = extremes {
                extremes[i] = Some(mean * factor);
            }
        }
    }
}

/// A service with every encoding and every way to fail.
fn echo_service() -> ServiceSnapshot {
    let doc = "Gives back what it gets, in every encoding.";
    let mut echo = service("echo_serv", "EchoServer", doc, Some(5555));
    echo.tcp_bind = Some("127.0.0.1:5555".into());
    echo.min_workers = 2;
    echo.max_workers = 4;
    echo.methods = vec![
        method("echo_raw", Encoding::Raw),
        method("echo_json", Encoding::Json),
        method("echo_msgpack", Encoding::Msgpack),
        method("echo_bincode", Encoding::Bincode),
        method("print", Encoding::Json),
        method("fail", Encoding::Json),
        method("fail_msgpack", Encoding::Msgpack),
        method("sleep", Encoding::Json),
        method("die", Encoding::Json),
        method("panic", Encoding::Json),
        method("refuse", Encoding::Json),
        method("busy", Encoding::Json),
        method("big", Encoding::Json),
    ];
    let mut look = method("look", Encoding::Json);
    look.description.read_only = true;
    let mut look_raw = method("look_raw", Encoding::Raw);
    look_raw.description.read_only = true;
    let mut ticks = method("ticks", Encoding::Json);
    ticks.description.shape = Shape::Download;
    let mut ticks_raw = method("ticks_raw", Encoding::Raw);
    ticks_raw.description.shape = Shape::Download;
    let mut pour = method("pour", Encoding::Json);
    pour.description.shape = Shape::Upload;
    let mut pour_raw = method("pour_raw", Encoding::Raw);
    pour_raw.description.shape = Shape::Upload;
    let mut swap = method("swap", Encoding::Msgpack);
    swap.description.shape = Shape::Duplex;
    let mut send = method("send", Encoding::Json);
    send.description.signature = "(Parcel, u8) -> Value".into();
    send.description.params =
        [("parcel", "Parcel"), ("copies", "u8")].map(|(a, b)| (a.into(), b.into())).into();
    echo.methods.extend([look, look_raw, ticks, ticks_raw, pour, pour_raw, swap, send]);
    echo.schemas = Arc::new(parcels());
    echo.methods[1].calls = CallStatistics {
        count: 1204,
        errors: 3,
        bytes_in: 40_000,
        bytes_out: 41_000,
        total_ns: 45_000_000,
        mean_ns: Some(37_375),
        p50_ns: Some(31_000),
        p90_ns: Some(90_000),
        p99_ns: Some(240_000),
    };
    echo
}

/// What a type that tells its schema would say: a struct with an enum and itself within.
fn parcels() -> Schemas {
    let text = r##"{
        "methods": {
            "send": {"arguments": [{"$ref": "#/$defs/Parcel"}, null]},
            "swap": {"items_taken": {"$ref": "#/$defs/Parcel"}, "items_given": {"$ref": "#/$defs/Receipt"}}},
        "given": {"Receipt": {"type": "string"}},
        "taken": {
            "Parcel": {"type": "object", "required": ["id", "to"], "properties": {
                "id": {"type": "integer", "minimum": 1},
                "to": {"$ref": "#/$defs/Address"},
                "express": {"type": "boolean", "default": true},
                "tags": {"type": "array", "items": {"type": "string"}},
                "note": {"type": ["string", "null"]},
                "inner": {"anyOf": [{"$ref": "#/$defs/Parcel"}, {"type": "null"}]}}},
            "Address": {"oneOf": [
                {"type": "object", "required": ["kind", "street"], "properties": {
                    "kind": {"type": "string", "const": "house"}, "street": {"type": "string"}}},
                {"type": "object", "required": ["kind"], "properties": {
                    "kind": {"type": "string", "const": "shop"}}}]}}}"##;
    serde_json::from_str(text).unwrap()
}

pub(crate) fn service(name: &str, struct_name: &str, doc: &str, port: Option<u16>) -> ServiceSnapshot {
    ServiceSnapshot {
        name: name.into(),
        struct_name: struct_name.into(),
        prefix: None,
        doc: doc.into(),
        port,
        tcp_bind: None,
        status: ServiceStatus::Stopped,
        status_detail: None,
        min_workers: 1,
        max_workers: 1,
        force_insecure_serialisation: false,
        workers: Vec::new(),
        usage: Usage::default(),
        fixed_workers: None,
        rolling: false,
        busy_share: None,
        queued_calls: None,
        restarts: 0,
        uptime_ms: None,
        ini_section: format!("[{struct_name}]\nimport_from = {name}\nmin_proc_num = 1\n").into(),
        methods: Vec::new(),
        schemas: Arc::default(),
    }
}

pub(crate) fn method(name: &str, encoding: Encoding) -> MethodSnapshot {
    let description = MethodDescription {
        id: MethodId(name.len() as u64),
        name: name.into(),
        encoding,
        shape: Shape::Unary,
        signature: "(Value) -> Value".into(),
        params: vec![("data".into(), "Value".into())],
        returns: "Value".into(),
        doc: String::new(),
        idempotent: false,
        read_only: false,
        deadline_ms: None,
    };
    MethodSnapshot { description, calls: CallStatistics::default(), latency: LatencyHistogram::default() }
}

pub(crate) fn worker(pid: u32) -> WorkerSnapshot {
    let usage = Usage {
        cpu_share: 0.034,
        cpu_wait_share: 0.002,
        rss_bytes: 9_400_000,
        pss_bytes: Some(6_100_000),
        virtual_bytes: 310_000_000,
        read_bytes: 0,
        written_bytes: 81_920,
        open_files: Some(14),
        threads: Some(6),
    };
    WorkerSnapshot { pid, state: WorkerState::Running, usage, uptime_ms: 7_000, calls: 602, errors: 1 }
}
