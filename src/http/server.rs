//! The listeners, and what surrounds every request.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::middleware::{Condition, Next, from_fn};
use actix_web::web::ServiceConfig;
use actix_web::{App, Error, HttpResponse, HttpServer};

use super::guard::{self, Names};
use super::leftover::end_cleanly;
use super::observe::observe;
use super::tls::Tls;

/// A client has so long for its request line and headers.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// An idle connection is kept so long.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// So long a connection is read on after an answer that came before the end of its request: what is still on its way
/// must not reset the connection before the sender has seen the answer.
const LINGER: Duration = Duration::from_secs(2);

/// How to serve.
pub struct Settings {
    /// Plain listeners, bound already.
    pub plain: Vec<TcpListener>,
    /// TLS listeners, bound already.
    pub tls: Vec<TcpListener>,
    /// What they serve TLS with.
    pub certificate: Option<Tls>,
    /// By which names we may be called.
    pub names: Names,
    /// Threads; 0 is one a core.
    pub workers: usize,
    /// Connections at the same time.
    pub connections_max: usize,
    /// How long transfers may take to end.
    pub drain: Duration,
    /// Whether each request is logged.
    pub access_log: bool,
}

/// Binds addresses. Several at once, because port 0 means another port for each.
///
/// # Errors
/// The text names the address.
pub fn bind(addresses: &[SocketAddr]) -> io::Result<Vec<TcpListener>> {
    addresses
        .iter()
        .map(|address| {
            TcpListener::bind(address).map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
        })
        .collect()
}

/// Refuses what no client of ours sends, before any protocol sees it.
async fn gate(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let names = request.app_data::<Names>().cloned().unwrap_or_default();
    if let Err(error) = guard::check(request.request(), &names) {
        // No protocol was chosen yet, so this is everybody's form: VISOR's, which is plain JSON.
        let body = format!("{{\"code\":403,\"message\":\"{}\"}}", error.message());
        let response = HttpResponse::Forbidden().content_type("application/json; charset=utf-8").body(body);
        return Ok(request.into_response(response).map_into_boxed_body());
    }
    next.call(request).await.map(ServiceResponse::map_into_boxed_body)
}

/// Starts serving `mount`'s routes. The server runs when it is awaited.
///
/// # Errors
/// A listener can't be used.
pub fn start<M>(settings: Settings, mount: M) -> io::Result<Server>
where
    M: Fn(&mut ServiceConfig) + Clone + Send + 'static,
{
    let Settings { plain, tls, certificate, names, workers, connections_max, drain, access_log } = settings;
    let app = move || {
        App::new()
            .app_data(names.clone())
            .wrap(from_fn(gate))
            .wrap(Condition::new(access_log, from_fn(observe)))
            .wrap(from_fn(end_cleanly))
            .configure(&mount)
    };
    let mut server = HttpServer::new(app)
        .client_request_timeout(HEAD_PATIENCE)
        .keep_alive(KEEP_ALIVE)
        .client_disconnect_timeout(LINGER)
        .shutdown_timeout(drain.as_secs())
        .disable_signals();
    if workers > 0 {
        server = server.workers(workers);
    }
    // actix counts connections a worker.
    let workers = if workers > 0 { workers } else { std::thread::available_parallelism().map_or(1, Into::into) };
    server = server.max_connections(connections_max.div_ceil(workers));
    for listener in plain {
        server = server.listen(listener)?;
    }
    for listener in tls {
        let certificate = certificate.as_ref().ok_or_else(|| io::Error::other("TLS without a certificate"))?;
        server = server.listen_rustls_0_23(listener, certificate.config.clone())?;
    }
    Ok(server.run())
}
