//! A small HTTP server for whoever only looks: one thread, a few connections at a time, one answer for each.
//!
//! What is shown is taken and written by a second thread, one answer after another. So the first one is never silent for long, which the
//! watchdog would see, and closes connections that are when they have had their time.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net;
use tokio::runtime::Builder;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{LocalSet, spawn_blocking, spawn_local};
use tokio::time::{sleep, timeout};

use super::{Scrape, exposition};
use crate::config::{Listen, Shown};
use crate::control::reading::Source;
use crate::control::socket::Socket;
use crate::telemetry::heartbeat::Heartbeat;

/// Connections at a time; others wait.
const CONNECTIONS_MAX: usize = 32;
/// How long a client may take to say what it wants.
const REQUEST: Duration = Duration::from_secs(5);
/// How long a connection may take in all.
const CONNECTION: Duration = Duration::from_secs(60);
/// Most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Pause after a connection that could not be accepted for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Between two beats of the heart; the watchdog waits for longer.
const BEAT: Duration = Duration::from_millis(500);
/// How long an answer that is being written may take at the end.
const GOODBYE: Duration = Duration::from_millis(500);

/// What is shown, by path.
const PATHS: &str = "\
portcullis answers GET:
  /metrics   the counters, as Prometheus reads them
  /health    how it goes, as JSON; status 503 if there are problems
";

/// A server of metrics at work.
#[derive(Debug)]
pub struct Server {
    heart: Arc<Heartbeat>,
    stop: Arc<Notify>,
    thread: JoinHandle<()>,
}

impl Server {
    /// Serves what `source` knows at these ends. Ends that cannot be had are left out, and named: who cannot be measured still
    /// forwards.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start<S>(ends: &[Listen], shown: Shown, source: S) -> io::Result<(Self, Vec<String>)>
    where
        S: Source + Send + Sync + 'static,
    {
        let (mut listeners, mut refused) = (Vec::new(), Vec::new());
        for end in ends {
            match Listener::open(end) {
                Ok(listener) => listeners.push(listener),
                Err(error) => refused.push(format!("`metrics.listen`: {end}: {error}; no metrics are served there")),
            }
        }
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(1).build()?;
        let (heart, stop) = (Arc::new(Heartbeat::new("metrics")), Arc::new(Notify::new()));
        let (beats, stops) = (Arc::clone(&heart), Arc::clone(&stop));
        let pages = Arc::new(Pages { shown, source });
        let work = move || {
            LocalSet::new().block_on(&runtime, async {
                for listener in listeners {
                    spawn_local(listener.serve(Arc::clone(&pages)));
                }
                while timeout(BEAT, stops.notified()).await.is_err() {
                    beats.beat();
                }
            });
            runtime.shutdown_timeout(GOODBYE);
        };
        let thread = std::thread::Builder::new().name("metrics".into()).spawn(work)?;
        Ok((Self { heart, stop, thread }, refused))
    }

    /// Its sign of life.
    #[must_use]
    pub fn heart(&self) -> Arc<Heartbeat> {
        Arc::clone(&self.heart)
    }

    /// Ends it; who is not answered yet is not answered.
    pub fn stop(self) {
        self.stop.notify_one();
        let _ = self.thread.join();
    }
}

/// An end that is open. The socket's file goes with it.
enum Listener {
    Tcp(TcpListener),
    Unix(Socket),
}

impl Listener {
    fn open(end: &Listen) -> Result<Self, Box<dyn std::error::Error>> {
        let listener = match end {
            Listen::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                tracing::info!("metrics at http://{}/metrics", listener.local_addr()?);
                Self::Tcp(listener)
            }
            Listen::Unix(path) => {
                let socket = Socket::take(path)?;
                socket.listener().set_nonblocking(true)?;
                tracing::info!("metrics at {}, path /metrics", path.display());
                Self::Unix(socket)
            }
        };
        Ok(listener)
    }

    async fn serve<S: Source + Send + Sync + 'static>(self, pages: Arc<Pages<S>>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let served = match self {
            Self::Tcp(listener) => match net::TcpListener::from_std(listener) {
                Ok(listener) => accept(async || Ok(listener.accept().await?.0), &places, &pages).await,
                Err(error) => error,
            },
            Self::Unix(socket) => match socket.listener().try_clone().and_then(net::UnixListener::from_std) {
                Ok(listener) => accept(async || Ok(listener.accept().await?.0), &places, &pages).await,
                Err(error) => error,
            },
        };
        tracing::error!("metrics are served no more: {served}");
    }
}

/// Takes one connection after another, as long as there is a place; for ever, unless something is wrong that stays so.
async fn accept<C, S>(
    next: impl AsyncFn() -> io::Result<C>,
    places: &Arc<Semaphore>,
    pages: &Arc<Pages<S>>,
) -> io::Error
where
    C: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Source + Send + Sync + 'static,
{
    loop {
        let place = match Arc::clone(places).acquire_owned().await {
            Ok(place) => place,
            Err(closed) => return io::Error::other(closed),
        };
        match next().await {
            Ok(connection) => {
                let pages = Arc::clone(pages);
                spawn_local(async move {
                    // A client that is gone, slow or speaks something else needs no answer.
                    let _ = timeout(CONNECTION, converse(connection, pages)).await;
                    drop(place);
                });
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn converse<S: Source + Send + Sync + 'static>(
    connection: impl AsyncRead + AsyncWrite + Unpin,
    pages: Arc<Pages<S>>,
) -> hyper::Result<()> {
    let service = service_fn(|request: Request<Incoming>| {
        let pages = Arc::clone(&pages);
        async move { io::Result::Ok(pages.answer(&request).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(connection), service)
        .await
}

/// Everything that is shown.
struct Pages<S> {
    shown: Shown,
    source: S,
}

const TEXT: &str = "text/plain; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

type Answer = (StatusCode, &'static str, Vec<u8>);

impl<S: Source + Send + Sync + 'static> Pages<S> {
    async fn answer(self: Arc<Self>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let page: Option<fn(&Self) -> Answer> = match request.uri().path() {
            "/metrics" => Some(Self::metrics),
            "/health" => Some(Self::health),
            "/" => Some(|_| (StatusCode::OK, TEXT, PATHS.into())),
            _ => None,
        };
        let (status, content_type, body) = match page {
            _ if !is_read => (StatusCode::METHOD_NOT_ALLOWED, TEXT, "nothing can be changed here\n".into()),
            None => (StatusCode::NOT_FOUND, TEXT, format!("there is no {}; {PATHS}", request.uri().path()).into()),
            Some(page) => match spawn_blocking(move || page(&self)).await {
                Ok(answer) => answer,
                Err(_) => unavailable("it was cancelled"),
            },
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }

    fn metrics(&self) -> Answer {
        match Scrape::take(&self.source, self.shown) {
            Ok(scrape) => (StatusCode::OK, PROMETHEUS, exposition::text(&scrape)),
            Err(error) => unavailable(&error.message),
        }
    }

    fn health(&self) -> Answer {
        let health = match Scrape::take(&self.source, Shown::Top(0)) {
            Ok(scrape) => scrape.health,
            Err(error) => return unavailable(&error.message),
        };
        let status = if health.healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        match serde_json::to_vec(&health) {
            Ok(json) => (status, JSON, json),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string().into()),
        }
    }
}

fn unavailable(why: &str) -> Answer {
    (StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{why}\n").into())
}
