//! Tests of finding a pod's namespace, in directories that look like a machine's.

#![expect(clippy::unwrap_used, reason = "tests")]

use tempfile::TempDir;

use super::*;

const UID: &str = "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0";
const OTHER: &str = "ffffffff-4f50-6172-8394-a5b6c7d8e9f0";

struct Machine {
    directory: TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { directory: TempDir::new().unwrap() };
        for folder in ["v2/system.slice/ssh.service", "v1/pids", "proc"] {
            fs::create_dir_all(machine.path(folder)).unwrap();
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn sandboxes(&self) -> Sandboxes {
        let node = fs::metadata(self.path("node-net")).ok().map(|metadata| id_of(&metadata));
        Sandboxes::of_roots(&self.path("proc"), vec![self.path("v2"), self.path("v1/pids")], node)
    }

    fn processes(&self, cgroup: &str, pids: &[u32]) {
        fs::create_dir_all(self.path(cgroup)).unwrap();
        let text: String = pids.iter().map(|pid| format!("{pid}\n")).collect();
        fs::write(self.path(cgroup).join("cgroup.procs"), text).unwrap();
    }

    /// A process that was started at a time. Namespaces are files; processes of one namespace have links to one.
    fn process(&self, pid: u32, started: u64, namespace: &str) {
        let file = self.path(namespace);
        fs::write(&file, namespace).unwrap();
        let directory = self.path("proc").join(pid.to_string());
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(directory.join("ns")).unwrap();
        fs::hard_link(file, directory.join("ns/net")).unwrap();
        let before = vec!["0"; 18].join(" ");
        fs::write(directory.join("stat"), format!("{pid} (a ) S (b) S {before} {started} 0 0")).unwrap();
    }

    fn id(&self, namespace: &str) -> NamespaceId {
        id_of(&fs::metadata(self.path(namespace)).unwrap())
    }

    fn found(&self) -> Result<NamespaceId, String> {
        let opened = self.sandboxes().open(UID).map_err(|error| error.to_string())?;
        Ok(id_of(&opened.handle.metadata().unwrap()))
    }
}

#[test]
fn every_layout_of_the_kubelet_is_found() {
    let underscored = UID.replace('-', "_");
    let layouts = [
        format!("v2/kubepods/pod{UID}/c"),
        format!("v2/kubepods/burstable/pod{UID}/c"),
        format!("v2/kubepods/besteffort/pod{UID}/c"),
        format!("v2/kubepods.slice/kubepods-pod{underscored}.slice/cri-containerd-1.scope"),
        format!("v2/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{underscored}.slice/crio-1.scope"),
        format!("v2/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{underscored}.slice/x.scope"),
        format!("v2/kubelet/kubepods/burstable/pod{UID}/c"),
        format!(
            "v2/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{underscored}.slice/x.scope"
        ),
        format!("v1/pids/kubepods/burstable/pod{UID}/c"),
        format!("v1/pids/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{underscored}.slice/x.scope"),
    ];
    for layout in layouts {
        let machine = Machine::new();
        machine.processes(&layout, &[7]);
        machine.process(7, 100, "pod-net");
        assert_eq!(machine.found(), Ok(machine.id("pod-net")), "{layout}");
    }
}

#[test]
fn another_pod_is_never_taken_for_it() {
    let machine = Machine::new();
    machine.process(8, 1, "other-net");
    machine.processes(&format!("v2/kubepods/burstable/pod{OTHER}/c"), &[8]);
    // A pod can make cgroups inside its own, of any name.
    machine.processes(&format!("v2/kubepods/burstable/pod{OTHER}/c/pod{UID}"), &[8]);
    machine.processes(&format!("v2/kubepods/burstable/xpod{UID}/c"), &[8]);
    let error = machine.found().unwrap_err();
    assert!(error.starts_with(&format!("pod {UID} has no process on this node yet: none of ")), "{error}");
    assert!(error.contains("/v2, ") && error.contains("/v1/pids has"), "{error}");
}

#[test]
fn the_oldest_process_is_taken_wherever_it_is() {
    let machine = Machine::new();
    let pod = format!("v2/kubepods/pod{UID}");
    machine.processes(&pod, &[]);
    machine.processes(&format!("{pod}/app"), &[5, 6]);
    machine.processes(&format!("{pod}/pause"), &[90]);
    machine.process(5, 300, "made-by-the-application");
    machine.process(6, 200, "made-by-the-application");
    machine.process(90, 100, "pod-net");
    assert_eq!(machine.found(), Ok(machine.id("pod-net")));
}

#[test]
fn what_is_in_the_nodes_own_namespace_is_no_process_of_the_pod() {
    let machine = Machine::new();
    let pod = format!("v2/kubepods/pod{UID}");
    machine.processes(&format!("{pod}/crio-conmon-1"), &[4]);
    machine.process(4, 100, "node-net");
    assert!(machine.found().unwrap_err().contains("has no process on this node yet"));
    machine.processes(&format!("{pod}/crio-1"), &[5]);
    machine.process(5, 200, "pod-net");
    assert_eq!(machine.found(), Ok(machine.id("pod-net")));
}

#[test]
fn dead_processes_are_passed_over() {
    let machine = Machine::new();
    machine.processes(&format!("v2/kubepods/pod{UID}/c"), &[4, 5]);
    machine.process(5, 300, "pod-net");
    assert_eq!(machine.found(), Ok(machine.id("pod-net")));
    // Nothing below the first root has a living process: the next is asked.
    let machine = Machine::new();
    machine.processes(&format!("v2/kubepods/pod{UID}/c"), &[4]);
    machine.processes(&format!("v1/pids/kubepods/pod{UID}/c"), &[5]);
    machine.process(5, 300, "pod-net");
    assert_eq!(machine.found(), Ok(machine.id("pod-net")));
}

#[test]
fn a_number_that_is_another_process_by_now_is_not_followed() {
    let machine = Machine::new();
    let cgroup = format!("v2/kubepods/pod{UID}/c");
    machine.processes(&cgroup, &[5]);
    machine.process(5, 300, "pod-net");
    let sandboxes = machine.sandboxes();
    let process = sandboxes.open(UID).unwrap().process;
    assert!(sandboxes.open_of(&process).unwrap().is_some());
    machine.process(5, 301, "foreign");
    assert!(sandboxes.open_of(&process).unwrap().is_none(), "it was started at another time");
    machine.process(5, 300, "foreign");
    machine.processes(&cgroup, &[6]);
    assert!(sandboxes.open_of(&process).unwrap().is_none(), "it is in another cgroup");
}

#[test]
fn hidden_processes_are_named_with_the_remedy() {
    let machine = Machine::new();
    machine.processes(&format!("v2/kubepods/pod{UID}/c"), &[0, 0]);
    let error = machine.found().unwrap_err();
    assert!(error.contains("hostPID: true"), "{error}");
}

#[test]
fn a_sandbox_that_was_made_anew_is_noticed() {
    let machine = Machine::new();
    let cgroup = format!("v2/kubepods/pod{UID}/c");
    machine.processes(&cgroup, &[5]);
    machine.process(5, 300, "first");
    let sandboxes = machine.sandboxes();
    let process = sandboxes.open(UID).unwrap().process;
    assert_eq!(sandboxes.current(UID, &process).unwrap(), (machine.id("first"), process.clone()));
    machine.processes(&cgroup, &[]);
    assert_eq!(sandboxes.current(UID, &process), None, "nothing is known between the two");
    machine.processes(&cgroup, &[9]);
    machine.process(9, 400, "second");
    assert_eq!(sandboxes.current(UID, &process).unwrap().0, machine.id("second"));
}

#[test]
fn v1_hierarchies_are_the_mounts_of_their_type() {
    let mounts = "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\ncgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n\
                  tmpfs /x tmpfs rw 0 0\ncgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\n";
    assert_eq!(v1_mounts(mounts), ["/sys/fs/cgroup/pids", "/sys/fs/cgroup/systemd"].map(PathBuf::from));
    assert_eq!(v1_mounts(""), [""; 0].map(PathBuf::from));
}
