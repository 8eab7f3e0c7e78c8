//! ZeroMQ over its `ipc` transport: REQ and REP for one at a time, DEALER and ROUTER for many in flight. Messages are
//! moved where the library lets one.

use ::zmq::{Context, Message, Socket, SocketType};

use crate::{
    job::{Figures, Job, Load},
    measure::{self, Caller, Echo},
    role,
};

fn pipelined(job: &Job) -> bool {
    matches!(job.load, Load::Flight(_))
}

pub fn serve(job: &Job) -> ! {
    let context = Context::new();
    let kind = if pipelined(job) { SocketType::ROUTER } else { SocketType::REP };
    let socket = context.socket(kind).expect("a socket");
    socket.set_sndhwm(0).expect("no limit");
    socket.set_rcvhwm(0).expect("no limit");
    let address = format!("ipc://{}", job.folder.join("zmq").display());
    socket.bind(&address).expect("a socket in a fresh folder");
    role::ready(vec![address]);
    loop {
        let mut part = Message::new();
        socket.recv(&mut part, 0).expect("a request");
        let flags = if part.get_more() { ::zmq::SNDMORE } else { 0 };
        socket.send(part, flags).expect("sent");
    }
}

pub fn client(job: &Job, go: impl FnOnce()) -> Figures {
    let context = Context::new();
    let kind = if pipelined(job) { SocketType::DEALER } else { SocketType::REQ };
    let socket = context.socket(kind).expect("a socket");
    socket.set_sndhwm(0).expect("no limit");
    socket.set_rcvhwm(0).expect("no limit");
    socket.connect(&job.servers[0].addresses[0]).expect("the server listens");
    measure::blocking(Zmq { socket, reply: Message::new() }, job, go)
}

struct Zmq {
    socket: Socket,
    reply: Message,
}

impl Caller for Zmq {
    fn send(&mut self, echo: &mut Echo) {
        self.socket.send(echo.next(), 0).expect("sent");
    }

    fn receive(&mut self, echo: &mut Echo) {
        self.socket.recv(&mut self.reply, 0).expect("answered");
        echo.check(&self.reply);
    }
}
