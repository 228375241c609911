//! What is asked of the pool.

use std::time::Duration;

use crate::cases::{ANSWERED_IN, ASKED_AFTER, End};
use crate::load::{Failure, HANG};
use crate::run::{Incident, Run};

/// How much later something may be noticed on a machine that has other things to do.
const SLACK: Duration = Duration::from_millis(500);

/// How long calls may still go to a server that is gone, until the task that drives its connection has
/// run and read the end. Were it used for that long, more calls would fail than were in flight.
const NOTICED_AFTER: Duration = Duration::from_millis(200);

/// What of its promises the pool did not keep.
pub(crate) fn faults(run: &Run) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault =
        |text: String| faults.push(format!("{}, {}: {text}", run.case.name, run.peer.name()));
    for failure in &run.calls.failures {
        if let Some(why) = blame(run, failure) {
            let Failure { id, took, code, message, begun, .. } = failure;
            let begun = if *begun { "a server had begun it" } else { "no server had begun it" };
            fault(format!("{why}: call {id} failed after {took:?}, {begun}: {code}: {message}"));
        }
    }
    if let Incident::Killed { in_flight, unfinished, .. } = run.incident {
        let failed = run.calls.failures.len();
        if failed > in_flight {
            fault(format!("{failed} calls failed of {in_flight} in flight"));
        }
        let begun = run.calls.failures.iter().filter(|failure| failure.begun).count();
        if begun < unfinished {
            fault(format!("{begun} calls failed of {unfinished} that it had begun and not ended"));
        }
    }
    if let Incident::Silent { ended, connections, in_flight } = run.incident {
        let most = ASKED_AFTER + ANSWERED_IN + SLACK;
        match ended {
            Some((_, took)) if connections > 0 && took <= most => {}
            _ => fault(format!("keepalive ended {connections} connections: {ended:?}")),
        }
        let failed = run.calls.failures.len();
        if failed > in_flight || failed == 0 {
            fault(format!("{failed} calls failed of {in_flight} in flight"));
        }
    }
    if let Incident::Calmed { goaways, before, after } = run.incident {
        let is_asked = |silence: Option<Duration>, time: Duration| {
            silence.is_some_and(|silence| {
                silence + SLACK >= time && silence <= time + time / 16 + SLACK
            })
        };
        if goaways == 0 {
            fault("the server did not find pings too many".to_owned());
        }
        let (failed, most) = (run.calls.failures.len(), run.case.callers);
        if failed > most {
            fault(format!("{failed} calls failed, of {most} that may have been on a connection"));
        }
        if !is_asked(before, ASKED_AFTER) || !is_asked(after, 2 * ASKED_AFTER) {
            fault(format!("asked after {before:?}, and then after {after:?}"));
        }
    }
    if let Incident::NotServing { before, meanwhile, back } = run.incident {
        if before == 0 || back.is_none() {
            fault("a server had no calls while it served".to_owned());
        }
        if meanwhile > 0 {
            fault(format!("{meanwhile} calls went to a server that does not serve"));
        }
    }
    let attempts = run.case.attempts;
    if run.begun.is_some_and(|(least, most)| least != attempts || most != attempts) {
        let (least, most) = run.begun.unwrap_or_default();
        fault(format!("calls were begun from {least} to {most} times instead of {attempts}"));
    }
    if run.left > 0 {
        fault(format!("{} stream slots are taken though no call runs", run.left));
    }
    if let Some(sockets) = run.sockets
        && sockets.after > 0
    {
        fault(format!("{} sockets are open though the pool is closed", sockets.after));
    }
    // Else nothing that was said of the ledger means anything.
    let answered = run.calls.made - run.calls.failures.len();
    let is_right = match run.case.end {
        End::Answered => run.seen >= answered && answered > 0,
        End::NotBegun(..) => run.seen == 0 && answered == 0 && run.calls.made > 0,
        End::Failed(..) => run.seen == run.calls.made && answered == 0 && run.seen > 0,
    };
    if !is_right {
        fault(format!("{answered} calls were answered, and servers have begun {}", run.seen));
    }
    faults
}

/// Why a call should not have failed; `None` if it may have.
fn blame(run: &Run, failure: &Failure) -> Option<&'static str> {
    if failure.code == HANG {
        return Some("a hang");
    }
    if let (Incident::None, End::NotBegun(code, message) | End::Failed(code, message)) =
        (&run.incident, run.case.end)
    {
        let is_clear = failure.code == code && failure.message.contains(message);
        return (!is_clear).then_some("not what it should say");
    }
    match &run.incident {
        Incident::Stopped if is_answered_by_stopping(run, failure) => None,
        Incident::Calmed { .. } if is_lost_with_its_connection(failure) => None,
        Incident::None
        | Incident::Stopped
        | Incident::NotServing { .. }
        | Incident::Calmed { .. } => Some("nothing was killed"),
        Incident::Killed { .. } if failure.code != "UNAVAILABLE" => Some("the wrong code"),
        Incident::Killed { address, .. } if !failure.message.contains(address) => {
            Some("it was not with the server that was killed")
        }
        Incident::Killed { gone, .. } if failure.began > *gone + NOTICED_AFTER => {
            Some("it was not in flight when the server was killed")
        }
        Incident::Silent { .. }
            if failure.code != "UNAVAILABLE" || !failure.message.contains("keepalive") =>
        {
            Some("not what it should say")
        }
        Incident::Silent { ended: Some((ended, _)), .. } if failure.began > *ended => {
            Some("the connection had been ended")
        }
        Incident::Frozen { .. } if failure.code != "DEADLINE_EXCEEDED" => Some("the wrong code"),
        Incident::Frozen { .. }
            if run.case.terms.timeout.is_some_and(|timeout| failure.took > timeout + SLACK) =>
        {
            Some("beyond its deadline")
        }
        Incident::Frozen { thawed } if failure.began > *thawed + SLACK => {
            Some("the server ran again")
        }
        Incident::Killed { .. } | Incident::Frozen { .. } | Incident::Silent { .. } => None,
    }
}

/// Was it on a connection that its server closed when it complained? That closes at once, and a call that it has just
/// read, and begun no handler for, is one of which its GOAWAY says that it may have been processed.
fn is_lost_with_its_connection(failure: &Failure) -> bool {
    failure.code == "UNAVAILABLE" && failure.message.contains("was lost") && !failure.begun
}

/// Is this how a server of this kind answers while it stops?
pub(crate) fn is_answered_by_stopping(run: &Run, failure: &Failure) -> bool {
    matches!(run.incident, Incident::Stopped)
        && run.peer.cancels_when_stopping()
        && failure.code == "CANCELLED"
        && !failure.begun
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::cases::{CASES, Case};
    use crate::clients::Client;
    use crate::load::Calls;
    use crate::peer::Peer;
    use crate::run::Sockets;

    const KILLED: &str = "127.0.0.1:1";

    fn case(name: &str) -> &'static Case {
        CASES.iter().find(|case| case.name == name).unwrap()
    }

    /// Of ten calls, these failed, each after a millisecond.
    fn run(peer: Peer, incident: Incident, began: Instant, codes: &[&str]) -> Run {
        let took = Duration::from_millis(1);
        let failure = |(id, code): (usize, &&str)| {
            let (code, message) = ((*code).to_owned(), format!("{KILLED} was lost"));
            Failure { id, began, took, code, message, begun: false }
        };
        let failures: Vec<_> = codes.iter().enumerate().map(failure).collect();
        let calls = Calls { made: 10 + codes.len(), failures, ..Calls::default() };
        let case = case("freeze");
        let (client, connections, resent) = (Client::Pool, None, None);
        let (begun, seen, left) = (Some((1, 1)), 10, 0);
        let sockets = Some(Sockets { before: 1, after: 0 });
        Run { case, peer, client, calls, connections, begun, seen, resent, left, sockets, incident }
    }

    fn killed(address: &str, gone: Instant, unfinished: usize) -> Incident {
        Incident::Killed { address: address.to_owned(), gone, in_flight: 2, unfinished }
    }

    #[test]
    fn no_call_fails_where_nothing_is_killed() {
        let now = Instant::now();
        let faults =
            |peer, incident, codes: &[&str]| faults(&run(peer, incident, now, codes)).len();
        assert_eq!(faults(Peer::Tonic, Incident::None, &[]), 0);
        assert_eq!(faults(Peer::Tonic, Incident::None, &["UNAVAILABLE", HANG]), 2);
        assert_eq!(faults(Peer::Tonic, Incident::Stopped, &["CANCELLED"]), 1);
        assert_eq!(faults(Peer::Grpcio, Incident::Stopped, &["CANCELLED", "UNAVAILABLE"]), 1);
    }

    #[test]
    fn only_calls_in_flight_fail_with_a_server_that_is_killed() {
        let now = Instant::now();
        let late = now + SLACK;
        let faults = |incident, began, codes: &[&str]| {
            faults(&run(Peer::Tonic, incident, began, codes)).len()
        };
        assert_eq!(faults(killed(KILLED, now, 0), now, &["UNAVAILABLE"; 2]), 0);
        assert_eq!(faults(killed(KILLED, now, 0), now, &["UNAVAILABLE"; 3]), 1);
        assert_eq!(faults(killed(KILLED, now, 1), now, &["UNAVAILABLE"]), 1);
        assert_eq!(faults(killed("the other one", now, 0), now, &["UNAVAILABLE"]), 1);
        assert_eq!(faults(killed(KILLED, now, 0), now, &["UNKNOWN"]), 1);
        assert_eq!(faults(killed(KILLED, now, 0), late, &["UNAVAILABLE"]), 1);
    }

    #[test]
    fn a_frozen_server_costs_deadlines_and_no_more() {
        let now = Instant::now();
        let frozen = || Incident::Frozen { thawed: now };
        let of = |began, code| run(Peer::Tonic, frozen(), began, &[code]);
        assert!(faults(&of(now, "DEADLINE_EXCEEDED")).is_empty());
        assert_eq!(faults(&of(now, "UNAVAILABLE")).len(), 1);
        assert_eq!(faults(&of(now, HANG)).len(), 1);
        assert_eq!(faults(&of(now + 2 * SLACK, "DEADLINE_EXCEEDED")).len(), 1);
        let mut late = of(now, "DEADLINE_EXCEEDED");
        late.calls.failures[0].took = Duration::from_secs(1);
        assert_eq!(faults(&late).len(), 1);
    }

    #[test]
    fn keepalive_ends_what_is_silent_in_time_and_says_so() {
        let now = Instant::now();
        let of = |began, took, code: &'static str, message: &str| {
            let ended = Some((now, took));
            let incident = Incident::Silent { ended, connections: 1, in_flight: 1 };
            let mut run = run(Peer::Tonic, incident, began, &[code]);
            for failure in &mut run.calls.failures {
                message.clone_into(&mut failure.message);
            }
            faults(&run).len()
        };
        let took = ASKED_AFTER + ANSWERED_IN;
        assert_eq!(of(now, took, "UNAVAILABLE", "keepalive: nothing"), 0);
        assert_eq!(of(now, took + 2 * SLACK, "UNAVAILABLE", "keepalive: nothing"), 1);
        assert_eq!(of(now + SLACK, took, "UNAVAILABLE", "keepalive: nothing"), 1);
        assert_eq!(of(now, took, "UNAVAILABLE", "reset"), 1);
        assert_eq!(of(now, took, "UNKNOWN", "keepalive: nothing"), 1);
    }

    #[test]
    fn after_a_complaint_pings_are_half_as_many_and_no_call_fails() {
        let of = |goaways, after: u32, codes: &[&str], message: &str, begun| {
            let (before, after) = (Some(ASKED_AFTER), Some(after * ASKED_AFTER));
            let incident = Incident::Calmed { goaways, before, after };
            let mut run = run(Peer::GrpcGo, incident, Instant::now(), codes);
            for failure in &mut run.calls.failures {
                message.clone_into(&mut failure.message);
                failure.begun = begun;
            }
            faults(&run).len()
        };
        let faults = |goaways, after, codes: &[&str]| of(goaways, after, codes, "reset", false);
        assert_eq!(faults(1, 2, &[]), 0);
        assert_eq!(faults(0, 2, &[]), 1);
        assert_eq!(faults(1, 1, &[]), 1);
        assert_eq!(faults(1, 2, &["UNAVAILABLE"]), 1);
        // But for those that it had read when it closed the connection.
        assert_eq!(of(1, 2, &["UNAVAILABLE"], "the connection was lost", false), 0);
        assert_eq!(of(1, 2, &["UNAVAILABLE"], "the connection was lost", true), 1);
        assert_eq!(of(1, 2, &["UNKNOWN"], "the connection was lost", false), 1);
        let callers = case("freeze").callers;
        let all = vec!["UNAVAILABLE"; callers + 1];
        assert_eq!(of(1, 2, &all, "the connection was lost", false), 1);
    }

    #[test]
    fn a_server_has_calls_while_it_serves_and_only_then() {
        let faults = |before, meanwhile, back, codes: &[&str]| {
            let incident = Incident::NotServing { before, meanwhile, back };
            faults(&run(Peer::Tonic, incident, Instant::now(), codes)).len()
        };
        let back = Some(SLACK);
        assert_eq!(faults(5, 0, back, &[]), 0);
        assert_eq!(faults(0, 0, back, &[]), 1);
        assert_eq!(faults(5, 1, back, &[]), 1);
        assert_eq!(faults(5, 0, None, &[]), 1);
        assert_eq!(faults(5, 0, back, &["UNAVAILABLE"]), 1);
    }

    #[test]
    fn calls_are_begun_once_and_nothing_is_left() {
        let good = || run(Peer::Tonic, Incident::None, Instant::now(), &[]);
        assert!(faults(&good()).is_empty());
        assert_eq!(faults(&Run { begun: Some((1, 2)), ..good() }).len(), 1);
        assert_eq!(faults(&Run { left: 1, ..good() }).len(), 1);
        let open = Some(Sockets { before: 2, after: 1 });
        assert_eq!(faults(&Run { sockets: open, ..good() }).len(), 1);
        assert_eq!(faults(&Run { seen: 9, ..good() }).len(), 1);
        assert_eq!(faults(&Run { calls: Calls::default(), ..good() }).len(), 1);
    }
}
