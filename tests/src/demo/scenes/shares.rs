//! How many requests each of several servers answered, as bars.

use super::super::app::Call;
use super::super::cast::Cast;
use super::super::screen::Look;
use super::super::story::Story;

/// Columns of the longest bar.
const BAR: usize = 50;

/// Shows how many each version answered, and gives the two counts.
pub(super) fn show(story: &Story, cast: &Cast<'_>, calls: &[Call]) -> [usize; 2] {
    let counts = cast.servers.each_ref().map(|server| {
        let by_it = |call: &&Call| cast.server_of(call).is_some_and(|pod| pod.name() == server.name());
        calls.iter().filter(by_it).count()
    });
    for (server, count) in cast.servers.iter().zip(counts) {
        // A bar of a few requests is as long as they are many, and any count but none can be seen.
        let length = if calls.len() <= BAR { count } else { (count * BAR).div_ceil(calls.len()) };
        let bar = story.paint(Look::Accent, &"■".repeat(length));
        story.fact(server.name(), &format!("{count:>3}  {bar}"));
    }
    counts
}

/// States that all were answered.
pub(super) fn expect_all_answered(story: &mut Story, calls: &[Call], asked: usize) {
    let bad: Vec<String> = calls.iter().filter(|call| call.answer.is_none()).map(Call::outcome).collect();
    let all = bad.is_empty() && calls.len() == asked;
    story.expect(all, &format!("all {asked} requests were answered"), || {
        format!(
            "{} of {} made were not, the first: {}",
            bad.len(),
            calls.len(),
            bad.first().map_or("-", String::as_str)
        )
    });
}
