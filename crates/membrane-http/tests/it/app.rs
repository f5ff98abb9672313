//! The server under test: the real router on a real socket, over a SQLite file or over memory; and verbs that
//! keep the cases short. Stopping it checks what no test may leave behind.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use membrane::responder::EchoOptions;
use membrane::store::memory::MemoryStore;
use membrane::{
    Chat, Limits, NewSessionOptions, NewTurn, RunSettings, SessionId, Store, SystemClock, WriteOptions,
};
use membrane_http::telemetry::Telemetry;
use membrane_http::{App, HttpSettings, Server, ServerSettings, router};
use membrane_sqlite::{SqliteOptions, SqliteStore};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::client::{Answer, Call, Connection, PATIENCE};
use crate::events::Events;
use crate::prometheus::Metrics;
use crate::script::{Script, Speaker};

/// How a server is set up; the defaults are those of the real one.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    pub(crate) in_memory: bool,
    pub(crate) echo: EchoOptions,
    pub(crate) http: HttpSettings,
    pub(crate) server: ServerSettings,
    pub(crate) limits: Limits,
    pub(crate) runs: RunSettings,
}

/// A server that runs until [`TestApp::stop`], which every test ends with.
#[derive(Debug)]
pub(crate) struct TestApp {
    pub(crate) chat: Chat,
    pub(crate) addr: SocketAddr,
    script: Arc<Script>,
    running: Option<Running>,
    _folder: Option<TempDir>,
}

#[derive(Debug)]
struct Running {
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

/// Metrics are kept once per process, whatever number of servers it has.
fn telemetry() -> Telemetry {
    static TELEMETRY: OnceLock<Telemetry> = OnceLock::new();
    let install = || {
        let telemetry = Telemetry::install().unwrap();
        membrane_sqlite::telemetry::describe();
        telemetry
    };
    TELEMETRY.get_or_init(install).clone()
}

/// Gauges are of the server that was asked last, so that two may not be asked at once.
static SCRAPING: Mutex<()> = Mutex::const_new(());

impl TestApp {
    pub(crate) async fn start() -> Self {
        Self::with(|_| ()).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup::default();
        change(&mut setup);
        let telemetry = telemetry();
        let (store, folder): (Arc<dyn Store>, _) = if setup.in_memory {
            (Arc::new(MemoryStore::new(Arc::new(SystemClock))), None)
        } else {
            let folder = tempfile::tempdir().unwrap();
            let options = SqliteOptions::at(folder.path().join("keep.db"));
            (Arc::new(SqliteStore::open(options).await.unwrap()), Some(folder))
        };
        let script = Arc::new(Script::new(setup.echo));
        let responder = Arc::clone(&script);
        let chat = Chat::builder(store).limits(setup.limits).responder(responder).runs(setup.runs).build();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let app = App::new(chat.clone(), setup.http, telemetry);
        let server = Server::new(router(app), setup.server);
        let (stop, stopped) = oneshot::channel();
        let (draining, is_draining) = oneshot::channel();
        let stop_when = async move {
            let _ = stopped.await;
            let _ = draining.send(());
        };
        let draining_chat = chat.clone();
        let drain = async move {
            let _ = is_draining.await;
            draining_chat.drain(setup.server.drain).await;
        };
        let server = tokio::spawn(server.serve(listener, stop_when, drain));
        Self { chat, addr, script, running: Some(Running { stop, server }), _folder: folder }
    }

    /// Stops the server as a signal does; it must end by itself, with nothing under way, a keep that does not
    /// contradict itself, and no fault of its own.
    pub(crate) async fn stop(mut self) {
        let faults = self.metrics().await;
        assert_eq!(faults.find("membrane_errors_total", &[("code", "internal")]), None, "the server failed");
        let Running { stop, server } = self.running.take().expect("it runs");
        stop.send(()).expect("the server listens");
        timeout(PATIENCE, server).await.expect("the server comes to its end").unwrap();
        assert_eq!(self.chat.n_open_runs(), 0);
        assert_eq!(self.chat.check().await.unwrap(), Vec::<String>::new(), "the keep contradicts itself");
        self.chat.close().await.unwrap();
    }

    /// Begins to stop, and does not wait for the end.
    pub(crate) fn begin_to_stop(&mut self) -> JoinHandle<()> {
        let Running { stop, server } = self.running.take().expect("it runs");
        stop.send(()).expect("the server listens");
        server
    }

    /// What `/metrics` tells.
    pub(crate) async fn metrics(&self) -> Metrics {
        let _only = SCRAPING.lock().await;
        Metrics::parse(&self.get("/metrics").await.text())
    }

    /// Who gives the next answer in the echo's place.
    pub(crate) fn next_answer(&self) -> Speaker {
        self.script.next_answer()
    }

    /// Calls on a connection of its own.
    pub(crate) async fn call(&self, call: Call) -> Answer {
        Connection::open(self.addr).await.call(&call).await
    }

    pub(crate) async fn get(&self, path: impl Into<String>) -> Answer {
        self.call(Call::get(path)).await
    }

    pub(crate) async fn delete(&self, path: impl Into<String>) -> Answer {
        self.call(Call::delete(path)).await
    }

    pub(crate) async fn post(&self, path: impl Into<String>, body: Value) -> Answer {
        self.call(Call::post(path, &body)).await
    }

    /// Opens a stream of events, which must be one.
    pub(crate) async fn open(&self, call: Call) -> Events {
        match self.try_open(&call).await {
            Ok(events) => events,
            Err(answer) => panic!("no stream but {}: {}", answer.status(), answer.text()),
        }
    }

    /// Opens a stream, or gives the answer that came in its place.
    pub(crate) async fn try_open(&self, call: &Call) -> Result<Events, Answer> {
        let mut connection = Connection::open(self.addr).await;
        connection.write(&call.bytes()).await;
        let (head, mut rest) = connection.head(&call.method).await.expect("the server answers");
        // 201 where a session was made for it.
        if [200, 201].contains(&head.status) && head.header("content-type") != Some("application/json") {
            assert_eq!(head.header("content-type"), Some("text/event-stream; charset=utf-8"));
            return Ok(Events::new(head, connection, rest));
        }
        let mut body = Vec::new();
        while let Some(part) = connection.part(&mut rest).await {
            body.extend_from_slice(&part);
        }
        Err(Answer { head, body })
    }

    /// Sends a message and opens the default stream of the answer.
    pub(crate) async fn ask(&self, id: &str, message: &str) -> Events {
        self.open(send(id, message)).await
    }

    /// Sends a message and gives the event that ends the answer.
    pub(crate) async fn say(&self, id: &str, message: &str) -> Value {
        self.ask(id, message).await.last().await
    }

    /// Listens to a turn under way from its beginning.
    pub(crate) async fn listen(&self, id: &str) -> Events {
        self.open(Call::get(at(id, "stream"))).await
    }

    /// A new session's id.
    pub(crate) async fn new_session(&self) -> String {
        self.chat.create_session(NewSessionOptions::default()).await.unwrap().id.to_string()
    }

    /// The id of a new session with plain turns `u0`/`a0` and on.
    pub(crate) async fn session_of(&self, turns: usize) -> String {
        let id = self.new_session().await;
        self.extend(&id, turns).await;
        id
    }

    /// Appends plain turns, numbered on.
    pub(crate) async fn extend(&self, id: &str, turns: usize) {
        let id = session_id(id);
        let from = self.chat.find_session(&id).await.unwrap().unwrap().turn_count();
        let turns = (from..).take(turns).map(|n| NewTurn::new(format!("u{n}"), format!("a{n}"))).collect();
        self.chat.append_many(&id, turns, WriteOptions::default()).await.unwrap();
    }

    /// The session as it is shown, with its turns.
    pub(crate) async fn session(&self, id: &str) -> Value {
        self.get(format!("/api/chat/session/{id}")).await.json(200)
    }

    /// What users said in a session, turn by turn.
    pub(crate) async fn words(&self, id: &str) -> Vec<String> {
        words(&self.session(id).await)
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        assert!(self.running.is_none() || std::thread::panicking(), "a test ends with `stop`");
    }
}

/// The path of a session's resource.
pub(crate) fn at(id: &str, resource: &str) -> String {
    format!("/api/chat/{id}/{resource}")
}

pub(crate) fn send(id: &str, message: &str) -> Call {
    Call::post(at(id, "send"), &json!({"message": message}))
}

pub(crate) fn session_id(id: &str) -> SessionId {
    SessionId::parse(id).unwrap()
}

/// What users said in a session that is shown with its turns.
pub(crate) fn words(session: &Value) -> Vec<String> {
    let turns = session["turns"].as_array().expect("turns");
    turns.iter().map(|turn| turn["user_message"]["content"].as_str().unwrap().to_owned()).collect()
}
