//! The listeners, and the middleware around every request. It knows protocols only as values of a list.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

use actix_http::{Extensions, HttpServiceBuilder, Request, Response, TlsAcceptorConfig};
use actix_server::{GracefulShutdownSignal, Server};
use actix_service::{Service, ServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_tls::accept::max_concurrent_tls_connect;
use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::body::BoxBody;
use actix_web::dev::{AppConfig, ServiceRequest, ServiceResponse};
use actix_web::middleware::{Condition, Next, from_fn};
use actix_web::{App, Error};
use rustix::io::Errno;
use rustix::net::sockopt::{set_tcp_nodelay, set_tcp_user_timeout};
use tokio::net::TcpStream;

use super::asked;
use super::base::PublicUrl;
use super::guard::{self, Names};
use super::leftover::end_cleanly;
use super::observe::observe;
use super::peer::{Arrival, Peer};
use super::protocol::Protocols;
use super::socket::Socket;
use super::tls::Tls;

/// Maximum time for a handshake.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);

/// Maximum time for a request line and its headers.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// Maximum time for an idle connection.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// Time for which a connection is read on after an answer that preceded the end of its request: bytes in flight must
/// not reset the connection before the client has seen the answer.
const LINGER: Duration = Duration::from_secs(2);

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

/// Refuses requests that no legitimate client sends, before any protocol sees them.
async fn gate(
    names: Names,
    protocols: Rc<Protocols>,
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse, Error> {
    match guard::check(request.request(), &names) {
        Ok(()) => next.call(request).await,
        Err(error) => {
            let response = protocols.refuse(request.request(), &error);
            Ok(request.into_response(response))
        }
    }
}

/// Starts the server, which runs when it is awaited.
///
/// This does the work of actix-web's `HttpServer`, which has no place for the plain HTTP connection of `socket.rs`.
///
/// # Errors
/// A listener can't be used.
pub fn start(settings: Settings) -> io::Result<Server> {
    let Settings { plain, tls, certificate, workers, connections_max, drain, access_log, .. } = settings;
    let (names, public, protocols) = (settings.names, settings.public_url, settings.protocols);
    let app = move || {
        // Each thread has a copy: a shared reference count would slow all of them.
        let (names, all) = (names.clone(), Rc::new(protocols.clone()));
        let app = App::new()
            .wrap(from_fn(move |request, next| gate(names.clone(), Rc::clone(&all), request, next)))
            .wrap(Condition::new(asked::is_on(), from_fn(asked::asked)))
            // This middleware surrounds the gate, so that refusals have an id too.
            .wrap(Condition::new(access_log, from_fn(observe)))
            .wrap(from_fn(end_cleanly))
            .configure(|app| {
                if !public.is_empty() {
                    app.app_data(PublicUrl(public.clone()));
                }
                protocols.mount(app);
            });
        map_config(app, |()| AppConfig::default())
    };
    let workers = match workers {
        0 => std::thread::available_parallelism().map_or(1, Into::into),
        some => some,
    };
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
    for listener in plain {
        let arrival = Arrival { secure: false, local: listener.local_addr()? };
        let (app, ending) = (app.clone(), server.graceful_shutdown_signal());
        server = server.listen("http", listener, move || {
            let http = patient(ending.clone())
                .on_connect_ext(move |socket: &Socket, data: &mut Extensions| {
                    data.insert(arrival);
                    data.insert(socket.outlet());
                })
                .h1(app());
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
        let (app, ending, config) = (app.clone(), server.graceful_shutdown_signal(), certificate.config.clone());
        server = server.listen("https", listener, move || {
            let handshake = TlsAcceptorConfig::default().handshake_timeout(HANDSHAKE_PATIENCE);
            patient(ending.clone())
                // No client closes one half of a TLS connection and waits for an answer on the other. A client that has
                // closed is gone, and its handler ends with it.
                .h1_allow_half_closed(false)
                .on_connect_ext(move |stream: &TlsStream<TcpStream>, data: &mut Extensions| {
                    data.insert(arrival);
                    data.insert(Peer::of(stream));
                })
                .finish(app())
                .rustls_0_23_with_config(config.clone(), handshake)
        })?;
    }
    Ok(server.run())
}

/// Time limits of connections of every kind.
fn patient<IO, S>(ending: GracefulShutdownSignal) -> HttpServiceBuilder<IO, S>
where
    S: ServiceFactory<Request, Config = ()>,
    S::Error: Into<Response<BoxBody>> + 'static,
    S::InitError: std::fmt::Debug,
    <S::Service as Service<Request>>::Future: 'static,
{
    HttpServiceBuilder::default()
        .graceful_shutdown_signal(move || {
            let ending = ending.clone();
            async move { ending.notified().await }
        })
        .client_request_timeout(HEAD_PATIENCE)
        .keep_alive(KEEP_ALIVE)
        .client_disconnect_timeout(LINGER)
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
