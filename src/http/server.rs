//! The listeners, and what surrounds every request.

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

use super::base::PublicUrl;
use super::guard::{self, Names};
use super::leftover::end_cleanly;
use super::observe::observe;
use super::peer::{Arrival, Peer};
use super::protocol::Protocols;
use super::socket::Socket;
use super::tls::Tls;

/// A client has so long for a handshake.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);

/// A client has so long for its request line and headers.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// An idle connection is kept so long.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// So long a connection is read on after an answer that came before the end of its request: what is still on its way
/// must not reset the connection before the sender has seen the answer.
const LINGER: Duration = Duration::from_secs(2);

/// A client may read nothing for so long while there is something for it.
const WRITE_STALL: Duration = Duration::from_secs(60);

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
    /// The address that the operator says clients call; empty if it is the server's own.
    pub public_url: String,
    /// The protocols.
    pub protocols: Protocols,
}

/// Binds addresses. Several at once, because port 0 means another port for each.
///
/// With `lenient` an IPv6 address that this machine does not have is left out, as long as another is left: the default
/// names both loopback addresses, and many containers have one.
///
/// # Errors
/// The text names the address.
pub fn bind(addresses: &[SocketAddr], lenient: bool) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in addresses {
        match TcpListener::bind(address) {
            Ok(listener) => {
                // Connections have what their listener has. Only the kernel can end those that are never read from:
                // nothing of ours is called as long as nothing can be written.
                let stall = u32::try_from(WRITE_STALL.as_millis()).unwrap_or(u32::MAX);
                set_tcp_user_timeout(&listener, stall)?;
                // Whatever is written is meant to go out: answers are written whole, and files are corked.
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

/// Refuses what no client of ours sends, before any protocol sees it.
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

/// Starts serving. The server runs when it is awaited.
///
/// This is what actix-web's `HttpServer` does, with a connection of our own under plain HTTP (see `socket.rs`); `HttpServer`
/// has no place for one.
///
/// # Errors
/// A listener can't be used.
pub fn start(settings: Settings) -> io::Result<Server> {
    let Settings { plain, tls, certificate, workers, connections_max, drain, access_log, .. } = settings;
    let (names, public, protocols) = (settings.names, settings.public_url, settings.protocols);
    let app = move || {
        // One for each thread: they must not count references to one thing together.
        let (names, all) = (names.clone(), Rc::new(protocols.clone()));
        let app = App::new()
            .wrap(from_fn(move |request, next| gate(names.clone(), Rc::clone(&all), request, next)))
            // Outside the gate, so that what it refuses has an id too.
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
    // Counted by each worker for itself.
    let connections = connections_max.div_ceil(workers);
    // They are connections already. With a lower bound of their own, those who never end a handshake would keep everybody
    // else away.
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
                // Nobody closes one half of a TLS connection and waits for an answer on the other. A client that has
                // closed is gone, and so is what a handler does for it.
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

/// How connections are treated, of whatever kind.
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
        assert!(bind(&pair[1..], true).is_err(), "somebody has to be able to reach it");
    }
}
