//! iceoryx2, request and response, polling or asleep in a listener. One thread serves all clients. With events, the
//! client rings the server once a burst, and the server rings the one client that it has answered.

use iceoryx2::{
    active_request::ActiveRequest,
    pending_response::PendingResponse,
    port::{client::Client, listener::Listener, notifier::Notifier, server::Server},
    prelude::*,
    service::port_factory::{event, request_response},
};
use std::collections::VecDeque;

use crate::{
    job::{Carrier, Figures, Job},
    limit::rest,
    measure::{self, Caller, Echo},
    role,
};

type Request = PendingResponse<ipc::Service, [u8], u64, [u8], ()>;
type Incoming = ActiveRequest<ipc::Service, [u8], u64, [u8], ()>;

/// As many as are in flight, and some.
const IN_FLIGHT: usize = 80;

/// What its files begin with: by it the orchestrator finds what was left behind.
pub fn prefix(job: &Job) -> String {
    let folder = job.folder.file_name().and_then(|name| name.to_str()).expect("a plain folder");
    let orchestrator = folder.split('-').next().expect("a pid");
    format!("bench{orchestrator}_")
}

fn node(job: &Job) -> Node<ipc::Service> {
    set_log_level(LogLevel::Fatal);
    let mut config = Config::default();
    config.global.set_root_path(&Path::new(job.folder.to_str().expect("plain").as_bytes()).expect("a path"));
    config.global.prefix = FileName::new(prefix(job).as_bytes()).expect("a plain name");
    NodeBuilder::new()
        .signal_handling_mode(SignalHandlingMode::Disabled)
        .config(&config)
        .create()
        .expect("a node")
}

fn service(node: &Node<ipc::Service>) -> request_response::PortFactory<ipc::Service, [u8], u64, [u8], ()> {
    node.service_builder(&"echo".try_into().expect("a name"))
        .request_response::<[u8], [u8]>()
        .request_user_header::<u64>()
        .max_active_requests_per_client(IN_FLIGHT)
        .max_loaned_requests(IN_FLIGHT)
        .max_clients(8)
        .open_or_create()
        .expect("the service")
}

fn events(node: &Node<ipc::Service>, name: &str) -> event::PortFactory<ipc::Service> {
    node.service_builder(&name.try_into().expect("a name")).event().open_or_create().expect("the event")
}

pub fn serve(job: &Job) -> ! {
    let node = node(job);
    let service = service(&node);
    let server = service.server_builder().initial_max_slice_len(job.size_bytes).create().expect("a server");
    if job.carrier == Carrier::IceoryxPoll {
        role::ready(Vec::new());
        loop {
            match server.receive().expect("connected") {
                Some(request) => answer(&request),
                None => rest(),
            }
        }
    }
    let requests = events(&node, "requests");
    let listener: Listener<ipc::Service> = requests.listener_builder().create().expect("a listener");
    let replies: Vec<_> = (0..job.clients).map(|index| events(&node, &format!("replies{index}"))).collect();
    let notifiers: Vec<_> =
        replies.iter().map(|one| one.notifier_builder().create().expect("a notifier")).collect();
    role::ready(Vec::new());
    loop {
        listener.blocking_wait(|_| {}).expect("a wake-up");
        drain(&server, &notifiers);
    }
}

/// Answers all that is there, and rings each client that got an answer once.
fn drain(server: &Server<ipc::Service, [u8], u64, [u8], ()>, notifiers: &[Notifier<ipc::Service>]) {
    let mut rung = 0_u64;
    while let Some(request) = server.receive().expect("connected") {
        answer(&request);
        rung |= 1 << *request.user_header();
    }
    for (index, notifier) in notifiers.iter().enumerate() {
        if rung >> index & 1 == 1 {
            notifier.notify().expect("rung");
        }
    }
}

fn answer(request: &Incoming) {
    let payload = request.payload();
    let response = request.loan_slice_uninit(payload.len()).expect("room for the reply");
    response.write_from_slice(payload).send().expect("sent");
}

pub fn client(job: &Job, go: impl FnOnce()) -> Figures {
    let node = node(job);
    let service = service(&node);
    let client = service.client_builder().initial_max_slice_len(job.size_bytes).create().expect("a client");
    let bells = (job.carrier == Carrier::IceoryxEvent).then(|| {
        let requests = events(&node, "requests").notifier_builder().create().expect("a notifier");
        let replies = events(&node, &format!("replies{}", job.index));
        (requests, replies.listener_builder().create().expect("a listener"))
    });
    let caller = Iceoryx {
        client,
        bells,
        index: job.index as u64,
        pending: VecDeque::new(),
        reply: vec![0; job.size_bytes],
    };
    measure::blocking(caller, job, go)
}

struct Iceoryx {
    client: Client<ipc::Service, [u8], u64, [u8], ()>,
    bells: Option<(Notifier<ipc::Service>, Listener<ipc::Service>)>,
    index: u64,
    pending: VecDeque<Request>,
    reply: Vec<u8>,
}

impl Caller for Iceoryx {
    fn send(&mut self, echo: &mut Echo) {
        let mut request = self.client.loan_slice_uninit(echo.len()).expect("room for the request");
        *request.user_header_mut() = self.index;
        self.pending.push_back(request.write_from_slice(echo.next()).send().expect("sent"));
    }

    fn flush(&mut self) {
        if let Some((server, _)) = &self.bells {
            server.notify().expect("rung");
        }
    }

    fn receive(&mut self, echo: &mut Echo) {
        let pending = self.pending.pop_front().expect("one is out");
        loop {
            if let Some(response) = pending.receive().expect("connected") {
                let bytes = response.payload();
                self.reply[..bytes.len()].copy_from_slice(bytes);
                return echo.check(&self.reply[..bytes.len()]);
            }
            match &self.bells {
                Some((_, replies)) => drop(replies.blocking_wait(|_| {}).expect("a wake-up")),
                None => rest(),
            }
        }
    }
}
