//! What came of it, as a table.

use std::time::Duration;

use crate::cases::End;
use crate::judge::is_answered_by_stopping;
use crate::run::{Incident, Run};

const HEAD: [&str; 9] = [
    "case",
    "peer",
    "client",
    "calls",
    "failed",
    "connections",
    "begun",
    "sockets, when closed",
    "notes",
];

fn cells(run: &Run) -> [String; HEAD.len()] {
    let failed = run.calls.failed.iter().map(|(code, number)| format!("{number} {code}"));
    let failed = failed.collect::<Vec<_>>().join(", ");
    let mut notes = Vec::new();
    if let Incident::Killed { in_flight, unfinished, .. } = run.incident {
        notes.push(format!("{unfinished} begun on the one that was killed"));
        if in_flight > 0 {
            notes.push(format!("{in_flight} in flight on both"));
        }
    }
    if run.case.end != End::Answered
        && let Some(failure) = run.calls.failures.first()
    {
        notes.push(format!("\"{}\"", failure.message));
    }
    if let Incident::Silent { ended, connections, .. } = run.incident {
        let took = ended.map_or("never".to_owned(), |(_, took)| format!("{} ms", took.as_millis()));
        notes.push(format!("keepalive ended {connections} connections: {took}"));
    }
    if let Incident::Calmed { goaways, before, after } = run.incident {
        let after_ms = |silence: Option<Duration>| {
            silence.map_or("never".to_owned(), |silence| format!("{} ms", silence.as_millis()))
        };
        notes.push(format!("{goaways} connections told of too many pings"));
        notes.push(format!("asked after {}, then {}", after_ms(before), after_ms(after)));
    }
    if let Incident::NotServing { meanwhile, back, .. } = run.incident {
        notes.push(format!("{meanwhile} begun by the one that did not serve"));
        if let Some(back) = back {
            notes.push(format!("calls again after {} ms", back.as_millis()));
        }
    }
    let answered =
        run.calls.failures.iter().filter(|failure| is_answered_by_stopping(run, failure));
    let answered = answered.count();
    if answered > 0 {
        notes.push(format!("{answered} answered by the server that stops, not begun"));
    }
    if let Some(resent) = run.resent.filter(|resent| *resent > 0) {
        notes.push(format!("{resent} sent again"));
    }
    if let Some(timeout) = run.case.terms.timeout
        && !run.calls.longest.is_zero()
    {
        let longest = run.calls.longest.as_millis();
        notes.push(format!("longest {longest} ms, deadline {} ms", timeout.as_millis()));
    }
    [
        run.case.name.to_owned(),
        run.peer.name().to_owned(),
        run.client.name().to_owned(),
        run.calls.made.to_string(),
        if failed.is_empty() { "0".to_owned() } else { failed },
        run.connections.map_or("-".to_owned(), |number| number.to_string()),
        match run.begun {
            None => "-".to_owned(),
            Some((least, most)) if least == most => most.to_string(),
            Some((least, most)) => format!("{least} to {most}"),
        },
        run.sockets.map_or("-".to_owned(), |open| format!("{}, {}", open.before, open.after)),
        notes.join("; "),
    ]
}

/// One run, for those who watch.
pub(crate) fn line(run: &Run) -> String {
    let [case, peer, client, calls, failed, connections, begun, sockets, notes] = cells(run);
    format!(
        "{case:9} {peer:7} {client:7} {calls:>6} calls, failed {failed}, {connections} connections, \
         begun {begun}, sockets {sockets}  {notes}"
    )
}

/// All runs, in Markdown.
pub(crate) fn markdown(runs: &[Run]) -> String {
    let row = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let mut lines = vec![row(&HEAD.map(str::to_owned)), format!("|{}", "---|".repeat(HEAD.len()))];
    lines.extend(runs.iter().map(|run| row(&cells(run))));
    lines.join("\n")
}
