//! The page of an agent in a real browser, and what `heddle tap` and `heddle top` show, under traffic that the tests make.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use heddle_tests::bed::binary;
use heddle_tests::browser::Browser;
use serde_json::Value;

use crate::http::tools::{HttpLoad, Web, route};
use crate::world::{SOON, World, hold};

const PAGE: &str = "http://127.0.0.1:15000/";

/// Where screenshots go, for people who look at them; nowhere if it is not set.
fn pictures() -> Option<PathBuf> {
    std::env::var_os("HEDDLE_SCREENSHOTS").map(PathBuf::from)
}

/// Two versions behind a route, one of which fails now and then.
fn busy(name: &str) -> Result<(Web, Vec<HttpLoad>, impl Sized)> {
    let web = Web::new(name)?;
    let versions = [web.version("v1")?, web.version("v2")?];
    web.in_force(&route("[{backendRefs: [{name: v1, port: 80, weight: 3}, {name: v2, port: 80, weight: 1}]}]"))?;
    let to = web.service.at(80);
    let client = HttpLoad::start(&web.world.client, &format!("--to {to} --host web --pause-ms 20"))?;
    let near = HttpLoad::start(&web.world.near, &format!("--to {to} --host web --pause-ms 50"))?;
    Ok((web, vec![client, near], versions))
}

#[test]
fn the_page_shows_who_asks_whom_by_mouse_and_by_key_in_light_and_dark() -> Result<()> {
    let (mut web, loads, _versions) = busy("page")?;
    let mut browser = Browser::start(web.world.client.node())?;
    browser.prefer_dark(false)?;
    browser.open(PAGE, (1280, 1600))?;
    browser.wait("the node's name", "document.title === 'Heddle node-a'", SOON)?;
    browser.wait("it is ready", "document.getElementById('ready').textContent === 'ready'", SOON)?;
    let node = |name: &str| format!("document.querySelector('[data-name=\"default/{name}\"]')");
    for name in ["client", "near", "v1", "v2"] {
        browser.wait(&format!("{name} is in the graph"), &format!("{} !== null", node(name)), SOON)?;
    }
    // Of two who both ask both versions, each box may be there before each line: those that are asked less come later.
    browser.wait("two clients, two versions", "document.querySelectorAll('.edge').length === 4", SOON)?;
    browser.wait("all in mutual TLS", "document.querySelectorAll('.words .lock:not(.open)').length === 4", SOON)?;
    let row = "[...document.querySelectorAll('#workload-table tbody tr')].map((row) => row.cells[0].textContent)";
    let mut rows: Vec<String> = serde_json::from_value(browser.value(row)?)?;
    rows.sort();
    assert_eq!(rows, ["default/client", "default/near"], "the pods of this node");
    let shares = "[...document.querySelectorAll('#route-table tbody tr')].map((row) => [row.cells[2].textContent, parseFloat(row.cells[4].textContent)])";
    browser.wait(
        "shares near three to one",
        &format!("{shares}.some(([to, share]) => to === 'default/v1' && share > 60 && share < 90)"),
        Duration::from_secs(20),
    )?;
    if let Some(directory) = pictures() {
        browser.screenshot(&directory.join("page-light.png"))?;
    }

    // By keys alone: to a workload in the graph, into it, and back.
    browser.value(&format!("{}.focus()", node("v2")))?;
    browser.press("Enter")?;
    browser.wait("only what concerns v2", "document.querySelectorAll('.edge').length === 2", SOON)?;
    browser.press("Escape")?;
    browser.wait("everything again", "document.querySelectorAll('.edge').length === 4", SOON)?;
    browser.press("/")?;
    browser.press("n")?;
    browser.press("e")?;
    browser.wait("the filter is in force", &format!("{row}.join() === 'default/near'"), SOON)?;
    browser.press("Escape")?;

    let ground = "getComputedStyle(document.body).backgroundColor";
    let light = browser.value(ground)?;
    browser.prefer_dark(true)?;
    let dark = browser.value(ground)?;
    ensure!(light != dark, "{light} in both");
    browser.press("t")?;
    assert_eq!(browser.value(ground)?, light, "the button overrides the system");
    browser.press("t")?;

    browser.value("document.getElementById('tap-start').click()")?;
    browser.wait("the tap has lines", "document.querySelectorAll('#tap-lines li').length > 5", SOON)?;
    let line = browser.value("document.querySelector('#tap-lines li').textContent")?;
    ensure!(line.as_str().is_some_and(|line| line.contains("-> default/v") && line.contains("GET /")), "{line}");
    web.in_force(&route("[{backendRefs: [{name: nobody, port: 80}]}]"))?;
    browser.wait("failures are told", "parseFloat(document.getElementById('tile-failed').textContent) > 0", SOON)?;
    browser.wait("and seen in the tap", "document.querySelector('#tap-lines li.failed .bad') !== null", SOON)?;
    if let Some(directory) = pictures() {
        browser.screenshot(&directory.join("page-dark.png"))?;
    }
    assert_eq!(browser.troubles()?, [""; 0], "scripts fail, or the page asks for what it may not");
    for load in loads {
        load.end()?;
    }
    web.world.a.process().kill()?;
    browser.wait("the agent is missed", "!document.getElementById('trouble').hidden", SOON)
}

/// A minute of 500 workloads that all ask three others each second, and what drawing one second more does to the page: how
/// many nodes it adds or removes, and in which rows it writes. `busier` is a workload that is asked more than before.
const CROWD: &str = "(async () => {
    const { traffic, draw } = await import('/page/main.js');
    const workload = (number) => ({ namespace: 'crowd', workload: `workload-${String(number % 500).padStart(3, '0')}` });
    const flow = (direction, from, to) => ({
        direction, source: workload(from), destination: workload(to), service: `s${to % 500}.crowd.svc.cluster.local`,
        protocol: 'http/1', route: null, mutualTls: true, count: 9, failed: to % 7 ? 0 : 1, open: 1, sent: 1, received: 1,
        latencies: [[1000, 5], [2000, 3], [9000, 1]],
    });
    const second = (change) => {
        const flows = [];
        for (let from = 0; from < 500; from += 1) {
            for (const step of [1, 7, 50]) flows.push(flow(step === 7 ? 'inbound' : 'outbound', from, from + step));
        }
        change(flows);
        return { milliseconds: 1000, flows, leftOut: 0 };
    };
    window.crowd = (change) => {
        const observer = new MutationObserver(() => {});
        observer.observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
        traffic.add(second(change));
        draw();
        const records = observer.takeRecords();
        const rows = records.map(({ target }) => (target.parentElement ?? target).closest('#workload-table tr')?.cells[0].textContent);
        return {
            touched: records.length,
            added: records.reduce((sum, record) => sum + record.addedNodes.length + record.removedNodes.length, 0),
            rows: [...new Set(rows.filter((row) => row))].sort(),
        };
    };
    window.flow = flow;
    for (let second = 0; second < 60; second += 1) window.crowd(() => {});
    document.querySelectorAll('#workload-table th button')[0].click();
})()";

#[test]
fn a_second_of_500_workloads_touches_what_changed_and_nothing_else() -> Result<()> {
    let world = World::new("page-crowd")?;
    let mut browser = Browser::start(world.client.node())?;
    browser.open(PAGE, (1280, 1600))?;
    // What the agent itself tells meanwhile is none of the crowd's.
    browser.press("p")?;
    browser.value(CROWD)?;
    let rows = "document.querySelectorAll('#workload-table tbody tr').length";
    let shown = browser.value("document.querySelectorAll('.node').length")?;
    assert_eq!((browser.value(rows)?, shown), (50.into(), 40.into()));
    let note = browser.value("document.getElementById('graph-note').textContent")?;
    ensure!(note.as_str().is_some_and(|note| note.contains("pairs more")), "{note}");

    assert_eq!(browser.value("crowd(() => {})")?["touched"], 0, "a second that is as those before");
    let busier = browser.value("crowd((flows) => { flows.find((flow) => flow.destination.workload === 'workload-030' && flow.direction === 'inbound').count = 900; })")?;
    assert_eq!(
        (&busier["added"], &busier["rows"]),
        (&0.into(), &serde_json::json!(["crowd/workload-030"])),
        "{busier}"
    );
    let newcomer = browser.value("crowd((flows) => flows.push(flow('inbound', 5, 499), { ...flow('inbound', 5, 0), destination: { namespace: 'z', workload: 'new' } }))")?;
    ensure!(
        newcomer["rows"].as_array().is_some_and(|rows| rows.len() <= 3),
        "one more is no reason to write the others: {newcomer}"
    );

    let more = "document.querySelector('#workload-table').parentElement.nextElementSibling";
    assert_eq!(browser.value(&format!("{more}.textContent"))?, "Show 451 more");
    browser.value(&format!("{more}.focus()"))?;
    browser.press("Enter")?;
    assert_eq!(browser.value(rows)?, 501, "by a key");
    assert_eq!(browser.value(&format!("document.activeElement === {more}"))?, true, "and back by the same");
    if let Some(directory) = pictures() {
        browser.screenshot(&directory.join("page-crowd.png"))?;
    }
    assert_eq!(browser.troubles()?, [""; 0]);
    Ok(())
}

#[test]
fn connections_that_stay_open_are_seen_with_what_they_move_while_they_are() -> Result<()> {
    let world = World::new("page-open")?;
    let _server = world.far.serve("--listen 5432")?;
    let service = world.bed.service("db", &[(5432, 5432)])?;
    service.backends(&[&world.far])?;
    world.settle()?;
    // Before anybody watches.
    let held = hold(&world.client, service.at(5432), 3)?;
    let node = world.client.node();
    let mut browser = Browser::start(node)?;
    browser.open(PAGE, (1280, 1600))?;
    let tile = |id: &str| format!("document.getElementById('tile-{id}').textContent");
    browser.wait("three are open", &format!("{} === '3'", tile("open")), SOON)?;
    browser.wait("and move bytes", &format!("parseFloat({}) > 0", tile("bytes")), SOON)?;
    assert_eq!(browser.value(&tile("rate"))?, "0", "none has ended");
    let edge = "document.querySelector('.words')";
    browser.wait("they are an edge", &format!("{edge}?.textContent.includes('3 open')"), SOON)?;
    assert_eq!(
        browser.value(&format!("{edge}.querySelector('.lock').getAttribute('class')"))?,
        "lock",
        "in mutual TLS"
    );
    let row =
        "[...document.querySelectorAll('#workload-table tbody tr')].map((row) => row.cells[0].textContent).join()";
    assert_eq!(browser.value(row)?, "default/client");

    let socket = node.directory().join("admin.sock").display().to_string();
    let heddle = binary("heddle")?.display().to_string();
    let mut top = node.command(&heddle)?.words("top -o json --socket").arg(socket).start()?;
    let first: Value = serde_json::from_str(&top.wait_line(SOON, |_| true)?)?;
    let flows = first["flows"].as_array().context("flows")?;
    assert_eq!((flows.len(), &flows[0]["open"], &flows[0]["count"]), (1, &3.into(), &0.into()), "{first}");
    assert_eq!((&first["milliseconds"], &flows[0]["sent"]), (&0.into(), &0.into()), "nothing of before: {first}");
    let next: Value = serde_json::from_str(&top.wait_line(SOON, |line| !line.contains("\"milliseconds\":0,"))?)?;
    ensure!(next["flows"][0]["sent"].as_u64() > Some(0), "{next}");

    held.end()?;
    browser.wait("their end is seen", &format!("{} === '0' && {} !== '0'", tile("open"), tile("rate")), SOON)?;
    assert_eq!(browser.troubles()?, [""; 0]);
    Ok(())
}

#[test]
fn an_agent_that_is_watched_tells_only_what_is_asked_for_and_forgets_who_went() -> Result<()> {
    let (web, loads, _versions) = busy("tap")?;
    let socket = web.world.client.node().directory().join("admin.sock");
    let heddle = |line: &str| -> Result<String> {
        let heddle = binary("heddle")?.display().to_string();
        web.world.client.node().command(&heddle)?.words(line).arg("--socket").arg(&socket).output(SOON)
    };
    let lines = heddle("tap --source near --path / -o json --count 5")?;
    let lines: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!(lines.len(), 5);
    for line in &lines {
        assert_eq!((&line["source_workload"], &line["status"]), (&"near".into(), &200.into()), "{line}");
    }
    let text = heddle("tap --destination v2 --count 2")?;
    ensure!(
        text.lines().count() == 2 && text.lines().all(|line| line.contains(" -> default/v2 mtls http/1  GET /")),
        "{text}"
    );
    let bad = heddle("tap --status 9xx").err().context("a status that is none")?;
    ensure!(format!("{bad:#}").contains("allowed are a status"), "{bad:#}");
    for load in loads {
        load.end()?;
    }
    Ok(())
}

#[test]
fn top_fills_a_terminal_of_80_by_24_says_that_the_agent_is_lost_and_gives_it_back() -> Result<()> {
    let (mut web, loads, _versions) = busy("top")?;
    let node = web.world.client.node();
    let socket = node.directory().join("admin.sock").display().to_string();
    let heddle = binary("heddle")?.display().to_string();
    // script(1) gives it a terminal, and passes on what is typed.
    let inside = format!("stty cols 80 rows 24; exec {heddle} top --socket {socket}");
    let mut top = node.command("script")?.words("--quiet --return --command").arg(inside).arg("/dev/null").start()?;
    std::thread::sleep(Duration::from_millis(2_500));
    top.write_line("2")?;
    std::thread::sleep(Duration::from_millis(500));
    for load in loads {
        load.end()?;
    }
    web.world.a.process().kill()?;
    std::thread::sleep(Duration::from_millis(1_500));
    top.write_line("q")?;
    let finished = top.wait(SOON)?;
    let screen = finished.stdout.join("\n");
    for text in [
        "heddle top",
        "WORKLOAD",
        "default/client",
        "default/near",
        "RULE",
        "HTTPRoute",
        "default/v1",
        "nothing comes from the agent",
    ] {
        ensure!(screen.contains(text), "{text} was not on the screen:\n{screen}");
    }
    ensure!(screen.contains("\u{1b}[?1049l"), "the screen from before is not back");
    ensure!(finished.status.success(), "{finished:?}");

    let no_terminal = node.command(&heddle)?.words("top --socket").arg(&socket).finish(SOON)?;
    ensure!(
        !no_terminal.status.success() && no_terminal.stderr.join(" ").contains("needs a terminal"),
        "{no_terminal:?}"
    );
    Ok(())
}
