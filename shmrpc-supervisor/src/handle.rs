//! The daemon as the dashboard sees it: snapshots from memory, orders through the loop's queue, calls
//! through connections of the daemon's own.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{StreamExt as _, stream};
use shmrpc_core::{
    ConnectOptions, Connection, RpcError,
    client::{Reply, Target},
    stream::{ByteSender, ClientStream, StreamClosed},
};
use shmrpc_web::{
    Action, Call, CallItems, CallStream, ControlError, Daemon, DaemonFuture, EventQuery, HistoryPage,
    HistoryQuery, LogPage, LogTail, Part, ScaleTo, ServiceStatus, Snapshot,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use crate::{
    daemon::{Message, Order},
    history::History,
};

/// What the dashboard holds. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Handle {
    snapshot: Arc<Mutex<Arc<Snapshot>>>,
    orders: mpsc::Sender<Message>,
    tail: Arc<LogTail>,
    history: History,
    connections: Arc<Mutex<HashMap<String, Connection>>>,
    runtime_dir: PathBuf,
}

impl Handle {
    pub(crate) fn new(
        orders: mpsc::Sender<Message>,
        tail: Arc<LogTail>,
        history: History,
        runtime_dir: PathBuf,
    ) -> Self {
        Self { snapshot: Arc::default(), orders, tail, history, connections: Arc::default(), runtime_dir }
    }

    /// The loop's newest snapshot.
    pub(crate) fn publish(&self, snapshot: Snapshot) {
        *lock(&self.snapshot) = Arc::new(snapshot);
    }

    /// Forgets the connection to a service, which is gone or has changed.
    pub(crate) fn forget(&self, service: &str) {
        lock(&self.connections).remove(service);
    }

    async fn order(&self, order: Order) -> Result<String, ControlError> {
        let (answer, answered) = oneshot::channel();
        let order = Message::Order { order, answer };
        self.orders.send(order).await.map_err(|_| ControlError::ShuttingDown)?;
        answered.await.unwrap_or(Err(ControlError::ShuttingDown))
    }

    /// A service that nobody wants to run is not waited for.
    fn check_wanted(&self, service: &str) -> Result<(), RpcError> {
        let snapshot = self.snapshot();
        let status = snapshot.service(service).map(|service| service.status);
        match status {
            Some(ServiceStatus::Stopped | ServiceStatus::Fatal | ServiceStatus::Exited) | None => {
                let status = status.map_or("unknown", ServiceStatus::name);
                Err(RpcError::Unavailable { service: service.into(), reason: format!("it is {status}") })
            }
            Some(_) => Ok(()),
        }
    }

    async fn connection(&self, service: &str) -> Result<Connection, RpcError> {
        if let Some(connection) = lock(&self.connections).get(service) {
            return Ok(connection.clone());
        }
        let mut options = ConnectOptions::default();
        options.runtime_dir = Some(self.runtime_dir.clone());
        let endpoint = format!("shm://{service}");
        let made = tokio::task::spawn_blocking(move || Connection::connect_any(endpoint, &options)).await;
        let unavailable = |reason: String| RpcError::Unavailable { service: service.into(), reason };
        let connection = made
            .map_err(|error| RpcError::Internal(error.to_string()))?
            .map_err(|error| unavailable(error.to_string()))?;
        // Two requests may have come at once: the first connection stays.
        Ok(lock(&self.connections).entry(service.to_owned()).or_insert(connection).clone())
    }

    /// A connection for that call, with its deadline.
    async fn connection_for(&self, call: &Call<'_>) -> Result<Connection, RpcError> {
        self.check_wanted(call.service)?;
        let connection = self.connection(call.service).await?;
        Ok(match call.deadline {
            Some(deadline) => connection.with_deadline(deadline),
            None => connection,
        })
    }

    async fn run_stream(&self, call: Call<'_>, items: Option<CallItems>) -> Result<CallStream, RpcError> {
        let connection = self.connection_for(&call).await?;
        let method = connection.service().method(call.method).cloned();
        let method = method
            .ok_or_else(|| RpcError::NoSuchMethod(format!("{} has no {}", call.service, call.method)))?;
        let begun = connection.begin_stream_async(Target::from(&method), call.door, call.body).await?;
        let ClientStream { reply, sender, receiver } = begun;
        // Ends with the call, whatever the caller still has to send.
        let mut sending = JoinSet::new();
        if let Some(items) = items {
            sending.spawn(send(items, sender));
        }
        let parts = stream::unfold(Some((receiver, reply, sending)), async |left| {
            let (receiver, reply, sending) = left?;
            // An end before its time is explained by the reply.
            if let Some(Ok(item)) = receiver.recv_async().await {
                return Some((Ok(Part::Item(item.to_vec())), Some((receiver, reply, sending))));
            }
            Some((reply.await.map(Part::Reply), None))
        });
        Ok(Box::pin(parts))
    }

    async fn run(&self, call: Call<'_>) -> Result<Reply, RpcError> {
        let connection = self.connection_for(&call).await?;
        let (method, door, body) = (call.method.to_owned(), call.door, call.body.to_vec());
        // Handing over may block while there is no room, which no task of the page's should.
        let begun = tokio::task::spawn_blocking(move || {
            let description = connection.service();
            let method = description
                .method(&method)
                .ok_or_else(|| RpcError::NoSuchMethod(format!("{} has no {method}", description.name)))?;
            connection.begin(Target::from(method), door, &body)
        });
        begun.await.map_err(|error| RpcError::Internal(error.to_string()))??.await
    }
}

/// Sends what a caller streams, until the service wants no more.
async fn send(mut items: CallItems, sender: ByteSender) {
    while let Some(item) = items.next().await {
        match item {
            Ok(item) => {
                if sender.send_async(item).await.is_err() {
                    return;
                }
            }
            Err(reason) => return sender.fail(StreamClosed::Failed(reason)),
        }
    }
    sender.finish();
}

impl Daemon for Handle {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&lock(&self.snapshot))
    }

    fn control<'a>(&'a self, service: &'a str, action: Action) -> DaemonFuture<'a, Result<(), ControlError>> {
        Box::pin(async move { self.order(Order::Service(service.to_owned(), action)).await.map(drop) })
    }

    fn scale<'a>(&'a self, service: &'a str, to: ScaleTo) -> DaemonFuture<'a, Result<(), ControlError>> {
        Box::pin(async move { self.order(Order::Scale(service.to_owned(), to)).await.map(drop) })
    }

    fn reload(&self) -> DaemonFuture<'_, Result<String, ControlError>> {
        Box::pin(self.order(Order::Reload))
    }

    fn check(&self) -> DaemonFuture<'_, Result<String, ControlError>> {
        Box::pin(self.order(Order::Check))
    }

    fn hand_over(&self) -> DaemonFuture<'_, Result<(), ControlError>> {
        Box::pin(async move { self.order(Order::HandOver).await.map(drop) })
    }

    fn shutdown(&self) -> DaemonFuture<'_, Result<(), ControlError>> {
        Box::pin(async move { self.order(Order::Shutdown).await.map(drop) })
    }

    fn call<'a>(&'a self, call: Call<'a>) -> DaemonFuture<'a, Result<Reply, RpcError>> {
        Box::pin(self.run(call))
    }

    fn history(&self, query: HistoryQuery) -> DaemonFuture<'_, HistoryPage> {
        Box::pin(self.history.history(query))
    }

    fn events(&self, query: EventQuery) -> DaemonFuture<'_, LogPage> {
        Box::pin(async move {
            let kept = self.history.events(query.clone()).await;
            kept.unwrap_or_else(|| query.choose(self.tail.since(query.after, usize::MAX)))
        })
    }

    fn stream<'a>(
        &'a self,
        call: Call<'a>,
        items: Option<CallItems>,
    ) -> DaemonFuture<'a, Result<CallStream, RpcError>> {
        Box::pin(self.run_stream(call, items))
    }

    fn log_since(&self, after: Option<u64>, limit: usize) -> LogPage {
        self.tail.since(after, limit)
    }

    fn log_changes(&self) -> watch::Receiver<u64> {
        self.tail.changes()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each guarded value is replaced whole: a panic elsewhere leaves none half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
