//! The kernel maps that say which pods are enrolled and what stays out, with typed operations.

use std::os::fd::AsRawFd;

use aya::{
    Ebpf, Pod as AyaPod,
    maps::{HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, SockHash, lpm_trie::Key},
};
use heddle_common::{
    Address, DialKey, FlowKey, KernelEvent, ListenerKey, ListenerKind, NetworkKey, OriginalDst, Pod, PortDirection,
    PortKey, Verdict, VerdictKey,
};
use ipnet::IpNet;
use zerocopy::FromBytes;

use crate::mesh::CaptureRules;

use super::{foretold::pod_entry, kernel::KernelError, pins::Pins, sys};

/// The maps, opened from their pins.
pub(super) struct Tables {
    pods: HashMap<MapData, u64, Pod>,
    addresses: HashMap<MapData, Address, u64>,
    ports: HashMap<MapData, PortKey, u32>,
    probed: HashMap<MapData, PortKey, u32>,
    networks: LpmTrie<MapData, NetworkKey, u32>,
    listeners: SockHash<MapData, ListenerKey>,
    wires: HashMap<MapData, u32, u64>,
}

impl Tables {
    pub(super) fn open(pins: &Pins) -> Result<Self, KernelError> {
        Ok(Self {
            pods: open(pins, "PODS", Map::HashMap)?,
            addresses: open(pins, "POD_ADDRESSES", Map::HashMap)?,
            ports: open(pins, "EXCLUDED_PORTS", Map::HashMap)?,
            probed: open(pins, "PROBED_PORTS", Map::HashMap)?,
            networks: open(pins, "EXCLUDED_NETWORKS", Map::LpmTrie)?,
            listeners: open(pins, "LISTENERS", Map::SockHash)?,
            wires: open(pins, "WIRES", Map::HashMap)?,
        })
    }

    /// Cookies of all enrolled pods.
    pub(super) fn enrolled(&self) -> Result<Vec<u64>, KernelError> {
        self.pods.keys().collect::<Result<_, _>>().map_err(at("PODS"))
    }

    /// Makes a listener the one that gets this pod's inbound connections.
    pub(super) fn set_listener(
        &mut self,
        netns: u64,
        kind: ListenerKind,
        listener: impl AsRawFd,
    ) -> Result<(), KernelError> {
        self.listeners.insert(ListenerKey::new(netns, kind), listener, 0).map_err(at("LISTENERS"))
    }

    /// Says what of a pod's inbound traffic is captured: must precede the link of its namespace.
    pub(super) fn set_inbound(
        &mut self,
        netns: u64,
        addresses: &[Address],
        rules: &CaptureRules,
    ) -> Result<(), KernelError> {
        self.replace_ports(netns, PortDirection::Inbound, &rules.exclude_inbound_ports)?;
        replace_ports((&mut self.probed, "PROBED_PORTS"), netns, PortDirection::Inbound, &rules.probed_ports)?;
        let stale = keys_where(&self.addresses, "POD_ADDRESSES", |_, owner| owner == netns)?;
        for address in addresses {
            self.addresses.insert(address, netns, 0).map_err(at("POD_ADDRESSES"))?;
        }
        for address in stale.iter().filter(|address| !addresses.contains(address)) {
            removed(self.addresses.remove(address), "POD_ADDRESSES")?;
        }
        Ok(())
    }

    /// Captures a pod's outbound connections from now on.
    pub(super) fn set_outbound(
        &mut self,
        netns: u64,
        addresses: &[Address],
        rules: &CaptureRules,
    ) -> Result<(), KernelError> {
        self.replace_ports(netns, PortDirection::Outbound, &rules.exclude_outbound_ports)?;
        self.replace_networks(netns, &rules.exclude_outbound_cidrs)?;
        let pod = pod_entry(addresses, rules);
        self.pods.insert(netns, pod, 0).map_err(at("PODS"))
    }

    /// Captures nothing outbound from now on. The opposite of [`Tables::set_outbound`].
    pub(super) fn clear_outbound(&mut self, netns: u64) -> Result<(), KernelError> {
        removed(self.pods.remove(&netns), "PODS")?;
        self.replace_ports(netns, PortDirection::Outbound, &[])?;
        self.replace_networks(netns, &[])
    }

    /// From now on what comes in by these devices of the node, and by no others, comes from the pod.
    pub(super) fn set_wires(&mut self, netns: u64, devices: &[u32]) -> Result<(), KernelError> {
        let stale = keys_where(&self.wires, "WIRES", |_, owner| owner == netns)?;
        for device in devices {
            self.wires.insert(device, netns, 0).map_err(at("WIRES"))?;
        }
        for device in stale.iter().filter(|device| !devices.contains(device)) {
            removed(self.wires.remove(device), "WIRES")?;
        }
        Ok(())
    }

    /// Forgets a pod's inbound side, after the link of its namespace was removed.
    pub(super) fn clear_inbound(&mut self, netns: u64) -> Result<(), KernelError> {
        self.set_inbound(netns, &[], &CaptureRules::default())?;
        for kind in [ListenerKind::Plaintext, ListenerKind::Hbone, ListenerKind::Held] {
            removed(self.listeners.remove(&ListenerKey::new(netns, kind)), "LISTENERS")?;
        }
        Ok(())
    }

    fn replace_ports(&mut self, netns: u64, direction: PortDirection, ports: &[u16]) -> Result<(), KernelError> {
        replace_ports((&mut self.ports, "EXCLUDED_PORTS"), netns, direction, ports)
    }

    fn replace_networks(&mut self, netns: u64, networks: &[IpNet]) -> Result<(), KernelError> {
        let wanted: Vec<Key<NetworkKey>> = networks.iter().map(|network| network_key(netns, network)).collect();
        let own = NetworkKey::new(netns, Address::default()).netns;
        let mut stale = Vec::new();
        for key in self.networks.keys() {
            let key = key.map_err(at("EXCLUDED_NETWORKS"))?;
            if key.data().netns == own && !wanted.iter().any(|wanted| same_network(wanted, &key)) {
                stale.push(key);
            }
        }
        for key in &wanted {
            self.networks.insert(key, 1, 0).map_err(at("EXCLUDED_NETWORKS"))?;
        }
        for key in &stale {
            removed(self.networks.remove(key), "EXCLUDED_NETWORKS")?;
        }
        Ok(())
    }
}

fn replace_ports(
    (table, name): (&mut HashMap<MapData, PortKey, u32>, &'static str),
    netns: u64,
    direction: PortDirection,
    ports: &[u16],
) -> Result<(), KernelError> {
    let stale = keys_where(table, name, |key, _| key.netns == netns && key.direction == direction as u16)?;
    for port in ports {
        table.insert(PortKey::new(netns, direction, *port), 1, 0).map_err(at(name))?;
    }
    for key in stale.iter().filter(|key| !ports.contains(&key.port)) {
        removed(table.remove(key), name)?;
    }
    Ok(())
}

fn keys_where<K: AyaPod, V: AyaPod>(
    table: &HashMap<MapData, K, V>,
    name: &'static str,
    wanted: impl Fn(K, V) -> bool,
) -> Result<Vec<K>, KernelError> {
    let mut found = Vec::new();
    for entry in table.iter() {
        let (key, value) = entry.map_err(at(name))?;
        if wanted(key, value) {
            found.push(key);
        }
    }
    Ok(found)
}

fn network_key(netns: u64, network: &IpNet) -> Key<NetworkKey> {
    let before = match network {
        IpNet::V4(_) => NetworkKey::IPV4_BITS,
        IpNet::V6(_) => NetworkKey::NETNS_BITS,
    };
    let length = before + u32::from(network.prefix_len());
    Key::new(length, NetworkKey::new(netns, network.network().into()))
}

fn same_network(a: &Key<NetworkKey>, b: &Key<NetworkKey>) -> bool {
    a.prefix_len() == b.prefix_len() && a.data() == b.data()
}

pub(super) fn open<T>(pins: &Pins, name: &'static str, kind: impl Fn(MapData) -> Map) -> Result<T, KernelError>
where
    T: TryFrom<Map, Error = MapError>,
{
    let data = MapData::from_pin(pins.map(name)).map_err(at(name))?;
    kind(data).try_into().map_err(at(name))
}

/// A map that is not pinned, of programs that were just loaded.
pub(super) fn taken<T>(programs: &mut Ebpf, name: &'static str) -> Result<T, KernelError>
where
    T: TryFrom<Map, Error = MapError>,
{
    let map = programs.take_map(name).ok_or(MapError::ElementNotFound).map_err(at(name))?;
    map.try_into().map_err(at(name))
}

fn removed(result: Result<(), MapError>, name: &'static str) -> Result<(), KernelError> {
    match result {
        Err(MapError::KeyNotFound | MapError::ElementNotFound) | Ok(()) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        // A socket leaves its map by itself when it is closed.
        Err(MapError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::EINVAL) && name == "LISTENERS" =>
        {
            Ok(())
        }
        Err(source) => Err(KernelError::Map { map: name, source }),
    }
}

fn at(map: &'static str) -> impl Fn(MapError) -> KernelError {
    move |source| KernelError::Map { map, source }
}

/// Reads what the kernel programs counted.
pub struct KernelCounters {
    counters: PerCpuArray<MapData, u64>,
}

impl KernelCounters {
    pub(super) fn open(pin: &std::path::Path) -> Result<Self, MapError> {
        Ok(Self { counters: Map::PerCpuArray(MapData::from_pin(pin)?).try_into()? })
    }

    /// Each event with its count since the maps were made: it goes on growing across restarts of the agent.
    pub fn read(&self) -> Vec<(KernelEvent, u64)> {
        let sum = |event: KernelEvent| self.counters.get(&(event as u32), 0).map_or(0, |each| each.iter().sum());
        KernelEvent::ALL.iter().map(|event| (*event, sum(*event))).collect()
    }
}

/// Reads how much is entered in the tables that the agent fills, and in those in which the least recently used make room.
pub struct TableSizes {
    filled: Vec<TableSize>,
    recent: Vec<TableSize>,
}

struct TableSize {
    name: &'static str,
    most: u32,
    count: Count,
}

type Count = Box<dyn Fn() -> usize + Send + Sync>;

impl TableSizes {
    pub(super) fn open(pins: &Pins) -> Result<Self, KernelError> {
        let table = |name, count: fn(MapData) -> Result<Count, MapError>| -> Result<_, KernelError> {
            let map = MapData::from_pin(pins.map(name)).map_err(at(name))?;
            let most = map.info().map_err(at(name))?.max_entries();
            Ok(TableSize { name, most, count: count(map).map_err(at(name))? })
        };
        let filled = vec![
            table("PODS", in_batches::<u64, Pod>)?,
            table("POD_ADDRESSES", in_batches::<Address, u64>)?,
            table("EXCLUDED_PORTS", in_batches::<PortKey, u32>)?,
            table("PROBED_PORTS", in_batches::<PortKey, u32>)?,
            table("WIRES", in_batches::<u32, u64>)?,
            // Of these kinds there are no batches, and they have few entries for each pod.
            table("EXCLUDED_NETWORKS", |map| {
                let map: LpmTrie<_, NetworkKey, u32> = Map::LpmTrie(map).try_into()?;
                Ok(Box::new(move || map.keys().count()))
            })?,
            table("LISTENERS", |map| {
                let map: SockHash<_, ListenerKey> = Map::SockHash(map).try_into()?;
                Ok(Box::new(move || map.keys().count()))
            })?,
        ];
        let recent = vec![
            table("FLOWS", in_batches::<FlowKey, OriginalDst>)?,
            table("AGENT_DIALS", in_batches::<DialKey, u32>)?,
            table("VERDICTS", in_batches::<VerdictKey, Verdict>)?,
        ];
        Ok(Self { filled, recent })
    }

    /// Each table that the agent fills by its name, with its entries and how many it may have.
    pub fn read(&self) -> impl Iterator<Item = (&'static str, usize, u32)> {
        self.filled.iter().map(|table| (table.name, (table.count)(), table.most))
    }

    /// Each of the others by its name, with its entries.
    pub fn read_recent(&self) -> impl Iterator<Item = (&'static str, usize)> {
        self.recent.iter().map(|table| (table.name, (table.count)()))
    }
}

fn in_batches<K, V>(map: MapData) -> Result<Count, MapError>
where
    K: FromBytes + Default + Copy,
    V: FromBytes + Default + Copy,
{
    Ok(Box::new(move || sys::map_entries::<K, V>(map.fd()).map_or(0, |entries| entries.len())))
}
