use std::{fmt, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, oneshot},
    time::{Instant, sleep, timeout},
};
use tracing::{debug, warn};

use super::{Health, Snapshot, render::render};

/// Connections served at the same time; more wait.
const CONNECTIONS: usize = 16;
/// Requests that wait for the agent's loop at most; more wait for these.
const WAITING: usize = 16;
/// Pause after each connection is taken, so that whoever asks without end takes little of the processor.
const PAUSE: Duration = Duration::from_millis(5);
/// How long the agent's loop may take to answer until it counts as stuck.
const LOOP_PATIENCE: Duration = Duration::from_secs(10);
/// How long a client may take to send its request.
const REQUEST_PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection may last. Each is for one request.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(20);
/// Largest request in bytes.
const LARGEST_REQUEST: usize = 8 * 1024;
/// How old metrics may be: what others have been told a moment ago is told again, at no cost to the agent.
const FRESH: Duration = Duration::from_millis(500);

/// The content type of OpenMetrics' text.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the agent's loop is asked.
#[derive(Debug)]
pub enum Ask {
    /// Whether it is in step; that it answers at all shows that it lives.
    Health(oneshot::Sender<Health>),
    /// How everything is.
    Snapshot(oneshot::Sender<Box<Snapshot>>),
}

/// Why metrics cannot be served.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot serve metrics and health at {address}: {error}; stop what listens there (`ss -ltnp` lists it), or set another \
     `metrics.listen` in the configuration, or leave it out"
)]
pub struct ListenError {
    address: SocketAddr,
    error: io::Error,
}

/// A port, ready to be served.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
}

/// Listens on the address.
///
/// # Errors
/// Somebody else does, or the host does not have the address.
pub async fn bind(address: SocketAddr) -> Result<Server, ListenError> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(Server { listener }),
        Err(error) => Err(ListenError { address, error }),
    }
}

impl Server {
    /// Serves until the future is dropped; `asks` leads to the agent's loop.
    pub async fn run(self, asks: mpsc::Sender<Ask>) {
        let (scrapes, waiting) = mpsc::channel(WAITING);
        tokio::join!(self.accept(router(Desk { asks: asks.clone(), scrapes })), serve_scrapes(waiting, asks));
    }

    async fn accept(self, router: Router) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            // The semaphore is never closed.
            let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, client)) => {
                    let router = router.clone();
                    tokio::spawn(async move {
                        if let Err(error) = converse(stream, router).await {
                            debug!("a client of the metrics at {client} went away: {error}");
                        }
                        drop(permit);
                    });
                    sleep(PAUSE).await;
                }
                Err(error) => {
                    // Out of file descriptors, for example: others may become free.
                    warn!(%error, "cannot accept a connection for metrics");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// Answers one request, however slow the client is: within limits.
async fn converse(stream: TcpStream, router: Router) -> Result<(), String> {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_PATIENCE)
        .max_buf_size(LARGEST_REQUEST)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match timeout(CONNECTION_PATIENCE, connection).await {
        Ok(served) => served.map_err(|error| error.to_string()),
        Err(_) => Err("it is too slow".to_owned()),
    }
}

/// Where the handlers ask.
#[derive(Debug, Clone)]
struct Desk {
    asks: mpsc::Sender<Ask>,
    scrapes: mpsc::Sender<oneshot::Sender<Scrape>>,
}

/// Metrics as text, or why there are none.
type Scrape = Result<Bytes, Unanswered>;

/// Why the agent's loop has not answered.
#[derive(Debug, Clone)]
struct Unanswered(String);

impl IntoResponse for Unanswered {
    fn into_response(self) -> Response {
        (StatusCode::SERVICE_UNAVAILABLE, self.0 + "\n").into_response()
    }
}

fn router(desk: Desk) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(|| async { (StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n") })
        .with_state(desk)
}

async fn metrics(State(desk): State<Desk>) -> Result<Response, Unanswered> {
    let text = ask(&desk.scrapes, |reply| reply).await??;
    Ok(([(CONTENT_TYPE, OPENMETRICS)], text).into_response())
}

async fn healthz(State(desk): State<Desk>) -> Result<&'static str, Unanswered> {
    ask(&desk.asks, Ask::Health).await.map(|_| "alive\n")
}

async fn readyz(State(desk): State<Desk>) -> Result<Response, Unanswered> {
    let reasons = ask(&desk.asks, Ask::Health).await?.reasons();
    if reasons.is_empty() {
        return Ok("ready\n".into_response());
    }
    let text = format!("not ready:\n- {}\n", reasons.join("\n- "));
    Ok((StatusCode::SERVICE_UNAVAILABLE, text).into_response())
}

/// Asks, and waits for the answer as long as it may take.
async fn ask<Q: fmt::Debug, A>(
    to: &mpsc::Sender<Q>,
    question: impl FnOnce(oneshot::Sender<A>) -> Q,
) -> Result<A, Unanswered> {
    let (reply, answer) = oneshot::channel();
    let asked = async {
        to.send(question(reply)).await.ok()?;
        answer.await.ok()
    };
    within(LOOP_PATIENCE, asked).await
}

async fn within<A>(patience: Duration, answer: impl Future<Output = Option<A>>) -> Result<A, Unanswered> {
    match timeout(patience, answer).await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(Unanswered("the agent is stopping".to_owned())),
        Err(_) => Err(Unanswered(format!("the agent's loop has not answered within {patience:?}"))),
    }
}

/// Owns the last text: those who ask at the same time, or shortly after each other, are told the same.
async fn serve_scrapes(mut waiting: mpsc::Receiver<oneshot::Sender<Scrape>>, asks: mpsc::Sender<Ask>) {
    let mut last: Option<(Instant, Bytes)> = None;
    while let Some(reply) = waiting.recv().await {
        // Whoever asked may have gone.
        if reply.is_closed() {
            continue;
        }
        let told = match last.take().filter(|(at, _)| at.elapsed() < FRESH) {
            Some(fresh) => Ok(fresh),
            None => scrape(&asks).await.map(|text| (Instant::now(), text)),
        };
        let _ = reply.send(told.as_ref().map(|(_, text)| text.clone()).map_err(Clone::clone));
        last = told.ok();
    }
}

async fn scrape(asks: &mpsc::Sender<Ask>) -> Scrape {
    let snapshot = ask(asks, Ask::Snapshot).await?;
    let text =
        render(*snapshot).map_err(|error| Unanswered(format!("the metrics cannot be written: {error}")))?;
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::tests::snapshot;

    #[test]
    fn who_asks_at_the_same_time_is_told_the_same() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (asks, mut asked) = mpsc::channel(1);
            let (scrapes, waiting) = mpsc::channel(WAITING);
            let mut answers = Vec::new();
            for _ in 0..WAITING {
                let (reply, answer) = oneshot::channel();
                scrapes.send(reply).await.unwrap();
                answers.push(answer);
            }
            drop(scrapes);
            let agent = async {
                let mut times = 0;
                while let Some(Ask::Snapshot(reply)) = asked.recv().await {
                    times += 1;
                    reply.send(Box::new(snapshot())).unwrap();
                }
                times
            };
            let (times, ()) = tokio::join!(agent, serve_scrapes(waiting, asks));
            // Once, unless this takes longer than a text is fresh.
            assert!((1..WAITING).contains(&times), "{times}");
            for answer in answers {
                assert!(answer.await.unwrap().unwrap().ends_with(b"# EOF\n"));
            }
        });
    }

    #[test]
    fn a_loop_that_does_not_answer_is_told_of() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let stuck = within(Duration::from_millis(1), std::future::pending::<Option<()>>()).await;
            assert_eq!(stuck.unwrap_err().0, "the agent's loop has not answered within 1ms");
            let (asks, asked) = mpsc::channel(1);
            drop(asked);
            let desk = Desk { asks, scrapes: mpsc::channel(1).0 };
            assert_eq!(healthz(State(desk)).await.unwrap_err().0, "the agent is stopping");
        });
    }

    #[test]
    fn a_port_that_is_taken_is_named_with_what_to_do() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = taken.local_addr().unwrap();
            let error = bind(address).await.unwrap_err().to_string();
            assert!(error.starts_with(&format!(
                "cannot serve metrics and health at {address}: Address already in use"
            )));
            assert!(error.contains("`metrics.listen`"), "{error}");
        });
    }
}
