//! The guides of `docs`: their documents, put in force as they stand there, do what the page says.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, ensure};
use heddle_tests::{
    Pod,
    bed::{Bed, Service},
    peer::http::report::Ask,
};
use serde_json::{Value, json};

use crate::{
    http::tools::{Client, Server, in_force},
    world::{SOON, World, echoed, enrolled, eventually, probe, refused},
};

const MESH: &str = "heddle.io/mesh";

/// The shop of the guides: `client` and `other` on one node, the versions of `web` on the other, each with an account of its own.
struct Shop {
    world: World,
    web: Service,
    _versions: [Service; 2],
    _servers: [Server; 2],
}

impl Shop {
    fn new(name: &str) -> Result<Self> {
        let bed = Bed::new(name)?;
        let (a, b) = (bed.node("a")?, bed.node("b")?);
        let pod = |node: &heddle_tests::Node, name: &str, account: &str, app: &str, version: &str| {
            let pod = node.pod(name).namespace("shop").service_account(account);
            pod.label("app", app).label("version", version).label(MESH, "enabled").start()
        };
        let client = pod(&a, "client", "client", "client", "v1")?;
        let near = pod(&a, "other", "other", "other", "v1")?;
        let far = pod(&b, "web-v1", "web", "web", "v1")?;
        let second = pod(&b, "web-v2", "web", "web", "v2")?;
        let (mut a, mut b) = (a.agent().start_without_waiting()?, b.agent().start_without_waiting()?);
        a.wait_ready()?;
        b.wait_ready()?;
        enrolled(&a, 2)?;
        enrolled(&b, 2)?;
        let servers =
            [Server::start(&far, "--listen 8080 --name v1")?, Server::start(&second, "--listen 8080 --name v2")?];
        let service = |name: &str, pods: &[&Pod]| {
            let service = bed.service_in("shop", name, &[(80, 8080)])?;
            service.backends(pods)?;
            Ok::<_, anyhow::Error>(service)
        };
        let web = service("web", &[&far, &second])?;
        let versions = [service("web-v1", &[&far])?, service("web-v2", &[&second])?];
        let world = World { bed, client, near, far, a, b };
        world.settle()?;
        Ok(Self { world, web, _versions: versions, _servers: servers })
    }

    /// Puts a block of a page in force.
    fn apply(&self, page: &str, block: usize) -> Result<()> {
        in_force(&self.world, &block_of(page, block)?)
    }

    fn get(&self) -> Ask {
        Ask::to(self.web.at(80)).host("web").target("/")
    }

    /// How many of so many requests each version answered.
    fn answers(&self, count: usize, ask: &Ask) -> Result<BTreeMap<String, usize>> {
        let mut client = Client::of(&self.world.client)?;
        let mut answers = BTreeMap::new();
        for _ in 0..count {
            let answer = client.ask(ask.clone())?;
            let seen = answer.seen().with_context(|| format!("{answer:?}"))?;
            *answers.entry(seen.server).or_default() += 1;
        }
        Ok(answers)
    }
}

/// The block of YAML with this number, from 0, of a page.
fn block_of(page: &str, number: usize) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let block = text.split("\n```yaml\n").nth(number + 1).and_then(|rest| rest.split("\n```").next());
    block.map(|block| format!("{block}\n")).with_context(|| format!("{page} has no block {number}"))
}

/// The ConfigMap of the whole mesh, as the patch in a kustomization makes it.
fn of_the_mesh(kustomization: &str) -> Result<String> {
    let kustomization: Value = serde_saphyr::from_str(kustomization)?;
    let patch = kustomization["patches"][0]["patch"].as_str().context("no patch")?;
    let mut map: Value = serde_saphyr::from_str(patch)?;
    map["metadata"]["namespace"] = "heddle-system".into();
    map["metadata"]["labels"] = json!({"heddle.io/config": "true"});
    Ok(serde_saphyr::to_string(&map)?)
}

#[test]
fn a_canary_gets_its_share_and_then_the_testers_alone() -> Result<()> {
    let shop = Shop::new("guide-canary")?;
    shop.apply("canary.md", 0)?;
    let shares = shop.answers(400, &shop.get())?;
    // A tenth of 400 is 40, with a deviation of 6: outside of five of those once in a million runs.
    assert!((10..=70).contains(&shares["v2"]), "{shares:?}");

    shop.apply("canary.md", 1)?;
    assert_eq!(shop.answers(20, &shop.get())?, BTreeMap::from([("v1".to_owned(), 20)]));
    let tester = shop.get().header("x-tester", "yes");
    assert_eq!(shop.answers(20, &tester)?, BTreeMap::from([("v2".to_owned(), 20)]));
    Ok(())
}

#[test]
fn strict_keeps_plaintext_out_but_for_the_port_that_is_named_and_then_everywhere() -> Result<()> {
    let shop = Shop::new("guide-strict")?;
    let stranger = shop.world.stranger()?;
    let far = &shop.world.far;
    let _echo = far.serve("--listen 8081")?;
    assert!(echoed(&probe(&stranger, far.at(8081), "plain")?, "plain"), "PERMISSIVE, to begin with");

    shop.apply("strict-mtls.md", 0)?;
    let beyond = probe(&stranger, far.at(8081), "plain")?;
    assert!(refused(&beyond), "{beyond:?}");
    let status = |from: &Pod| -> Result<u16> {
        Ok(Client::of(from)?.ask(Ask::to(far.at(8080)).host("web").target("/"))?.status)
    };
    assert_eq!(status(&stranger)?, 200, "the load balancer's port");
    assert!(echoed(&probe(&shop.world.client, far.at(8081), "mesh")?, "mesh"), "the mesh goes on");
    shop.world.b.wait_metrics("it is counted", SOON, |metrics| {
        metrics.sum("heddle_denied_connections_total", &[("reason", "strict_mode")]) >= 1.0
    })?;

    in_force(&shop.world, &of_the_mesh(&block_of("strict-mtls.md", 2)?)?)?;
    let refused_now = Client::of(&stranger)?.ask(Ask::to(far.at(8080)).host("web").target("/"))?;
    ensure!(refused_now.error.is_some(), "{refused_now:?}");
    assert_eq!(status(&shop.world.client)?, 200);
    Ok(())
}

#[test]
fn only_the_client_may_ask_and_only_read() -> Result<()> {
    let shop = Shop::new("guide-authorization")?;
    let ask = |from: &Pod, method: &str| Client::of(from)?.ask(shop.get().method(method));
    for from in [&shop.world.client, &shop.world.near] {
        assert_eq!(ask(from, "GET")?.status, 200, "{}", from.name());
    }
    shop.apply("authorization.md", 0)?;
    assert_eq!(ask(&shop.world.client, "GET")?.status, 200);
    assert_eq!(ask(&shop.world.client, "POST")?.status, 403);
    eventually("another account is refused", SOON, || Ok(ask(&shop.world.near, "GET")?.status != 200))?;
    Ok(())
}
