//! Programs that people use, through two nodes: nginx as the server, curl and h2load as clients.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use heddle_tests::bed::{Pod, Process};

use super::tools::{Web, route};
use crate::world::SOON;

/// The large file's length; not a multiple of any buffer.
const LARGE: usize = 50_000_007;

/// nginx in the pod `far`, behind the Service web.
struct Nginx {
    web: Web,
    directory: std::path::PathBuf,
    nginx: Process,
}

impl Nginx {
    fn new(name: &str) -> Result<Self> {
        let web = Web::new(name)?;
        let directory = web.world.bed.directory().join("nginx");
        let files = directory.join("files");
        std::fs::create_dir_all(&files)?;
        std::fs::write(files.join("large.bin"), content())?;
        std::fs::write(files.join("small.txt"), "small\n")?;
        let nginx = start(&web.world.far, &directory)?;
        let service = web.world.bed.service("files", &[(80, 8088)])?;
        service.backends(&[&web.world.far])?;
        web.world.settle()?;
        Ok(Self { web: Web { service, ..web }, directory, nginx })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.web.service.at(80))
    }

    /// curl in the client's pod; its standard output.
    fn curl(&self, line: &str) -> Result<String> {
        let curl = self.web.world.client.command("curl").words("--silent --show-error --max-time 60 -H host:files");
        curl.words(line).output(SOON * 8)
    }
}

fn content() -> Vec<u8> {
    (0..LARGE).map(|at| u8::try_from((at * 7 + at / 251) % 256).unwrap_or(0)).collect()
}

fn start(pod: &Pod, directory: &Path) -> Result<Process> {
    let file = directory.join("nginx.conf");
    std::fs::write(&file, config(directory))?;
    let mut nginx = pod.command("nginx").words("-e stderr -p").arg(directory).arg("-c").arg(&file).start()?;
    let deadline = Instant::now() + SOON;
    loop {
        match pod.netns().get(([127, 0, 0, 1], 8088).into(), "/small.txt", SOON) {
            Ok(answer) if answer.status == 200 => return Ok(nginx),
            _ if !nginx.running()? => bail!("{}", nginx.describe("ended at once")),
            _ if Instant::now() > deadline => bail!("{}", nginx.describe("gave no answer")),
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn config(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "daemon off;\nmaster_process off;\nworker_processes 1;\nuser root;\npid {directory}/nginx.pid;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n  log_format own '$request_method $request_uri $server_protocol $connection $connection_requests';\n  \
         access_log /dev/stdout own;\n  client_max_body_size 200m;\n  keepalive_requests 100000;\n  \
         client_body_temp_path {directory}/body;\n  proxy_temp_path {directory}/proxy;\n  \
         fastcgi_temp_path {directory}/fastcgi;\n  uwsgi_temp_path {directory}/uwsgi;\n  scgi_temp_path {directory}/scgi;\n  \
         server {{\n    listen 8088;\n    absolute_redirect off;\n    root {directory}/files;\n    default_type application/octet-stream;\n    \
         location /upload {{ dav_methods PUT; }}\n    \
         location /gzip {{ gzip on; gzip_min_length 1; gzip_types *; alias {directory}/files/; }}\n    \
         location /moved {{ return 301 /small.txt; }}\n  }}\n}}\n"
    )
}

#[test]
fn curl_gets_a_large_file_its_head_its_ranges_and_a_redirect_from_nginx() -> Result<()> {
    let mut nginx = Nginx::new("nginx-curl")?;
    let (large, copy) = (nginx.url("/large.bin"), nginx.directory.join("copy"));
    nginx.curl(&format!("--fail -o {} {large}", copy.display()))?;
    ensure!(std::fs::read(&copy)? == content(), "the copy differs");
    let head = nginx.curl(&format!("--head {large}"))?.to_lowercase();
    assert!(head.contains("200 ok") && head.contains(&format!("content-length: {LARGE}")), "{head}");
    let etag = head.lines().find_map(|line| line.strip_prefix("etag: ")).context("an etag")?.trim().to_owned();
    nginx.curl(&format!("--fail -r 1000-1999,49999999- -o {} {large}", copy.display()))?;
    let (parts, whole) = (std::fs::read(&copy)?, content());
    for range in [&whole[1_000..2_000], &whole[49_999_999..]] {
        assert!(parts.windows(range.len()).any(|part| part == range), "a range of {} bytes", range.len());
    }
    let code = "-w %{http_code} -o /dev/null";
    assert_eq!(nginx.curl(&format!("{code} -r 1000-1999 {large}"))?, "206");
    assert_eq!(nginx.curl(&format!("{code} -r 99999999- {large}"))?, "416");
    let not_modified = nginx.web.world.client.command("curl").words("--silent --max-time 60").words(code);
    let not_modified = not_modified.arg("-H").arg(format!("if-none-match: {etag}")).arg(&large).output(SOON)?;
    assert_eq!(not_modified, "304");
    assert_eq!(nginx.curl(&format!("{code} {}", nginx.url("/absent")))?, "404");
    assert_eq!(nginx.curl(&format!("--location {}", nginx.url("/moved")))?, "small");
    assert_eq!(nginx.curl(&format!("--compressed {}", nginx.url("/gzip/small.txt")))?, "small", "chunked, by gzip");
    assert!(nginx.nginx.running()?);
    Ok(())
}

#[test]
fn curl_uploads_and_keeps_its_connection() -> Result<()> {
    let nginx = Nginx::new("nginx-upload")?;
    std::fs::create_dir_all(nginx.directory.join("files/upload"))?;
    let source = nginx.directory.join("files/large.bin");
    // With a length, and in chunks; curl asks for 100 Continue before either.
    for (name, how) in [("sized", "".to_owned()), ("chunked", "-H transfer-encoding:chunked".to_owned())] {
        let url = nginx.url(&format!("/upload/{name}"));
        nginx.curl(&format!("--fail {how} -T {} {url}", source.display()))?;
        ensure!(std::fs::read(nginx.directory.join("files/upload").join(name))? == content(), "{name} differs");
    }
    let small = nginx.url("/small.txt");
    let said = nginx.curl(&format!("-w %{{num_connects}} {small} {small} {small} {small}"))?;
    assert_eq!(
        said.replace(char::is_whitespace, ""),
        "small1small0small0small0",
        "one connection of the client: {said}"
    );
    let lines = nginx.nginx.stdout();
    let used: std::collections::BTreeSet<_> =
        lines.iter().filter(|line| line.contains("/small.txt")).filter_map(|line| line.split(' ').nth(3)).collect();
    // The first is the test's own look whether nginx is there.
    assert!(used.len() <= 2, "one connection to the server: {lines:?}");
    Ok(())
}

#[test]
fn curl_speaks_http2_with_prior_knowledge_and_upgrades_do_no_harm() -> Result<()> {
    let web = Web::new("curl-h2")?;
    let to = format!("http://{}/x", web.service.at(80));
    let said = |how: &str| {
        let curl = web.world.client.command("curl").words("--silent --show-error --max-time 30");
        curl.words(&format!("{how} -w \\n%{{http_version}}_%{{http_code}} {to}")).output(SOON * 4)
    };
    let own = said("--http2-prior-knowledge")?;
    assert!(own.ends_with("2_200") && own.contains("\"version\":\"HTTP/2.0\""), "{own}");
    let one = said("--http1.1")?;
    assert!(one.ends_with("1.1_200") && one.contains("\"version\":\"HTTP/1.1\""), "{one}");
    // An Upgrade to h2c (RFC 7540, 3.2) may be left alone, and must not break the request.
    let asked = said("--http2")?;
    assert!(asked.ends_with("_200"), "{asked}");
    let posted = said(&format!("--http2-prior-knowledge --data-binary @{}", std::env::current_exe()?.display()))?;
    assert!(posted.contains(&format!("\"bytes\":{}", std::fs::metadata(std::env::current_exe()?)?.len())), "{posted}");
    Ok(())
}

#[test]
fn h2load_loses_no_request_in_either_version_with_and_without_a_route() -> Result<()> {
    let web = Web::new("h2load")?;
    let url = format!("http://{}/load", web.service.at(80));
    for documents in ["", &route("[{backendRefs: [{name: web, port: 80}]}]")] {
        web.in_force(documents)?;
        for how in ["--h1 -c 8", "-c 4 -m 20", "-c 1 -m 100"] {
            let h2load = web.world.client.command("h2load").words(&format!("-n 4000 {how} {url}"));
            let said = h2load.output(SOON * 8)?;
            let line = said.lines().find(|line| line.starts_with("requests:")).with_context(|| said.clone())?;
            assert!(line.contains("4000 succeeded, 0 failed, 0 errored, 0 timeout"), "{how}: {said}");
            let statuses = said.lines().find(|line| line.starts_with("status codes:")).unwrap_or_default();
            assert!(statuses.contains("4000 2xx"), "{how}: {said}");
        }
    }
    Ok(())
}
