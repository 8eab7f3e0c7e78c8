//! From an endpoint and a method's name to a connection and a description, with errors that say what was
//! probably meant.

use std::{path::Path, time::Duration};

use shmrpc_core::{
    ConnectError, ConnectOptions, Connection, Endpoint,
    endpoint::IntoEndpoints,
    method::{MethodDescription, ServiceDescription},
};

use super::{
    failure::{Exit, Failure},
    nearest::suggestion,
    services,
};

/// Connects to whatever is there.
pub(super) fn connect(
    endpoint: &str,
    runtime_dir: Option<&Path>,
    deadline: Option<Duration>,
    compress: bool,
) -> Result<Connection, Failure> {
    let endpoints = endpoint.into_endpoints().map_err(ConnectError::from)?;
    for endpoint in &endpoints {
        match endpoint {
            Endpoint::Shm { name: None } | Endpoint::Inproc { name: None } => {
                return Err(Failure::usage(format!("{endpoint} names no service: write {endpoint}NAME")));
            }
            Endpoint::Tcp { port: None, .. } => {
                return Err(Failure::usage(format!("{endpoint} has no port: write {endpoint}:PORT")));
            }
            _ => {}
        }
    }
    let mut options = ConnectOptions::default();
    options.deadline = deadline;
    options.compress = compress;
    options.runtime_dir = runtime_dir.map(Path::to_owned);
    Connection::connect_any(endpoints.clone(), &options).map_err(|error| {
        let failure = Failure::from(error);
        match &endpoints[..] {
            [Endpoint::Shm { name: Some(name) }] if failure.code() == Exit::NotFound as u8 => {
                let running = services::names(runtime_dir);
                failure.hint(&suggestion(name, &running.iter().map(String::as_str).collect::<Vec<_>>()))
            }
            _ => failure,
        }
    })
}

/// The method of that name.
pub(super) fn method<'a>(
    service: &'a ServiceDescription,
    name: &str,
) -> Result<&'a MethodDescription, Failure> {
    service.method(name).ok_or_else(|| {
        let names: Vec<&str> = service.methods.iter().map(|method| method.name.as_str()).collect();
        Failure::new(Exit::NotFound, format!("{} has no method {name}", service.name))
            .hint(&suggestion(name, &names))
    })
}

/// `name(a: u32, b: String) -> Row`, for messages.
pub(super) fn usage_of(method: &MethodDescription) -> String {
    let params: Vec<String> = method.params.iter().map(|(name, ty)| format!("{name}: {ty}")).collect();
    format!("{}({}) -> {}", method.name, params.join(", "), method.returns)
}
