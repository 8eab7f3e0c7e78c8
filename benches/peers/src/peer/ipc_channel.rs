//! ipc-channel: a pair of byte channels for each client, whose ends cross over a one-shot server. A thread for
//! each client.

use std::thread;

use ::ipc_channel::ipc::{self, IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcSender};

use crate::{
    job::{Figures, Job},
    measure::{self, Caller, Echo},
    role,
};

/// The client's ends, which the server makes and hands over.
type Ends = (IpcBytesSender, IpcBytesReceiver);

pub fn serve(job: &Job) -> ! {
    let (doors, names): (Vec<_>, Vec<_>) = (0..job.clients)
        .map(|_| IpcOneShotServer::<IpcSender<Ends>>::new().expect("a one-shot server"))
        .unzip();
    role::ready(names);
    let serving: Vec<_> = doors.into_iter().map(|door| thread::spawn(move || answer(door))).collect();
    serving.into_iter().for_each(|thread| drop(thread.join()));
    loop {
        thread::park();
    }
}

fn answer(door: IpcOneShotServer<IpcSender<Ends>>) {
    let (_keep, client) = door.accept().expect("a client");
    let (send_request, requests) = ipc::bytes_channel().expect("a channel");
    let (replies, receive_reply) = ipc::bytes_channel().expect("a channel");
    client.send((send_request, receive_reply)).expect("the client waits");
    while let Ok(request) = requests.recv() {
        if replies.send(&request).is_err() {
            return;
        }
    }
}

pub fn client(job: &Job, go: impl FnOnce()) -> Figures {
    let door = IpcSender::connect(job.servers[0].addresses[job.index].clone()).expect("the server waits");
    let (hand_over, ends) = ipc::channel::<Ends>().expect("a channel");
    door.send(hand_over).expect("the server waits");
    let (requests, replies) = ends.recv().expect("the server hands them over");
    measure::blocking(IpcChannel { requests, replies }, job, go)
}

struct IpcChannel {
    requests: IpcBytesSender,
    replies: IpcBytesReceiver,
}

impl Caller for IpcChannel {
    fn send(&mut self, echo: &mut Echo) {
        self.requests.send(echo.next()).expect("sent");
    }

    fn receive(&mut self, echo: &mut Echo) {
        echo.check(&self.replies.recv().expect("answered"));
    }
}
