//! Routes that change under load: no failed request, and no request that is answered by a mix of two generations.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::tools::{HttpLoad, Web, route};

/// How often the routes change in a second, and for how long.
const PER_SECOND: u32 = 50;
const CHANGES: u32 = 150;

/// A route of which path, request header and response header are of one generation.
fn generation(number: u32) -> String {
    let header = format!("{{set: [{{name: x-generation, value: \"{number}\"}}]}}");
    route(&format!(
        "[{{matches: [{{path: {{value: /in}}}}], filters: [\
           {{type: URLRewrite, urlRewrite: {{path: {{type: ReplacePrefixMatch, replacePrefixMatch: /g{number}}}}}}}, \
           {{type: RequestHeaderModifier, requestHeaderModifier: {header}}}, \
           {{type: ResponseHeaderModifier, responseHeaderModifier: {header}}}], \
         backendRefs: [{{name: {}, port: 80}}]}}]",
        // In turns of many: the agent may put several changes in force at once, and both Services must have their time.
        if (number / (CHANGES / 3)).is_multiple_of(2) { "web" } else { "v1" }
    ))
}

#[test]
fn fifty_changes_a_second_fail_no_request_and_mix_no_two_generations() -> Result<()> {
    let web = Web::new("http-changes")?;
    let _v1 = web.version("v1")?;
    web.in_force(&generation(0))?;
    let loads: Vec<HttpLoad> = ["", "--h2", "--method POST --body-bytes 20000"]
        .iter()
        .map(|how| {
            let line = format!("--to {} --host web --target /in/x --agree --pause-ms 3 {how}", web.service.at(80));
            HttpLoad::start(&web.world.client, &line)
        })
        .collect::<Result<_>>()?;
    let begin = Instant::now();
    for number in 1..=CHANGES {
        web.world.bed.objects().put_text("mesh-documents.yaml", &generation(number))?;
        let next = Duration::from_secs(1) / PER_SECOND * number;
        std::thread::sleep(next.saturating_sub(begin.elapsed()));
    }
    let took = begin.elapsed();
    for load in loads {
        let report = load.end()?;
        let good: u64 =
            report.answers.iter().filter(|(answer, _)| answer.starts_with("200 ")).map(|(_, count)| count).sum();
        assert!(report.failures.is_empty() && good == report.attempted, "{report:?}\n{}", web.said()?);
        assert_eq!(report.mixed, 0, "{report:?}");
        // The agent may put several changes in force at once; that none came through would show nothing.
        assert!(report.generations >= 5, "{report:?}");
        assert!(report.answers.len() == 2, "both Services had their time: {report:?}");
    }
    ensure!(took < Duration::from_secs(8), "the changes took {took:?} and not {} s", CHANGES / PER_SECOND);
    super::tools::all_accepted(&web.world.a)
}
