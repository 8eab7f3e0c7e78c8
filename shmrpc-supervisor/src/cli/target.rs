//! From an endpoint and a method's name to a connection and a description, with errors that say what was
//! probably meant.

use std::time::Duration;

use shmrpc_core::{
    ClientTls, ConnectError, ConnectOptions, Connection, Endpoint, TlsError,
    endpoint::IntoEndpoints,
    method::{MethodDescription, ServiceDescription},
};

use super::{
    args::Reach,
    failure::{Exit, Failure},
    nearest::suggestion,
    services,
};

/// How a server's authority is named here.
const CA_HINT: &str = "or --tls-ca-file FILE";

/// Connects to whatever is there.
pub(super) fn connect(
    endpoint: &str,
    reach: &Reach,
    deadline: Option<Duration>,
    compress: bool,
) -> Result<Connection, Failure> {
    let endpoints = endpoint.into_endpoints().map_err(ConnectError::from)?;
    for endpoint in &endpoints {
        match endpoint {
            Endpoint::Shm { name: None } | Endpoint::Inproc { name: None } => {
                return Err(Failure::usage(format!("{endpoint} names no service: write {endpoint}NAME")));
            }
            Endpoint::Tcp { port: None, .. } | Endpoint::Tls { port: None, .. } => {
                return Err(Failure::usage(format!("{endpoint} has no port: write {endpoint}:PORT")));
            }
            _ => {}
        }
    }
    let mut options = ConnectOptions::default();
    options.deadline = deadline;
    options.compress = compress;
    options.runtime_dir.clone_from(&reach.runtime_dir);
    options.tls = client_tls(reach)?;
    Connection::connect_any(endpoints.clone(), &options).map_err(|error| {
        let is_unnamed = matches!(error, ConnectError::Tls { source: TlsError::NoAuthority, .. });
        let failure = Failure::from(error).hint(if is_unnamed { CA_HINT } else { "" });
        match &endpoints[..] {
            [Endpoint::Shm { name: Some(name) }] if failure.code() == Exit::NotFound as u8 => {
                let running = services::names(reach.runtime_dir.as_deref());
                failure.hint(&suggestion(name, &running.iter().map(String::as_str).collect::<Vec<_>>()))
            }
            _ => failure,
        }
    })
}

/// What the flags say, where they say nothing the environment; `None` without flags.
fn client_tls(reach: &Reach) -> Result<Option<ClientTls>, Failure> {
    let Reach { tls_ca_file, tls_certificate_file, tls_key_file, tls_server_name, .. } = reach;
    if tls_ca_file.is_none() && tls_certificate_file.is_none() && tls_server_name.is_none() {
        return Ok(None);
    }
    let from_env = ClientTls::from_env().map_err(|error| Failure::usage(error.to_string()))?;
    let mut tls = match (tls_ca_file, from_env) {
        (Some(file), Some(tls)) => tls.ca_file(file),
        (Some(file), None) => ClientTls::new(file),
        (None, Some(tls)) => tls,
        (None, None) => return Err(Failure::usage(TlsError::NoAuthority.to_string()).hint(CA_HINT)),
    };
    if let (Some(certificate), Some(key)) = (tls_certificate_file, tls_key_file) {
        tls = tls.identity(certificate, key);
    }
    if let Some(name) = tls_server_name {
        tls = tls.server_name(name);
    }
    Ok(Some(tls))
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
