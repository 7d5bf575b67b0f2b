//! The listeners, and the middleware around every request. It knows protocols only as values of a list.

use std::cell::OnceCell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::{Extensions, HttpServiceBuilder, Request, Response};
use actix_server::{GracefulShutdownSignal, Server};
use actix_service::{Service, ServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_tls::accept::rustls_0_23::{Acceptor, TlsStream};
use actix_tls::accept::{TlsError, max_concurrent_tls_connect};
use actix_web::body::BoxBody;
use actix_web::dev::{AppConfig, ServiceRequest, ServiceResponse};
use actix_web::middleware::{Condition, Next, from_fn};
use actix_web::{App, Error, HttpMessage as _};
use rustix::io::Errno;
use rustix::net::sockopt::{set_tcp_nodelay, set_tcp_user_timeout};
use tokio::net::TcpStream;

use super::asked;
use super::base::PublicUrl;
use super::connection::{Closing, served_with};
use super::cors::{self, FromPage, Origins};
use super::guard::{self, Names};
use super::leftover::end_cleanly;
use super::observe::observe;
use super::peer::Arrival;
use super::protocol::{PathMethods, Protocols};
use super::refusal;
use super::socket::Socket;
use super::tls::Tls;
use super::traffic::{Traffic, count};
use super::wire::{ConnectionStream, Refusal, Wire};

/// Maximum time for a handshake.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);

/// Maximum time for a request line and its headers.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// Maximum time for an idle connection.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// Maximum time in which a client reads none of the bytes that wait for it.
const WRITE_STALL: Duration = Duration::from_secs(60);

/// Settings of a server.
pub struct Settings {
    /// Plain listeners, bound already.
    pub plain: Vec<TcpListener>,
    /// TLS listeners, bound already.
    pub tls: Vec<TcpListener>,
    /// The certificate of the TLS listeners.
    pub certificate: Option<Tls>,
    /// Names by which clients may call the server.
    pub names: Names,
    /// Origins whose web pages may use the server.
    pub origins: Origins,
    /// Number of threads; 0 is one per core.
    pub workers: usize,
    /// Maximum number of open connections.
    pub connections_max: usize,
    /// Time for transfers to end at a stop.
    pub drain: Duration,
    /// Switches a log line per request on.
    pub access_log: bool,
    /// The address that clients use, from the configuration; empty if it is the server's own.
    pub public_url: String,
    /// The protocols.
    pub protocols: Protocols,
    /// The count of requests in progress.
    pub traffic: Traffic,
}

/// Binds addresses. Several at once, because port 0 means another port for each.
///
/// With `lenient`, an IPv6 address that this machine does not have is skipped if another address is bound: the default
/// names both loopback addresses, and many containers have one.
///
/// # Errors
/// The text names the address.
pub fn bind(addresses: &[SocketAddr], lenient: bool) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in addresses {
        match TcpListener::bind(address) {
            Ok(listener) => {
                // Connections inherit this option. Only the kernel can end a connection whose client never reads: no
                // code here runs while nothing can be written.
                let stall = u32::try_from(WRITE_STALL.as_millis()).unwrap_or(u32::MAX);
                set_tcp_user_timeout(&listener, stall)?;
                // Every write is meant to be sent at once: answers are written whole, and files are corked.
                set_tcp_nodelay(&listener, true)?;
                listeners.push(listener);
            }
            Err(error) if lenient && address.is_ipv6() && !listeners.is_empty() && has_no_ipv6(&error) => {
                log::info!("not serving on {address}: this machine has no IPv6");
            }
            Err(error) => return Err(io::Error::new(error.kind(), format!("{address}: {error}"))),
        }
    }
    Ok(listeners)
}

fn has_no_ipv6(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    error.kind() == io::ErrorKind::AddrNotAvailable || code == Some(Errno::AFNOSUPPORT.raw_os_error())
}

/// Rules about the senders of requests.
struct Gate {
    names: Names,
    origins: Origins,
    protocols: Protocols,
    /// Methods by path, since the first page asked.
    methods: OnceCell<PathMethods>,
}

/// Refuses requests that no legitimate client sends, before any protocol sees them, and answers pages that ask what they may
/// do.
async fn gate(gate: Rc<Gate>, request: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse, Error> {
    let http = request.request();
    if let Some(refusal) = http.conn_data::<Refusal>() {
        let error = refusal.reason.saying(refusal.words);
        let response = match refusal.has_path {
            true => gate.protocols.refuse(http, &error),
            false => refusal::plain(&error),
        };
        return Ok(request.into_response(response));
    }
    let origin = gate.origins.of(http.headers()).cloned();
    if origin.is_some() {
        http.extensions_mut().insert(FromPage);
    }
    let mut response = match guard::check(http, &gate.names, &gate.origins) {
        Err(error) => {
            let response = gate.protocols.refuse(http, &error);
            request.into_response(response)
        }
        Ok(()) => {
            let asked = origin.as_ref().filter(|_| cors::is_preflight(http));
            let methods = || gate.methods.get_or_init(|| gate.protocols.methods()).at(http.path());
            if let Some((page, methods)) = asked.and_then(|page| Some((page, methods()?))) {
                let response = cors::preflight(http, page, &methods);
                return Ok(request.into_response(response));
            }
            next.call(request).await?
        }
    };
    if !gate.origins.is_empty() {
        if let Some(origin) = origin {
            cors::let_read(response.headers_mut(), origin);
        }
        cors::vary(response.headers_mut());
    }
    Ok(response)
}

/// Starts the server, which runs when it is awaited.
///
/// This does the work of actix-web's `HttpServer`, which has no place for the plain HTTP connection of `socket.rs`.
///
/// # Errors
/// A listener can't be used.
pub fn start(settings: Settings) -> io::Result<Server> {
    let Settings { plain, tls, certificate, workers, connections_max, drain, access_log, .. } = settings;
    let (names, origins, public, protocols) =
        (settings.names, settings.origins, settings.public_url, settings.protocols);
    let traffic = settings.traffic;
    let app = move || {
        // Each thread has a copy: a shared reference count would slow all of them.
        let (names, origins, protocols) = (names.clone(), origins.clone(), protocols.clone());
        let rules = Rc::new(Gate { names, origins, protocols: protocols.clone(), methods: OnceCell::new() });
        let own = traffic.of_thread();
        let app = App::new()
            .wrap(from_fn(move |request, next| gate(Rc::clone(&rules), request, next)))
            .wrap(Condition::new(asked::is_on(), from_fn(asked::asked)))
            // This middleware surrounds the gate, so that refusals have an id too.
            .wrap(Condition::new(access_log, from_fn(observe)))
            .wrap(from_fn(move |request, next| count(Arc::clone(&own), request, next)))
            .wrap(from_fn(end_cleanly))
            .configure(|app| {
                if !public.is_empty() {
                    app.app_data(PublicUrl(public.clone()));
                }
                protocols.mount(app);
            });
        map_config(app, |()| AppConfig::default())
    };
    let workers = threads(workers);
    // Each worker counts its own connections.
    let connections = connections_max.div_ceil(workers);
    // Handshakes count as connections already. With a lower limit of their own, clients that never end a handshake
    // would keep all others out.
    max_concurrent_tls_connect(connections);
    let mut server = Server::build()
        .workers(workers)
        .max_concurrent_connections(connections)
        .shutdown_timeout(drain.as_secs())
        .disable_signals();
    let closing = move |ending| Closing { ending, lingering_max: connections / 2 };
    for listener in plain {
        let arrival = Arrival { secure: false, local: listener.local_addr()? };
        let (app, ending) = (app.clone(), server.graceful_shutdown_signal());
        server = server.listen("http", listener, move || {
            let http = served_with(requests(arrival, ending.clone()).h1(app()), closing(ending.clone()));
            let connected = async |stream: TcpStream| {
                let peer = stream.peer_addr().ok();
                Ok((Socket::new(stream), peer))
            };
            fn_service(connected).and_then(http)
        })?;
    }
    for listener in tls {
        let certificate = certificate.as_ref().ok_or_else(|| io::Error::other("TLS without a certificate"))?;
        let arrival = Arrival { secure: true, local: listener.local_addr()? };
        let mut config = certificate.config.clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let (app, ending) = (app.clone(), server.graceful_shutdown_signal());
        server = server.listen("https", listener, move || {
            // No client closes one half of a TLS connection and waits for an answer on the other. A client that has
            // closed is gone, and its handler ends with it.
            let http = requests(arrival, ending.clone()).h1_allow_half_closed(false).h1(app());
            let http = served_with(http, closing(ending.clone()));
            let mut handshake = Acceptor::new(config.clone());
            handshake.set_handshake_timeout(HANDSHAKE_PATIENCE);
            let connected = |stream: TlsStream<TcpStream>| {
                let peer = stream.tcp().peer_addr().ok();
                (stream, peer)
            };
            handshake.map_err(TlsError::into_service_error).map(connected).and_then(http.map_err(TlsError::Service))
        })?;
    }
    Ok(server.run())
}

/// The number of threads that a setting means: 0 is one per core.
fn threads(configured: usize) -> usize {
    match configured {
        0 => std::thread::available_parallelism().map_or(1, Into::into),
        some => some,
    }
}

/// Requests of connections of every kind: their time limits, and the facts of their connection.
fn requests<S: ConnectionStream, A>(arrival: Arrival, ending: GracefulShutdownSignal) -> HttpServiceBuilder<Wire<S>, A>
where
    A: ServiceFactory<Request, Config = ()>,
    A::Error: Into<Response<BoxBody>> + 'static,
    A::InitError: std::fmt::Debug,
    <A::Service as Service<Request>>::Future: 'static,
{
    HttpServiceBuilder::default()
        .graceful_shutdown_signal(move || {
            let ending = ending.clone();
            async move { ending.notified().await }
        })
        .client_request_timeout(HEAD_PATIENCE)
        .keep_alive(KEEP_ALIVE)
        // `connection.rs` closes connections: with a limit here, actix-http would read the rest of a request itself.
        .client_disconnect_timeout(Duration::ZERO)
        .on_connect_ext(move |wire: &Wire<S>, data: &mut Extensions| {
            data.insert(arrival);
            wire.introduce(data);
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_a_machine_does_not_have_is_left_out_only_of_the_default() {
        let pair: [SocketAddr; 2] = ["127.0.0.1:0".parse().unwrap(), "[2001:db8::1]:0".parse().unwrap()];
        assert_eq!(bind(&pair, true).unwrap().len(), 1);
        assert!(bind(&pair, false).unwrap_err().to_string().contains("2001:db8::1"));
        assert!(bind(&pair[1..], true).is_err(), "a server needs an address");
    }
}
