//! Tests of agent.yaml: text in, configuration or problems out.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use proptest::prelude::*;

use super::{
    machine::cgroup2_mount,
    secrets::HARMLESS,
    yaml::{Node, Value},
    *,
};
use crate::{rules::value::Percentage, shares::Share};

const MINIMAL: &str = "node: node-a\nsource: {files: {path: /etc/heddle/objects}}\n";

fn machine() -> Machine {
    Machine {
        node: None,
        cgroup2_mount: Some("/sys/fs/cgroup/unified".into()),
        cpus: 16,
        cpu_limit: None,
        descriptors: 1 << 20,
        memory_limit: None,
        memory: 8 << 30,
    }
}

fn parse(text: &str) -> Result<Config, Problems> {
    Config::parse("agent.yaml", text, &machine())
}

/// The messages without snippets, as `LINE:COLUMN: MESSAGE`.
fn problems_of(text: &str) -> Vec<String> {
    let problems = parse(text).unwrap_err();
    let place =
        |p: &Problem| p.position.map(|Position { line, column }| format!("{line}:{column}: ")).unwrap_or_default();
    problems.iter().map(|p| format!("{}{}", place(p), p.message)).collect()
}

fn problem_of(extra: &str) -> String {
    let found = problems_of(&format!("{MINIMAL}{extra}"));
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[test]
fn defaults_fill_a_minimal_file() {
    let config = parse(MINIMAL).unwrap();
    assert_eq!(&*config.node, "node-a");
    assert_eq!(&*config.cluster, "Kubernetes");
    assert_eq!(config.trust_domain.as_str(), "cluster.local");
    assert_eq!(config.trust_domain_aliases, []);
    assert_eq!(&*config.root_namespace, "heddle-system");
    assert_eq!(config.source, Source::Files { path: "/etc/heddle/objects".into() });
    assert_eq!(config.ca, CaConfig::LocalMemory);
    assert_eq!(config.mtls, MtlsMode::Permissive);
    assert_eq!(config.tls, TlsConfig { crl: None });
    assert_eq!(config.capture.cgroup, PathBuf::from("/sys/fs/cgroup/unified"));
    assert_eq!(config.capture.pins, PathBuf::from("/sys/fs/bpf/heddle"));
    assert_eq!(config.capture.proc, PathBuf::from("/proc"));
    assert_eq!(config.capture.fast_path, FastPath::All);
    assert_eq!(config.capture.kubelet, KubeletCgroup::Auto);
    assert_eq!(config.state, None, "files are on disk already");
    assert_eq!(config.dns.resolv_conf, PathBuf::from("/etc/resolv.conf"));
    assert_eq!(config.jwks.roots, None, "those of the machine");
    assert_eq!(config.admin.address, Some("127.0.0.1:15000".parse().unwrap()));
    assert_eq!(config.admin.socket, Some("/run/heddle/admin.sock".into()));
    assert_eq!(config.metrics, "0.0.0.0:15020".parse().unwrap());
    assert_eq!(config.health, "0.0.0.0:15021".parse().unwrap());
    let log = LogConfig {
        level: "info".into(),
        format: LogFormat::Text,
        access: true,
        long_connections: Some(Duration::from_secs(60)),
        access_rate: NonZeroU32::new(1_000),
        remembered: 4096,
        events: EventLog::Off,
    };
    assert_eq!(config.log, log);
    assert_eq!(config.limits.data_threads, 4, "a quarter of 16 CPUs");
    assert_eq!(config.limits.connect_timeout, Duration::from_secs(5));
    assert_eq!(config.limits.local_connect_timeout, Duration::from_secs(1));
    assert_eq!(config.limits.handshake_timeout, Duration::from_secs(10));
    assert_eq!(config.limits.drain_timeout, Duration::from_secs(30));
    assert_eq!(config.limits.streams_per_tunnel, 100);
    let pod = Share { weight: 100, connections: 131_072, handshakes: 2048, buffer_bytes: 256 << 20 };
    assert_eq!(config.limits.pod, pod, "of a machine with 2^20 descriptors and 8 GiB");
    assert_eq!((config.limits.connections, config.limits.memory), (471_859, None), "the same");
    let http = HttpLimits {
        request_header_timeout: Duration::from_secs(10),
        request_body_timeout: Duration::from_secs(60),
        idle_timeout: Duration::from_secs(90),
        max_header_bytes: 65_536,
        max_streams: 100,
        replay_bytes: 65_536,
        detection_timeout: Duration::from_millis(100),
    };
    assert_eq!(config.http, http);
}

const FULL: &str = r#"
node: node-b
cluster: east
trustDomain: prod.example
trustDomainAliases: [old.example, cluster.local]
rootNamespace: mesh
source:
  files: {path: objects}
ca:
  local: {path: /var/lib/heddle/ca}
mtls: {mode: STRICT}
tls: {crl: /etc/heddle/crl/ca.crl}
capture:
  cgroup: /cg
  pins: /bpf/heddle
  proc: /host/proc
  kubelet: /cg/system.slice/node.service
  fastPath: outsideMesh
dns: {resolvConf: /run/resolv.conf}
jwks: {roots: /etc/issuers.pem}
admin: {address: "", socket: ""}
metrics: {address: "[::]:9090"}
health: {address: "127.0.0.1:9091"}
handover: {socket: /run/mesh/handover.sock}
log:
  {level: "warn,heddle::capture=debug", format: json, access: false, longConnections: 0s, accessRate: 500, remembered: 7, events: true}
limits:
  dataThreads: 3
  connectTimeout: 250ms
  localConnectTimeout: 2s
  handshakeTimeout: 3s
  drainTimeout: 1m
  streamsPerTunnel: 7
  connections: 9000
  memory: 67108864
  pod: {weight: 50, connections: 64, handshakes: 8, bufferBytes: 1048576}
http:
  requestHeaderTimeout: 2s
  requestBodyTimeout: 6s
  idleTimeout: 5s
  maxHeaderBytes: 8192
  maxConcurrentStreams: 7
  replayBytes: 0
  detectionTimeout: 50ms
tracing:
  otlp:
    endpoint: "https://[fd00::1]:4318/otlp/v1/traces"
    protocol: http
    timeout: 3s
    headers: {x-api-key: "secret"}
    roots: /etc/collector.pem
  samplingPercentage: 12.5
"#;

#[test]
fn every_key_is_read_and_serialized_under_its_own_name() {
    let config = parse(FULL).unwrap();
    let shown = serde_json::to_value(&config).unwrap();
    let expected = serde_json::json!({
        "node": "node-b", "cluster": "east", "trustDomain": "prod.example",
        "trustDomainAliases": ["old.example", "cluster.local"],
        "rootNamespace": "mesh",
        "source": {"files": {"path": "objects"}},
        "ca": {"local": {"path": "/var/lib/heddle/ca"}},
        "mtls": {"mode": "STRICT"},
        "tls": {"crl": "/etc/heddle/crl/ca.crl"},
        "state": {"path": ""},
        "capture": {"cgroup": "/cg", "pins": "/bpf/heddle", "proc": "/host/proc",
                    "kubelet": "/cg/system.slice/node.service", "fastPath": "outsideMesh"},
        "dns": {"resolvConf": "/run/resolv.conf"},
        "jwks": {"roots": "/etc/issuers.pem"},
        "admin": {"address": "", "socket": ""},
        "metrics": {"address": "[::]:9090"},
        "health": {"address": "127.0.0.1:9091"},
        "handover": {"socket": "/run/mesh/handover.sock"},
        "log": {
            "level": "warn,heddle::capture=debug", "format": "json", "access": false,
            "longConnections": "0s", "accessRate": 500, "remembered": 7, "events": true,
        },
        "limits": {"dataThreads": 3, "connectTimeout": "250ms", "localConnectTimeout": "2s", "handshakeTimeout": "3s",
                   "drainTimeout": "1m", "streamsPerTunnel": 7, "connections": 9000, "memory": 67_108_864,
                   "pod": {"weight": 50, "connections": 64, "handshakes": 8, "bufferBytes": 1_048_576}},
        "http": {"requestHeaderTimeout": "2s", "requestBodyTimeout": "6s", "idleTimeout": "5s", "maxHeaderBytes": 8192,
                 "maxConcurrentStreams": 7, "replayBytes": 0, "detectionTimeout": "50ms"},
        "tracing": {"otlp": {"endpoint": "https://[fd00::1]:4318/otlp/v1/traces", "protocol": "http", "timeout": "3s",
                             "headers": {"x-api-key": "(hidden)"}, "roots": "/etc/collector.pem"},
                    "samplingPercentage": 12.5},
    });
    assert_eq!(shown, expected);
}

const FULL_KUBERNETES: &str = "
node: a
source: {kubernetes: {kubeconfig: /k, context: c, documents: /etc/heddle/documents}}
state: {path: /state}
";

const REMOTE_CA: &str = "
node: a
cluster: east
source: {files: {path: /o}}
ca: {remote: {address: \"https://heddle-ca.heddle-system.svc:15012\", roots: /roots.pem}}
";

const FULL_REMOTE_CA: &str = r#"
node: a
source: {files: {path: /o}}
ca:
  remote:
    address: "https://[fd00::1]:15012/"
    roots: /roots.pem
    token: /token
    serverName: istiod.istio-system.svc
    lifetime: 1h
    clusterId: west
    impersonate: false
"#;

#[test]
fn a_remote_authority_needs_an_address_and_roots() {
    let expected = RemoteCaConfig {
        address: CaAddress { host: "heddle-ca.heddle-system.svc".into(), port: 15012 },
        roots: "/roots.pem".into(),
        token: "/var/run/secrets/heddle/token".into(),
        server_name: "heddle-ca.heddle-system.svc".into(),
        lifetime: Duration::from_secs(86_400),
        cluster_id: "east".into(),
        impersonate: true,
    };
    assert_eq!(parse(REMOTE_CA).unwrap().ca, CaConfig::Remote(expected));
    let expected = RemoteCaConfig {
        address: CaAddress { host: "fd00::1".into(), port: 15012 },
        roots: "/roots.pem".into(),
        token: "/token".into(),
        server_name: "istiod.istio-system.svc".into(),
        lifetime: Duration::from_secs(3600),
        cluster_id: "west".into(),
        impersonate: false,
    };
    assert_eq!(parse(FULL_REMOTE_CA).unwrap().ca, CaConfig::Remote(expected));
    let shown = serde_json::to_value(parse(FULL_REMOTE_CA).unwrap()).unwrap();
    let expected = serde_json::json!({"remote": {
        "address": "https://[fd00::1]:15012", "roots": "/roots.pem", "token": "/token",
        "serverName": "istiod.istio-system.svc", "lifetime": "1h", "clusterId": "west", "impersonate": false,
    }});
    assert_eq!(shown["ca"], expected);
}

#[test]
fn bad_authorities() {
    let address = "allowed: the authority's address such as https://heddle-ca.heddle-system.svc:15012";
    let found = problems_of(&format!("{MINIMAL}ca: {{remote: {{}}}}\n"));
    assert_eq!(
        found,
        [
            "3:14: ca.remote.address: missing, must be the authority's address such as https://heddle-ca.heddle-system.svc:15012",
            "3:14: ca.remote.roots: missing, must be an absolute path of the PEM file with the roots that vouch for the authority",
        ]
    );
    for bad in ["http://ca:15012", "ca:15012", "https://ca", "https://ca:0", "https://ca:1/path", "https://a_b!:1"] {
        let found = problem_of(&format!("ca: {{remote: {{address: \"{bad}\", roots: /r}}}}\n"));
        assert_eq!(found, format!("3:24: ca.remote.address: found \"{bad}\", {address}"));
    }
    let found = problem_of("ca: {remote: {address: \"https://me:secret@ca:1\", roots: /r}}\n");
    assert_eq!(found, format!("3:24: ca.remote.address: found an address with a user in it, {address}"));
    let remote = |more: &str| format!("ca: {{remote: {{address: \"https://ca:1\", roots: /r{more}}}}}\n");
    let cases = [
        (
            "ca: {local: {}, remote: {address: \"https://ca:1\", roots: /r}}\n".to_owned(),
            "3:5: ca: found local and remote, allowed: one of the two; remove the other",
        ),
        (remote(", token: t"), "3:58: ca.remote.token: found \"t\", allowed: an absolute path"),
        (
            remote(", serverName: \"a b\""),
            "3:63: ca.remote.serverName: found \"a b\", allowed: a DNS name or an IP address",
        ),
        (
            remote(", lifetime: 0s"),
            "3:61: ca.remote.lifetime: found \"0s\", allowed: a duration above zero and up to 24h, such as 500ms, 5s or 1m",
        ),
        (
            remote(", clusterId: \"a\\nb\""),
            "3:62: ca.remote.clusterId: found \"a\\nb\", allowed: a name of printable ASCII characters",
        ),
        (remote(", impersonate: 1"), "3:64: ca.remote.impersonate: found the number 1, allowed: true or false"),
        (remote(", rotos: /r"), "3:51: unknown key \"rotos\" in ca.remote; did you mean \"roots\"?"),
        (
            format!("cluster: \"my cluster\"\n{}", remote("")),
            "4:14: ca.remote.clusterId: missing, must be a name of printable ASCII characters, since \"my cluster\", the name of the cluster, is none",
        ),
    ];
    for (extra, expected) in cases {
        assert_eq!(problem_of(&extra), expected, "{extra}");
    }
}

#[test]
fn kubernetes_needs_no_settings_and_takes_some() {
    for text in ["{kubernetes: {}}", "{kubernetes: }"] {
        let config = parse(&format!("node: a\nsource: {text}\n")).unwrap();
        assert_eq!(config.source, Source::Kubernetes(KubernetesSource::default()));
        assert_eq!(config.state, Some("/var/lib/heddle/state".into()));
    }
    let config = parse(FULL_KUBERNETES).unwrap();
    let expected = KubernetesSource {
        kubeconfig: Some("/k".into()),
        context: Some("c".into()),
        documents: Some("/etc/heddle/documents".into()),
    };
    assert_eq!(config.source, Source::Kubernetes(expected));
    assert_eq!(config.state, Some("/state".into()));
    assert_eq!(parse("node: a\nsource: {kubernetes: {}}\nstate: {path: \"\"}\n").unwrap().state, None);
}

#[test]
fn bad_sources() {
    let cases = [
        (
            "source: {files: {path: /o}, kubernetes: {}}\n",
            "2:9: source: found files and kubernetes, allowed: one of the two; remove the other",
        ),
        (
            "source: {}\n",
            "2:9: source: names no source, allowed: {kubernetes: {}} or {files: {path: /etc/heddle/objects}}",
        ),
        (
            "source: {kubernetes: {context: c}}\n",
            "2:32: source.kubernetes.context: has no effect without kubeconfig; name the file that has the context",
        ),
        (
            "source: {kubernetes: {kubeConfig: /k}}\n",
            "2:23: unknown key \"kubeConfig\" in source.kubernetes; did you mean \"kubeconfig\"?",
        ),
        (
            "source: {kubernetes: {documents: d}}\n",
            "2:34: source.kubernetes.documents: found \"d\", allowed: an absolute path of a directory of mesh documents",
        ),
        (
            "source: {files: {path: /o}}\nstate: {path: /s}\n",
            "3:15: state.path: has no effect with source.files, which is on disk already; remove it",
        ),
        (
            "source: {kubernetes: {}}\nstate: {path: s}\n",
            "3:15: state.path: found \"s\", allowed: an absolute path, or \"\" for none",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(problems_of(&format!("node: a\n{text}")), [expected], "{text}");
    }
}

#[test]
fn serialized_configuration_is_a_configuration() {
    let kubernetes = "node: a\nsource: {kubernetes: {}}\n";
    for text in [MINIMAL, FULL, kubernetes, FULL_KUBERNETES, REMOTE_CA, FULL_REMOTE_CA] {
        let config = parse(text).unwrap();
        let shown = serde_json::to_string_pretty(&config).unwrap().replace("(hidden)", "secret");
        assert_eq!(parse(&shown).unwrap(), config);
    }
}

/// `deploy/agent.yaml` is where people look first.
#[test]
fn the_example_is_a_configuration_and_names_every_key() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/agent.yaml");
    let example = std::fs::read_to_string(path).unwrap();
    let shown = serde_json::to_value(parse(&example).unwrap()).unwrap();
    for key in shown.as_object().unwrap().keys() {
        assert!(example.contains(&format!("\n{key}:")), "{key} is not in the example");
    }
    let remote = serde_json::to_value(parse(FULL_REMOTE_CA).unwrap()).unwrap();
    for key in remote["ca"]["remote"].as_object().unwrap().keys() {
        assert!(example.contains(&format!("\n#   {key}: ")), "ca.remote.{key} is not in the example");
    }
}

#[test]
fn all_problems_are_reported_at_once_in_file_order() {
    let text = "\
node: Node_A
trustdomain: x
source: {file: {path: /x}}
mtls: {mode: strict}
limits:
  connectTimout: 5s
  handshakeTimeout: 0s
  streamsPerTunnel: 5000
  drainTimeout: 30
log: {access: yes, longConnections: 10ms, accessRate: -1, events: 1}
";
    assert_eq!(
        problems_of(text),
        [
            "1:7: node: found \"Node_A\", allowed: this node's name, as in spec.nodeName of its pods",
            "2:1: unknown key \"trustdomain\"; did you mean \"trustDomain\"?",
            "3:9: source: names no source, allowed: {kubernetes: {}} or {files: {path: /etc/heddle/objects}}",
            "3:10: unknown key \"file\" in source; did you mean \"files\"?",
            "4:14: mtls.mode: found \"strict\", allowed: STRICT or PERMISSIVE",
            "6:3: unknown key \"connectTimout\" in limits; did you mean \"connectTimeout\"?",
            "7:21: limits.handshakeTimeout: found \"0s\", allowed: a duration above zero and up to 24h, such as 500ms, 5s or 1m",
            "8:21: limits.streamsPerTunnel: found the number 5000, allowed: a whole number from 1 to 1000",
            "9:17: limits.drainTimeout: found the number 30, allowed: a duration above zero and up to 24h, such as 500ms, 5s or 1m",
            "10:15: log.access: found \"yes\", allowed: true or false",
            "10:37: log.longConnections: found \"10ms\", allowed: 0s for none, or a duration from 1s to 24h, such as 60s",
            "10:55: log.accessRate: found the number -1, allowed: a whole number from 0, for any number of lines, to 1000000",
            "10:67: log.events: found the number 1, allowed: true or false",
        ]
    );
}

#[test]
fn problem_is_printed_with_its_line_and_a_caret() {
    let text = format!("{MINIMAL}limits:\n  connectTimeout: soon\n");
    assert_eq!(
        parse(&text).unwrap_err().to_string(),
        "agent.yaml:4:19: limits.connectTimeout: found \"soon\", allowed: a duration above zero and up to 24h, such as 500ms, 5s or 1m\n  \
         4 |   connectTimeout: soon\n    \
           |                   ^"
    );
}

#[test]
fn unknown_key_without_a_near_one_lists_the_known() {
    assert_eq!(problem_of("health: {zzz: 1}\n"), "3:10: unknown key \"zzz\" in health, allowed: address");
}

#[test]
fn required_keys_are_named_when_the_file_is_empty() {
    for text in ["", "# nothing\n", "---\n", "{}"] {
        let found = problems_of(text);
        assert_eq!(found.len(), 2, "{text:?}: {found:?}");
        assert!(found[0].contains("node: missing"), "{found:?}");
        assert!(found[1].contains("source: missing"), "{found:?}");
    }
}

#[test]
fn single_bad_values() {
    let cases = [
        ("cluster: 5\n", "3:10: cluster: found the number 5, allowed: a name that is not empty"),
        (
            "trustDomain: Prod\n",
            "3:14: trustDomain: found \"Prod\", allowed: a trust domain: 1 to 255 of the characters a-z, 0-9, '.', '-' and '_'",
        ),
        (
            "tls: {crl: ca.crl}\n",
            "3:12: tls.crl: found \"ca.crl\", allowed: an absolute path of a PEM file, or \"\" for none",
        ),
        ("tls: {crls: /ca.crl}\n", "3:7: unknown key \"crls\" in tls; did you mean \"crl\"?"),
        ("capture: {fastPath: on}\n", "3:21: capture.fastPath: found \"on\", allowed: all, outsideMesh or off"),
        (
            "capture: {cgroup: /cg, kubelet: /other}\n",
            "3:33: capture.kubelet: found \"/other\", which is not below capture.cgroup",
        ),
        (
            "capture: {cgroup: /cg, kubelet: none}\n",
            "3:33: capture.kubelet: found \"none\", allowed: auto, an absolute path, or \"\" for none",
        ),
        ("capture: {pins: bpf}\n", "3:17: capture.pins: found \"bpf\", allowed: an absolute path"),
        ("capture: [1]\n", "3:10: capture: found a list, allowed: a map of keys and values"),
        (
            "admin: {socket: run.sock}\n",
            "3:17: admin.socket: found \"run.sock\", allowed: an absolute path, or \"\" for none",
        ),
        (
            "metrics: {address: \":15020\"}\n",
            "3:20: metrics.address: found \":15020\", allowed: an address and port such as 127.0.0.1:15000 or [::1]:15000",
        ),
        (
            "metrics: {address: \"0.0.0.0:15008\"}\n",
            "3:20: metrics.address: found port 15008, allowed: any but 15001, 15006 and 15008, which capture uses",
        ),
        (
            "health: {address: \"0.0.0.0:15020\"}\n",
            "3:19: health.address: 0.0.0.0:15020 collides with metrics.address (0.0.0.0:15020), choose another port",
        ),
        (
            "metrics: {address: \"0.0.0.0:15000\"}\n",
            "3:20: metrics.address: 0.0.0.0:15000 collides with admin.address (127.0.0.1:15000), choose another port",
        ),
        (
            "log: {level: verbose}\n",
            "3:14: log.level: found \"verbose\", allowed: error, warn, info, debug, trace, or directives such as info,heddle::capture=debug",
        ),
        (
            "limits: {dataThreads: 0}\n",
            "3:23: limits.dataThreads: found the number 0, allowed: a whole number from 1 to 1024",
        ),
        (
            "limits: {connectTimeout: 3years}\n",
            "3:26: limits.connectTimeout: found \"3years\", allowed: a duration above zero and up to 24h, such as 500ms, 5s or 1m",
        ),
        (
            "limits: {pod: {weight: 0}}\n",
            "3:24: limits.pod.weight: found the number 0, allowed: a whole number from 1 to 10000; 100 is a pod's by default",
        ),
        (
            "limits: {pod: {connections: 0}}\n",
            "3:29: limits.pod.connections: found the number 0, allowed: a whole number from 1 to 10000000",
        ),
        (
            "limits: {pod: {bufferBytes: 1048575}}\n",
            "3:29: limits.pod.bufferBytes: found the number 1048575, allowed: a number of bytes from 1048576 to 1099511627776",
        ),
        (
            "limits: {pod: {handshake: 5}}\n",
            "3:16: unknown key \"handshake\" in limits.pod; did you mean \"handshakes\"?",
        ),
        (
            "http: {maxHeaderBytes: 8191}\n",
            "3:24: http.maxHeaderBytes: found the number 8191, allowed: a number of bytes from 8192 to 1048576",
        ),
        (
            "http: {maxConcurrentStreams: 0}\n",
            "3:30: http.maxConcurrentStreams: found the number 0, allowed: a whole number from 1 to 10000",
        ),
        (
            "http: {replayBytes: 16777217}\n",
            "3:21: http.replayBytes: found the number 16777217, allowed: a number of bytes from 0 to 16777216",
        ),
        (
            "http: {detectionTimeout: 11s}\n",
            "3:26: http.detectionTimeout: found \"11s\", allowed: a duration above zero and up to 10s, such as 100ms",
        ),
        (
            "http: {idleTimeout: 50ms}\n",
            "3:21: http.idleTimeout: makes detectionTimeout longer than requestHeaderTimeout or idleTimeout; make it the shortest",
        ),
        ("http: {idelTimeout: 1s}\n", "3:8: unknown key \"idelTimeout\" in http; did you mean \"idleTimeout\"?"),
        ("ca: {vault: {}}\n", "3:6: unknown key \"vault\" in ca, allowed: remote, local"),
        (
            "trustDomainAliases: [a, B]\n",
            "3:25: trustDomainAliases[1]: found \"B\", allowed: a list of other trust domains, each a trust domain: 1 to 255 of the characters a-z, 0-9, '.', '-' and '_'",
        ),
        (
            "trustDomainAliases: [a, cluster.local]\n",
            "3:21: trustDomainAliases: found \"cluster.local\", which is trustDomain; remove it",
        ),
        ("trustDomainAliases: [a, a]\n", "3:21: trustDomainAliases: found \"a\" twice; remove one"),
    ];
    for (extra, expected) in cases {
        assert_eq!(problem_of(extra), expected, "{extra}");
    }
}

#[test]
fn syntax_errors_and_second_documents_have_a_place() {
    let found = problems_of("node: a\nsource: {files: [}\n");
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("2:") && found[0].contains("cannot be read as YAML"), "{found:?}");
    let duplicate = problems_of("node: a\nnode: b\n");
    assert!(
        duplicate[0].starts_with("2:1: cannot be read as YAML: ") && duplicate[0].contains("node"),
        "{duplicate:?}"
    );
    let second = problems_of("node: a\n---\nnode: b\n");
    assert_eq!(second, ["2:1: a second document begins here, allowed: one document"]);
}

#[test]
fn endpoints_on_different_addresses_may_share_a_port() {
    let text = format!("{MINIMAL}metrics: {{address: \"10.0.0.1:15000\"}}\nhealth: {{address: \"0.0.0.0:0\"}}\n");
    assert!(parse(&text).is_ok());
}

#[test]
fn missing_cgroup_mount_is_named_with_its_remedy() {
    let bare = Machine { cgroup2_mount: None, ..machine() };
    let error = Config::parse("f", MINIMAL, &bare).unwrap_err().to_string();
    assert!(error.contains("capture.cgroup: missing, must be the cgroup v2 mount"), "{error}");
    let named = format!("{MINIMAL}capture: {{cgroup: /cg}}\n");
    assert_eq!(Config::parse("f", &named, &bare).unwrap().capture.cgroup, PathBuf::from("/cg"));
}

#[test]
fn a_node_is_named_by_the_file_or_else_by_the_environment() {
    let named = Machine { node: Some("node-b".into()), ..machine() };
    let unnamed = "source: {files: {path: /etc/heddle/objects}}\n";
    assert_eq!(&*Config::parse("f", unnamed, &named).unwrap().node, "node-b");
    assert_eq!(&*Config::parse("f", MINIMAL, &named).unwrap().node, "node-a");
    let badly = Machine { node: Some("Node_B".into()), ..machine() };
    let error = Config::parse("f", unnamed, &badly).unwrap_err().to_string();
    assert!(error.contains("node: the environment has NODE_NAME=\"Node_B\", allowed: this node's name"), "{error}");
}

#[test]
fn unreadable_file_names_the_flag() {
    let error = Config::load(std::path::Path::new("/nonexistent/agent.yaml")).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/agent.yaml: cannot read the agent configuration: "), "{error}");
    assert!(error.ends_with("give its path with --config"), "{error}");
}

#[test]
fn cgroup2_mount_is_found_in_every_layout() {
    let cases = [
        ("cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n", Some("/sys/fs/cgroup")),
        (
            "tmpfs /sys/fs/cgroup tmpfs ro 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n",
            Some("/sys/fs/cgroup/unified"),
        ),
        ("none /mnt/a\\040b cgroup2 rw 0 0\n", Some("/mnt/a b")),
        ("tmpfs /sys/fs/cgroup tmpfs ro 0 0\n", None),
        ("", None),
    ];
    for (mounts, expected) in cases {
        assert_eq!(cgroup2_mount(mounts), expected.map(PathBuf::from), "{mounts}");
    }
}

#[test]
fn data_threads_follow_the_limit_or_a_quarter_of_the_cpus() {
    for (cpus, cpu_limit, expected) in [(1, None, 2), (4, None, 2), (64, None, 16), (64, Some(6), 6), (64, Some(1), 2)]
    {
        let machine = Machine { cpus, cpu_limit, ..machine() };
        assert_eq!(machine.data_threads(), expected, "{machine:?}");
    }
}

#[test]
fn a_pods_share_follows_from_descriptors_and_memory() {
    for (descriptors, memory, expected) in [
        (20_000, 8 << 30, (2500, 1250, 256 << 20)),
        (u64::MAX, 1 << 29, (1_000_000, 2048, 32 << 20)),
        (0, 0, (512, 256, 16 << 20)),
    ] {
        let share = Machine { descriptors, memory, ..machine() }.pod_share();
        assert_eq!((share.connections, share.handshakes, share.buffer_bytes), expected, "{descriptors} {memory}");
    }
}

#[test]
fn the_nodes_bounds_follow_from_descriptors_and_the_memory_limit_of_the_cgroup() {
    for (descriptors, memory_limit, expected) in [
        (1 << 20, None, (471_859, None)),
        (4096, Some(512 << 20), (1792, Some(429_496_728))),
        (300, Some(1 << 20), (75, Some(32 << 20))),
        (0, None, (1, None)),
        (u64::MAX, None, (10_000_000, None)),
    ] {
        let machine = Machine { descriptors, memory_limit, ..machine() };
        assert_eq!((machine.connections(), machine.resident_bound()), expected, "{descriptors} {memory_limit:?}");
    }
}

#[test]
fn the_memory_bound_can_be_set_and_taken_away() {
    let bound = |limits: &str| parse(&format!("{MINIMAL}limits: {{{limits}}}\n")).map(|config| config.limits.memory);
    assert_eq!(bound("memory: 67108864").unwrap(), Some(64 << 20));
    assert_eq!(bound("memory: 0").unwrap(), None);
    assert!(bound("memory: 1000").is_err());
}

#[test]
fn some_of_a_pods_share_leaves_the_rest_as_it_is() {
    let config = parse(&format!("{MINIMAL}limits: {{pod: {{connections: 7}}}}\n")).unwrap();
    assert_eq!(config.limits.pod, Share { connections: 7, ..machine().pod_share() });
}

#[test]
fn levels_and_directives() {
    for good in ["info", "WARN", "off", "info,heddle=debug", "heddle::capture=trace", "warn,h2=error"] {
        assert_eq!(level::checked(good), Some(good));
    }
    for bad in ["", "verbose", "info,heddle", "heddle=loud", "info,,debug"] {
        assert_eq!(level::checked(bad), None, "{bad:?}");
    }
}

#[test]
fn hostile_documents_are_refused_and_not_unfolded() {
    let deep = format!("{MINIMAL}ca: {}", "[".repeat(100_000));
    assert!(problems_of(&deep)[0].contains("cannot be read as YAML"));
    let nested = |depth| format!("{MINIMAL}ca: {}{}", "{a: ".repeat(depth), "}".repeat(depth));
    assert!(problems_of(&nested(5_000))[0].contains("cannot be read as YAML"));
    assert_eq!(problems_of(&nested(60)), ["3:6: unknown key \"a\" in ca, allowed: remote, local"]);
    let bomb = (1..12).fold("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, i| {
        let items = vec![format!("*a{}", i - 1); 9].join(", ");
        text + &format!("a{i}: &a{i} [{items}]\n")
    });
    assert!(problems_of(&bomb)[0].contains("cannot be read as YAML"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_text_panics(text in "(?s).{0,200}") {
        let _ = parse(&text).map_err(|problems| problems.to_string());
    }

    #[test]
    fn no_yaml_like_text_panics(text in "([a-z&*!|>\\[\\]{}:,\"'#%@`\\-? \n\t0-9]|node|source|files|limits|---|<<){0,80}") {
        let _ = parse(&format!("{MINIMAL}{text}")).map_err(|problems| problems.to_string());
    }
}

#[test]
fn spans_are_off_unless_there_is_a_collector() {
    let config = parse(MINIMAL).unwrap();
    let share = |parts| Percentage::from_parts_per_million(parts).unwrap();
    assert_eq!(config.tracing, TracingConfig { otlp: None, sampling_percentage: share(10_000) });
    let config = parse(&format!("{MINIMAL}\ntracing: {{otlp: {{endpoint: \"http://collector:4317\"}}}}\n")).unwrap();
    let endpoint = OtlpEndpoint { is_tls: false, host: "collector".to_owned(), port: 4317, path: String::new() };
    let otlp = config.tracing.otlp.unwrap();
    assert_eq!((&otlp.endpoint, otlp.protocol, otlp.timeout.as_secs()), (&endpoint, OtlpProtocol::Grpc, 10));
    assert_eq!((otlp.headers, otlp.roots), (OtlpHeaders::default(), None));
}

#[test]
fn a_key_for_the_collector_is_never_shown() {
    let config = parse(FULL).unwrap();
    for shown in [format!("{config:?}"), serde_json::to_string(&config).unwrap()] {
        assert!(shown.contains("x-api-key") && !shown.contains("secret"), "{shown}");
    }
    let bad = "node: a\nsource: {files: {path: /o}}\ntracing: {otlp: {endpoint: \"http://c:1\", headers: {a: \"sec\\nret\"}}}\n";
    assert!(!problems_of(bad).join("").contains("header: sec"));
    let of = |headers: &str| {
        problems_of(&format!(
            "node: a\nsource: {{files: {{path: /o}}}}\ntracing: {{otlp: {{endpoint: \"http://c:1\", headers: {{{headers}}}}}}}\n"
        ))
    };
    let number = of("api-key: 123456789");
    assert!(number.len() == 1 && !number[0].contains("123456789"), "{number:?}");
    assert!(of("a: b, A: c")[0].contains("is there twice"), "{:?}", of("a: b, A: c"));
}

#[test]
fn no_line_that_may_hold_a_secret_is_shown_with_a_problem_in_it() {
    let said = |text: &str| Config::parse("agent.yaml", text, &machine()).unwrap_err().to_string();
    const LOG: &str = "node: a\nsource: {files: {path: /o}}\nlog:\n  format: yaml\n";
    for (text, place) in [
        // A mistake beside the header, in its value, in its name, and in what it stands in.
        ("tracing: {otlp: {endpoint: \"http://c:1\", headers: {k: S3cret}, retry: 1}}", "5:"),
        ("tracing:\n  otlp:\n    endpoint: http://c:1\n    headers: {k: 17, l: S3cret}", "8:"),
        ("tracing: {otlp: {endpoint: \"http://c:1\", headers: S3cret}}", "5:"),
        ("tracing: {otlp: {endpoint: \"http://c:1\", header: {k: S3cret}}}", "5:"),
        ("trasing: {otlp: {headers: {k: S3cret}}}", "5:"),
        ("ca: {remote: {address: \"https://user:S3cret@ca:1\", roots: /r}}", "5:"),
        // Nobody can tell what a line is of a file that cannot be read.
        ("tracing: {otlp: {headers: {k: S3cret]}}", "5:"),
        ("---\ntracing: {otlp: {headers: {k: S3cret}}}", "5:"),
    ] {
        let said = said(&format!("{LOG}{text}\n"));
        assert!(said.contains(&format!("agent.yaml:{place}")) && !said.contains("S3cret"), "{text}: {said}");
    }
    let flow = "{node: a, log: {format: yaml}, tracing: {otlp: {endpoint: \"http://c:1\", headers: {k: S3cret}}}}";
    assert!(said(flow).contains("log.format") && !said(flow).contains("S3cret"), "{}", said(flow));
    let after = "{node: a, tracing: {otlp: {endpoint: \"http://c:1\",\n headers: {k: S3cret}}}, log: {format: yaml}}";
    assert!(said(after).contains("log.format") && !said(after).contains("S3cret"), "{}", said(after));
    // Other lines are shown, below a header too.
    let fine = format!("tracing: {{otlp: {{endpoint: \"http://c:1\", headers: {{k: S3cret}}}}}}\n{LOG}");
    assert!(said(&fine).contains("  5 |   format: yaml\n"), "{}", said(&fine));
}

#[test]
fn every_key_says_whether_its_lines_may_be_shown() {
    let Value::Map(entries) = Node::parse(FULL).unwrap().value else { panic!("no map") };
    let hidden: Vec<_> = entries.iter().map(|entry| entry.key.as_str()).filter(|key| !HARMLESS.contains(key)).collect();
    assert_eq!(hidden, ["ca", "tracing"]);
    assert!(HARMLESS.iter().all(|key| *key == "state" || entries.iter().any(|entry| entry.key == *key)));
}

#[test]
fn every_problem_of_a_collector_is_told() {
    let of =
        |otlp: &str| problems_of(&format!("node: a\nsource: {{files: {{path: /o}}}}\ntracing: {{otlp: {otlp}}}\n"));
    const ENDPOINT: &str =
        "the collector's address such as http://otel-collector.observability.svc:4317, with its port";
    assert_eq!(of("{}"), [format!("3:17: tracing.otlp.endpoint: missing, must be {ENDPOINT}")]);
    for endpoint in ["collector:4317", "http://collector", "grpc://c:1", "http://c:0", "http://c:1/?a=b", ""] {
        let found = of(&format!("{{endpoint: {endpoint:?}}}"));
        assert_eq!(found, [format!("3:28: tracing.otlp.endpoint: found {endpoint:?}, allowed: {ENDPOINT}")]);
    }
    assert_eq!(
        of("{endpoint: \"http://c:1/x\", protocol: udp, timeout: 2m, roots: /r, headers: {host: x, a b: c}, retry: 1}")
            .len(),
        7
    );
}
