//! One watch: what there is, if that is asked for, then every change, until the time is up or the test cuts it.
//!
//! Each event is a line of JSON. Every third one is sent in two parts, because nothing promises a client that a part of
//! the body is a whole event. A watch does not hold the store while it sends.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::{Instant, sleep, sleep_until};

use super::ask::Asked;
use super::failure::Failure;
use super::list::parse_version;
use super::open_watches::{Cut, Order};
use super::resource::Resource;
use super::selector::Selector;
use super::server::Shared;
use super::shape::Shape;
use super::store::Change;

/// Events on their way to one client; more wait in the history.
const IN_FLIGHT: usize = 16;
/// Time for a part of an event to be sent on its own.
const APART: Duration = Duration::from_millis(2);
/// Time for half an event to be sent before the connection breaks.
const BEFORE_BREAK: Duration = Duration::from_millis(50);
/// Without a timeout of the client's the real server chooses half an hour or more.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1800);

/// A watch that is about to be answered.
pub(super) struct Watch {
    shared: Arc<Shared>,
    resource: Arc<Resource>,
    namespace: String,
    selector: Selector,
    shape: Shape,
    bookmarks: bool,
    timeout: Duration,
    /// What happened up to this version is sent.
    cursor: u64,
    /// What there was when it began, and whether its end is marked.
    initial: Vec<Arc<Value>>,
    marks_initial_end: bool,
    refused: Option<Failure>,
}

impl Watch {
    /// Reads the request; what it refuses is answered without a stream.
    pub(super) fn begin(shared: &Arc<Shared>, resource: &Arc<Resource>, asked: &Asked) -> Result<Self, Failure> {
        check_parameters(asked)?;
        let version = parse_version(asked.parameter("resourceVersion"))?.unwrap_or(0);
        let timeout = asked.parameter("timeoutSeconds").parse().ok().filter(|seconds| *seconds > 0);
        let mut watch = Self {
            shared: Arc::clone(shared),
            resource: Arc::clone(resource),
            namespace: asked.namespace.clone(),
            selector: Selector::parse(resource, asked.parameter("labelSelector"), asked.parameter("fieldSelector"))?,
            shape: Shape::accepted(&asked.accept)?,
            bookmarks: asked.flag("allowWatchBookmarks"),
            timeout: timeout.map_or(DEFAULT_TIMEOUT, Duration::from_secs),
            cursor: version,
            initial: Vec::new(),
            marks_initial_end: asked.flag("sendInitialEvents"),
            refused: None,
        };
        let store = shared.store.lock();
        if watch.marks_initial_end || version == 0 {
            // `sendInitialEvents=false` begins now, with nothing.
            let wants_nothing = !asked.parameter("sendInitialEvents").is_empty() && !watch.marks_initial_end;
            if version > store.version() {
                return Err(Failure::too_large(version, store.version()));
            }
            if !wants_nothing {
                watch.initial = store.list(&watch.path(), &watch.namespace).into_values().collect();
            }
            watch.cursor = store.version();
        } else if let Err(expired) = store.since(version) {
            if shared.expires_by_status() {
                return Err(expired);
            }
            watch.refused = Some(expired);
        }
        drop(store);
        Ok(watch)
    }

    /// The plural of what is watched.
    pub(super) fn plural(&self) -> &str {
        &self.resource.plural
    }

    /// The body; a task of its own fills it.
    pub(super) fn stream(self, orders: UnboundedReceiver<Order>) -> Body {
        let (sender, receiver) = mpsc::channel(IN_FLIGHT);
        tokio::spawn(async move {
            let mut frames = Frames { sender, sent: 0, shared: Arc::clone(&self.shared) };
            // The client has gone.
            let _ = self.run(&mut frames, orders).await;
        });
        let next = |mut receiver: mpsc::Receiver<io::Result<Bytes>>| async { Some((receiver.recv().await?, receiver)) };
        Body::from_stream(futures_util::stream::unfold(receiver, next))
    }

    async fn run(mut self, frames: &mut Frames, mut orders: UnboundedReceiver<Order>) -> Result<(), Gone> {
        let end = Instant::now() + self.timeout;
        let (mut changed, mut silent) = (self.shared.changes(), self.shared.silence());
        let mut bookmark_at = self.next_bookmark();
        if let Some(refused) = &self.refused {
            return frames.send("ERROR", &refused.status()).await;
        }
        self.send_initial(frames).await?;
        loop {
            let quiet = *silent.borrow_and_update();
            changed.borrow_and_update();
            if !quiet {
                self.send_changes(frames).await?;
            }
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Bookmark | Order::Garbage) if self.shared.is_silent() => {}
                    Some(Order::Bookmark) => self.send_progress(frames).await?,
                    Some(Order::Garbage) => frames.send_raw(Bytes::from_static(b"{\"type\":\"MODIFIED\",\"obj\x00]\n")).await?,
                    Some(Order::Expire) => return frames.send("ERROR", &self.expired().status()).await,
                    Some(Order::Cut(Cut::MidFrame)) => return self.break_off(frames).await,
                    Some(Order::Cut(_)) | None => return Ok(()),
                },
                _ = changed.changed() => {}
                _ = silent.changed() => {}
                () = sleep_until(bookmark_at), if !quiet => {
                    self.send_progress(frames).await?;
                    bookmark_at = self.next_bookmark();
                }
                () = sleep_until(end), if !quiet => return self.send_progress(frames).await,
                () = frames.sender.closed() => return Err(Gone),
            }
        }
    }

    async fn send_initial(&mut self, frames: &mut Frames) -> Result<(), Gone> {
        for object in std::mem::take(&mut self.initial) {
            if self.selector.matches(&object) {
                frames.send("ADDED", &self.shape.object(&object)).await?;
            }
        }
        if self.marks_initial_end && self.bookmarks {
            self.send_bookmark(frames, true).await?;
        }
        Ok(())
    }

    async fn send_changes(&mut self, frames: &mut Frames) -> Result<(), Gone> {
        let (changes, version) = {
            let store = self.shared.store.lock();
            let mine = store.after(self.cursor).iter().filter(|change| self.concerns(change));
            // A version that is yet to come stays the one to wait for.
            (mine.cloned().collect::<Vec<_>>(), self.cursor.max(store.version()))
        };
        for change in changes {
            if let Some((kind, object)) = self.seen(&change) {
                frames.send(kind, &self.shape.object(&object)).await?;
            }
        }
        self.cursor = version;
        Ok(())
    }

    fn concerns(&self, change: &Change) -> bool {
        change.key.resource == self.path() && (self.namespace.is_empty() || change.key.namespace == self.namespace)
    }

    /// What a change is for this watch: an object that begins or ceases to match comes or goes.
    fn seen(&self, change: &Change) -> Option<(&'static str, Value)> {
        let matching = |object: &Option<Arc<Value>>| object.clone().filter(|object| self.selector.matches(object));
        match (matching(&change.before), matching(&change.after)) {
            (None, None) => None,
            (None, Some(after)) => Some(("ADDED", Value::clone(&after))),
            (Some(_), Some(after)) => Some(("MODIFIED", Value::clone(&after))),
            (Some(before), None) => {
                let mut last = Value::clone(&before);
                last["metadata"]["resourceVersion"] = json!(change.version.to_string());
                Some(("DELETED", last))
            }
        }
    }

    /// Everything up to now, and a bookmark that says so, if the client allows any.
    async fn send_progress(&mut self, frames: &mut Frames) -> Result<(), Gone> {
        self.send_changes(frames).await?;
        if !self.bookmarks {
            return Ok(());
        }
        self.send_bookmark(frames, false).await
    }

    async fn send_bookmark(&self, frames: &mut Frames, ends_initial: bool) -> Result<(), Gone> {
        frames.send("BOOKMARK", &self.shape.bookmark(&self.resource, self.cursor, ends_initial)).await
    }

    /// Half an event, then the end of the connection.
    async fn break_off(&self, frames: &mut Frames) -> Result<(), Gone> {
        let frame = frame("BOOKMARK", &self.shape.bookmark(&self.resource, self.cursor, false));
        frames.send_raw(frame.slice(..frame.len() / 2)).await?;
        sleep(BEFORE_BREAK).await;
        let broken = io::Error::new(io::ErrorKind::ConnectionAborted, "cut by the test");
        frames.sender.send(Err(broken)).await.map_err(|_| Gone)
    }

    fn expired(&self) -> Failure {
        Failure::expired(self.cursor, self.shared.store.lock().version())
    }

    fn next_bookmark(&self) -> Instant {
        Instant::now() + self.shared.bookmark_interval()
    }

    fn path(&self) -> String {
        format!("{}/{}", self.resource.api_version(), self.resource.plural)
    }
}

/// The client reads no longer.
struct Gone;

/// The way to the client.
struct Frames {
    sender: mpsc::Sender<io::Result<Bytes>>,
    sent: usize,
    shared: Arc<Shared>,
}

impl Frames {
    async fn send(&mut self, kind: &str, object: &Value) -> Result<(), Gone> {
        // Silence may fall while many events are on their way.
        self.shared.until_not_silent().await;
        let frame = frame(kind, object);
        self.sent += 1;
        if !self.sent.is_multiple_of(3) {
            return self.send_raw(frame).await;
        }
        let middle = frame.len() / 2;
        self.send_raw(frame.slice(..middle)).await?;
        sleep(APART).await;
        self.send_raw(frame.slice(middle..)).await
    }

    async fn send_raw(&self, bytes: Bytes) -> Result<(), Gone> {
        self.sender.send(Ok(bytes)).await.map_err(|_| Gone)
    }
}

fn frame(kind: &str, object: &Value) -> Bytes {
    let mut line = json!({"type": kind, "object": object}).to_string();
    line.push('\n');
    line.into()
}

/// Refuses combinations of parameters that have no meaning.
fn check_parameters(asked: &Asked) -> Result<(), Failure> {
    let forbidden = |field, message| Err(Failure::invalid("ListOptions", "", field, message));
    let (how, initial) = (asked.parameter("resourceVersionMatch"), asked.parameter("sendInitialEvents"));
    match (how, initial.is_empty()) {
        ("", true) => Ok(()),
        (_, true) => forbidden("resourceVersionMatch", "is for watches with sendInitialEvents only"),
        ("", false) => forbidden("resourceVersionMatch", "sendInitialEvents needs \"NotOlderThan\""),
        ("NotOlderThan", false) => Ok(()),
        (_, false) => forbidden("resourceVersionMatch", "supported values: \"NotOlderThan\""),
    }
}
