//! shmrpc's async client.

use super::{ServerClient, connection, record};
use crate::{
    job::{Figures, Job, Manner, Method},
    measure::{
        Echo,
        tasks::{self, AsyncCaller},
    },
};

pub(super) fn client(job: &Job, manner: Manner, go: impl FnOnce() + Send + 'static) -> Figures {
    let runtime = tasks::runtime(job);
    let (endpoint, options) = connection(job, manner.over_tcp);
    let client =
        runtime.block_on(ServerClient::connect_with(endpoint, &options)).expect("the server answers");
    let caller = Caller { client, method: manner.method, record: record::Record::example() };
    tasks::measure(&runtime, caller, job, go)
}

#[derive(Clone)]
struct Caller {
    client: ServerClient,
    method: Method,
    record: record::Record,
}

impl AsyncCaller for Caller {
    async fn call(&mut self, echo: &mut Echo) {
        match self.method {
            Method::Raw => {
                let reply = self.client.raw(echo.next()).await.expect("answered");
                echo.check(&reply);
            }
            Method::InPlace => {
                let reply = self.client.in_place(echo.next()).await.expect("answered");
                echo.check_start(&reply);
            }
            _ => {
                self.record.number += 1;
                let reply = self.client.json(&self.record).await.expect("answered");
                assert_eq!(reply.number, self.record.number);
            }
        }
    }
}
