//! Uninstall: the kernel afterwards is the kernel before, and pods connect as if there had never been a mesh.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use aya::maps::MapData;
use aya::programs::{loaded_links, loaded_programs};
use heddle_tests::bed::{Agent, Bed, Node, Pod, binary};

use crate::world::{SOON, connect, enrolled, eventually, settle};

/// What of a network namespace an agent could change.
const NETWORK: &str = "ip rule; ip -6 rule; ip route show table all; ip -6 route show table all; \
    grep . /proc/sys/net/ipv4/tcp_fwmark_accept /proc/sys/net/ipv4/fwmark_reflect /proc/sys/net/ipv6/fwmark_reflect; \
    awk '$4 == \"0A\" {print $2}' /proc/net/tcp /proc/net/tcp6 | sort";

/// A machine on which nothing but this node has a network namespace, and a command on it: its proc file system, the names of
/// namespaces and the bpf file system are the node's alone. Where sockets would be is read-only, as in a container.
const ALONE: &str = "exec 3<\"$NAMED\" && mount -t tmpfs tmpfs /var/lib && mount -t tmpfs tmpfs /run && \
    mkdir /run/netns /run/heddle && touch /run/netns/pod && mount -o remount,ro /run && \
    mount --bind /proc/self/fd/3 /run/netns/pod && mount --bind \"$BPF\" /sys/fs/bpf && exec \"$@\"";

/// One node with two pods that are enrolled, and how all was before its agent came.
struct Site {
    bed: Bed,
    node: Node,
    client: Pod,
    server: Pod,
    before: String,
    agent: Agent,
}

impl Site {
    fn new(name: &str) -> Result<Self> {
        let bed = Bed::new(name)?;
        let node = bed.node("a")?;
        let (client, server) = (node.pod("client").start()?, node.pod("server").start()?);
        let before = state(&node, &[&client, &server])?;
        // All processes of this machine are in /proc, also those of other tests: this node's are in a directory of its own.
        let proc = node.directory().join("proc");
        fs::create_dir_all(proc.join("1/root/run/netns"))?;
        symlink("/proc/sys", proc.join("sys"))?;
        let agent = node.agent().set("capture.proc", proc.display().to_string()).start()?;
        enrolled(&agent, 2)?;
        settle(&bed, &[&agent])?;
        Ok(Self { bed, node, client, server, before, agent })
    }

    /// The namespace of a pod is found by this path.
    fn known(&self, place: &str, namespace: &Path) -> Result<()> {
        let path = self.node.directory().join("proc").join(place);
        fs::create_dir_all(path.parent().context("a path with a parent")?)?;
        Ok(symlink(namespace, path)?)
    }

    fn state(&self) -> Result<String> {
        state(&self.node, &[&self.client, &self.server])
    }

    fn heddle(&self, line: &str) -> Result<String> {
        let heddle = self.node.command(&binary("heddle")?.display().to_string())?;
        heddle.words(line).arg("--config").arg(self.agent.config_file()).output(SOON)
    }
}

/// Everything of these pods' namespaces and of the node's pins, as text.
fn state(node: &Node, pods: &[&Pod]) -> Result<String> {
    let mut text = String::new();
    for pod in pods {
        let netns = format!("--net={}", pod.netns().path().display());
        text += &node.command("nsenter")?.arg(netns).words("sh -c").arg(NETWORK).output(SOON)?;
        text += "\n";
    }
    let pins: Vec<_> = fs::read_dir(node.bpffs())?.flatten().map(|entry| entry.file_name()).collect();
    Ok(text + &format!("{pins:?}"))
}

/// What of an agent is loaded into the kernel: ids of maps, programs and links.
#[derive(Debug, Default, PartialEq)]
struct Loaded {
    maps: BTreeSet<u32>,
    programs: BTreeSet<u32>,
    links: BTreeSet<u32>,
}

impl Loaded {
    /// That of the agent with these pins: programs of other nodes come and go meanwhile.
    fn of(pins: &Path) -> Result<Self> {
        let mut loaded = Self::default();
        for folder in fs::read_dir(pins.join("maps"))?.flatten() {
            for map in fs::read_dir(folder.path())?.flatten() {
                loaded.maps.insert(MapData::from_pin(map.path())?.info()?.id());
            }
        }
        loaded.find();
        Ok(loaded)
    }

    fn find(&mut self) {
        for program in loaded_programs().flatten() {
            let maps = program.map_ids().ok().flatten().unwrap_or_default();
            if maps.iter().any(|map| self.maps.contains(map)) {
                self.programs.insert(program.id());
            }
        }
        let links = loaded_links().flatten().filter(|link| self.programs.contains(&link.program_id()));
        self.links.extend(links.map(|link| link.id()));
    }

    fn is_gone(&self) -> bool {
        let mut now = Self { maps: self.maps.clone(), ..Self::default() };
        now.find();
        let links = loaded_links().flatten().any(|link| self.links.contains(&link.id()));
        now.programs.is_empty() && !links
    }
}

#[test]
fn the_kernel_after_an_uninstall_is_the_kernel_before() -> Result<()> {
    let mut site = Site::new("uninstall")?;
    let released = site.node.pod("released").outside_mesh().start()?;
    let before_enrolment = state(&site.node, &[&released])?;
    released.set_mesh(Some(true))?;
    enrolled(&site.agent, 3)?;
    let _server = site.server.serve("--listen 8080 --ident")?;
    let line = format!("--to {} --count 3 --ident --check-local", site.server.at(8080));
    ensure!(connect(&site.client, &line)?.all_good(3), "by the mesh");
    released.set_mesh(Some(false))?;
    enrolled(&site.agent, 2)?;
    let network = |text: &str| text.rsplit_once('\n').map(|(network, _)| network.to_owned());
    let mut now = String::new();
    let as_it_was = eventually("a released pod's namespace is as it was", SOON, || {
        now = state(&site.node, &[&released])?;
        Ok(network(&now) == network(&before_enrolment))
    });
    as_it_was.with_context(|| format!("before:\n{before_enrolment}\nnow:\n{now}"))?;

    let with_agent = site.state()?;
    assert!(with_agent.contains("0x539") && with_agent != site.before, "{with_agent}");
    let pins = site.node.bpffs().join("heddle");
    let loaded = Loaded::of(&pins)?;
    // The cgroup's five, and the look-up and the cable of each pod.
    assert!(loaded.links.len() >= 9 && loaded.programs.len() >= 7 && !loaded.is_gone(), "{loaded:?}");

    let refused = site.heddle("uninstall").unwrap_err().to_string();
    assert!(refused.contains("end it first"), "{refused}");
    site.agent.kill()?;
    // One is found by its process, the other by its name.
    let pid = format!("{}", _server.pid());
    site.known(&format!("{pid}/ns/net"), &PathBuf::from(format!("/proc/{pid}/ns/net")))?;
    site.known("1/root/run/netns/client", site.client.netns().path())?;
    let output = site.heddle("agent --cleanup")?;
    assert!(output.contains("9 of them in force") && output.contains("2 network namespaces"), "{output}");
    assert!(!pins.exists());
    eventually("programs and links are gone", SOON, || Ok(loaded.is_gone()))?;
    drop(_server);
    assert_eq!(site.state()?, site.before);

    let again = site.heddle("uninstall")?;
    assert!(again.contains("nothing to remove"), "{again}");
    let _server = site.server.serve("--listen 8080 --ident")?;
    for to in [site.server.at(8080), site.server.at6(8080)] {
        let report = connect(&site.client, &format!("--to {to} --count 3 --ident --check-local"))?;
        assert!(report.all_good(3), "{to}: {report:?}");
    }
    // The sockets are left, since nobody asked; and then they are not.
    let socket = site.node.directory().join("admin.sock");
    assert!(socket.exists());
    let purged = site.heddle("agent --cleanup --purge")?;
    assert!(purged.contains(&format!("removed {}", socket.display())) && !socket.exists(), "{purged}");
    site.bed.close()
}

#[test]
fn without_a_configuration_the_default_places_are_cleared() -> Result<()> {
    let mut site = Site::new("uninstall-bare")?;
    site.agent.kill()?;
    let alone = site.node.command("unshare")?.words("--mount --pid --fork --mount-proc --propagation private sh -c");
    let alone =
        alone.arg(ALONE).arg("sh").arg(binary("heddle")?).words("agent --cleanup --purge --config /run/none.yaml");
    let output = alone.env("NAMED", site.client.netns().path()).env("BPF", site.node.bpffs()).output(SOON)?;
    assert!(output.contains("/run/none.yaml does not exist") && output.contains("/sys/fs/bpf/heddle"), "{output}");
    assert!(output.contains("from 1 network namespaces"), "{output}");
    assert!(!site.node.bpffs().join("heddle").exists());
    let netns = |pod: &Pod| state(&site.node, &[pod]);
    assert!(
        !netns(&site.client)?.contains("0x539") && netns(&site.server)?.contains("0x539"),
        "that of the client only"
    );
    let _server = site.server.serve("--listen 8080 --ident")?;
    let report = connect(&site.client, &format!("--to {} --ident --check-local", site.server.at(8080)))?;
    assert!(report.all_good(1), "{report:?}");
    site.bed.close()
}
