//! A real browser, Debian's Chromium without a screen, on a node of a bed: opens pages, presses keys, and tells what they show.
//!
//! It is told what to do in the Chrome DevTools Protocol, over a web socket on the node's loopback. Its profile is in the bed's
//! directory, so that all of it goes with the bed.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

use crate::bed::{Node, Process};

/// To start, and to answer, on a machine that is busy with other tests.
const WITHIN: Duration = Duration::from_secs(60);

/// Without a sandbox, since tests run as root; without what asks the world outside for anything.
const OPTIONS: &str = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-extensions \
                       --disable-background-networking --disable-component-update --disable-sync --hide-scrollbars \
                       --remote-debugging-port=0 about:blank";

/// A browser with one page; killed when dropped.
pub struct Browser {
    process: Process,
    socket: WebSocket<TcpStream>,
    session: Option<String>,
    next: u64,
    /// What went wrong in the page, in its words.
    troubles: Vec<String>,
}

impl Browser {
    /// Starts it on a node.
    pub fn start(on: &Node) -> Result<Self> {
        let profile = format!("--user-data-dir={}", on.directory().join("browser").display());
        let mut process = on.command("chromium")?.arg(profile).words(OPTIONS).start()?;
        let listening = process.wait_stderr(WITHIN, |line| line.starts_with("DevTools listening on "))?;
        let url = listening.trim_start_matches("DevTools listening on ").trim().to_owned();
        let host = url.trim_start_matches("ws://").split('/').next().unwrap_or_default();
        let address: SocketAddr = host.parse().with_context(|| format!("{listening} names no address"))?;
        let stream = on.netns().run(|| Ok(TcpStream::connect(address)?))?;
        stream.set_read_timeout(Some(WITHIN))?;
        let (socket, _) = client(url, stream).context("speaking with the browser")?;
        let mut browser = Self { process, socket, session: None, next: 0, troubles: Vec::new() };
        let target = browser.ask("Target.createTarget", json!({"url": "about:blank"}))?["targetId"].take();
        let session = browser.ask("Target.attachToTarget", json!({"targetId": target, "flatten": true}))?;
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable", "Network.enable"] {
            browser.ask(domain, json!({}))?;
        }
        Ok(browser)
    }

    /// Opens an address in a window of this size.
    pub fn open(&mut self, url: &str, (width, height): (u32, u32)) -> Result<()> {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.ask("Emulation.setDeviceMetricsOverride", size)?;
        let opened = self.ask("Page.navigate", json!({"url": url}))?;
        ensure!(opened["errorText"].is_null(), "opening {url}: {}", opened["errorText"]);
        self.wait("the page is read", "document.readyState === 'complete'", WITHIN)
    }

    /// Has the system prefer dark colours, or light ones.
    pub fn prefer_dark(&mut self, dark: bool) -> Result<()> {
        let value = if dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": value}]);
        self.ask("Emulation.setEmulatedMedia", json!({"features": features})).map(drop)
    }

    /// What an expression of JavaScript comes to in the page.
    pub fn value(&mut self, expression: &str) -> Result<Value> {
        let asked = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.ask("Runtime.evaluate", asked)?;
        ensure!(answer["exceptionDetails"].is_null(), "`{expression}`: {}", answer["exceptionDetails"]);
        Ok(answer["result"]["value"].take())
    }

    /// Waits until an expression is true.
    pub fn wait(&mut self, what: &str, expression: &str, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        while self.value(expression)? != true {
            if Instant::now() > deadline {
                let text = self.value("document.body.innerText")?;
                bail!("{what}: not within {within:?}; `{expression}` of\n{}", text.as_str().unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Presses and lets go of a key, by the name that DOM events have for it.
    pub fn press(&mut self, key: &str) -> Result<()> {
        let (code, text) = match key {
            "Enter" => (13, Some("\r")),
            "Tab" => (9, None),
            "Escape" => (27, None),
            letter => (0, Some(letter)),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({"type": kind, "key": key, "windowsVirtualKeyCode": code});
            if let (Some(text), "keyDown") = (text, kind) {
                event["text"] = text.into();
            }
            self.ask("Input.dispatchKeyEvent", event)?;
        }
        Ok(())
    }

    /// Writes what the page looks like to a PNG file.
    pub fn screenshot(&mut self, file: &Path) -> Result<()> {
        let mut picture =
            self.ask("Page.captureScreenshot", json!({"format": "png", "captureBeyondViewport": true}))?;
        let data = picture["data"].take();
        let bytes = base64::engine::general_purpose::STANDARD.decode(data.as_str().context("no picture")?)?;
        std::fs::write(file, bytes).with_context(|| format!("writing {}", file.display()))
    }

    /// Errors of scripts, and what the page's policy kept it from, up to now.
    pub fn troubles(&mut self) -> Result<Vec<String>> {
        // Whatever came before the answer has been read then.
        self.value("true")?;
        Ok(self.troubles.clone())
    }

    fn ask(&mut self, method: &str, params: Value) -> Result<Value> {
        self.next += 1;
        let mut order = json!({"id": self.next, "method": method});
        order["params"] = params;
        if let Some(session) = &self.session {
            order["sessionId"] = session.as_str().into();
        }
        self.socket.send(Message::text(order.to_string()))?;
        loop {
            let message = self.socket.read().with_context(|| self.process.describe(&format!("{method}: no answer")))?;
            let Message::Text(text) = message else { continue };
            let mut said: Value = serde_json::from_str(&text)?;
            if said["id"] == self.next {
                ensure!(said["error"].is_null(), "{method}: {}", said["error"]);
                return Ok(said["result"].take());
            }
            self.note(&said);
        }
    }

    fn note(&mut self, said: &Value) {
        match said["method"].as_str() {
            Some("Runtime.exceptionThrown") => {
                self.troubles.push(said["params"]["exceptionDetails"]["exception"]["description"].to_string());
            }
            Some("Log.entryAdded") if said["params"]["entry"]["level"] == "error" => {
                self.troubles.push(said["params"]["entry"]["text"].to_string());
            }
            _ => {}
        }
    }
}
