//! nginx as the HTTP server: one process, a constant response from memory, and nothing outside its own directory.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::bed::{Pod, Process};

/// It answers with each of these where it is asked for `/bench/status/N`: each is a series of an agent's. Not with those that have a
/// meaning of nginx's own.
pub(super) const STATUSES: [[u16; 2]; 3] = [[400, 443], [445, 498], [500, 599]];

const READY_WITHIN: Duration = Duration::from_secs(10);

/// Starts it in the pod and waits until it answers there.
pub(super) fn start(pod: &Pod, directory: &Path, port: u16) -> Result<Process> {
    fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    let file = directory.join("nginx.conf");
    fs::write(&file, config(directory, port)).with_context(|| format!("writing {}", file.display()))?;
    let mut nginx = pod.command("nginx").words("-e stderr -p").arg(directory).arg("-c").arg(&file).start()?;
    let deadline = Instant::now() + READY_WITHIN;
    // Asked inside the pod, over loopback, which the mesh leaves alone.
    let address = ([127, 0, 0, 1], port).into();
    loop {
        match pod.netns().get(address, "/", READY_WITHIN) {
            Ok(answer) if answer.status == 200 => return Ok(nginx),
            _ if !nginx.running()? => bail!("{}", nginx.describe("ended at once")),
            _ if Instant::now() > deadline => bail!("{}", nginx.describe("gave no answer")),
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// No master process: the one that is started is the one that serves, and is killed.
fn config(directory: &Path, port: u16) -> String {
    let directory = directory.display();
    let statuses: String = STATUSES
        .iter()
        .flat_map(|[first, last]| *first..=*last)
        .map(|status| format!("    location = /bench/status/{status} {{ return {status}; }}\n"))
        .collect();
    format!(
        "daemon off;\nmaster_process off;\nworker_processes 1;\npid {directory}/nginx.pid;\n\
         worker_rlimit_nofile 65536;\nevents {{ worker_connections 16384; }}\n\
         http {{\n  access_log off;\n  keepalive_requests 1000000000;\n  keepalive_timeout 1h;\n  \
         client_body_temp_path {directory}/body;\n  proxy_temp_path {directory}/proxy;\n  \
         fastcgi_temp_path {directory}/fastcgi;\n  uwsgi_temp_path {directory}/uwsgi;\n  \
         scgi_temp_path {directory}/scgi;\n  \
         server {{\n    listen {port} backlog=4096;\n    default_type text/plain;\n{statuses}    \
         location / {{ return 200 \"ok\\n\"; }}\n  }}\n}}\n"
    )
}
