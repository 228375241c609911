//! The command line of the demo.

use std::net::SocketAddr;
use std::time::Duration;

use clap::error::{ContextKind, ErrorKind};
use clap::{Args as ClapArgs, Parser, Subcommand};
use tonic::transport::Uri;

/// What the demo was asked to do.
#[derive(Debug)]
pub enum Invocation {
    /// Drive calls and show what came of them.
    Demo(Args),
    /// Be one of the servers that the demo starts.
    Serve(ServeArgs),
}

/// gRPC calls of all four kinds through one pool of connections, against three servers that limit
/// streams, end connections by age and are restarted while calls run.
///
/// The servers are started by the demo itself, as processes on the loopback interface. Afterwards the
/// same load runs over a plain tonic `Channel` to the first server and over `balance_list` of all three,
/// for comparison. A caller whose call failed pauses for 10 ms, on all of them alike.
///
/// Exit status: 0 if no call through the pool failed, 1 if one did or the demo could not run, 2 for
/// bad arguments, 130 if it was interrupted before the load began.
#[derive(Debug, Parser)]
#[command(
    name = "demo",
    version,
    override_usage = "demo [OPTIONS]",
    disable_help_subcommand = true,
    after_help = "Examples:\n  \
        demo --duration 5s --concurrency 200\n  \
        demo --json --no-compare > summary.json\n  \
        demo --metrics 127.0.0.1:9464     (then: curl http://127.0.0.1:9464/metrics)\n  \
        demo --connect http://127.0.0.1:50051"
)]
pub struct Args {
    /// Callers at work at once; each makes one call after the other
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least_one)]
    pub concurrency: usize,

    /// How long each load runs, e.g. 500ms, 10s, 2m; calls under way then may end
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub duration: Duration,

    /// Skip the comparison with a plain tonic Channel
    #[arg(long)]
    pub no_compare: bool,

    /// Connections that the pool may open
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = at_least_one)]
    pub max_connections: usize,

    /// Where to serve /metrics meanwhile; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub metrics: SocketAddr,

    /// Print the summary as one JSON object on standard output, and all else on standard error; a number
    /// that is null cannot be seen: of tonic's own channels, `retried` and `goaways`, and with --connect
    /// `connections_opened`
    #[arg(long)]
    pub json: bool,

    /// Call grpc.health.v1 of a server that runs already, instead of starting servers: all callers
    /// Check, one of them also cancels a Watch after its first message now and then
    #[arg(long, value_name = "URL", value_parser = url)]
    pub connect: Option<Uri>,

    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// One of the demo's servers; the demo starts it.
    #[command(hide = true)]
    Serve(ServeArgs),
}

/// What a server of the demo is told.
#[derive(Clone, Debug, ClapArgs)]
pub struct ServeArgs {
    /// Where to listen.
    #[arg(long)]
    pub listen: SocketAddr,

    /// Streams that a client may have open on one connection.
    #[arg(long)]
    pub streams: u32,

    /// When a connection is asked to end.
    #[arg(long, value_parser = duration)]
    pub connection_age: Duration,
}

/// Reads the command line of this process.
///
/// # Errors
///
/// What to print instead of running, and with which exit status. A bad argument is one line.
pub fn parse() -> Result<Invocation, Refusal> {
    parse_from(std::env::args_os())
}

/// Why the command line asks for nothing to be run.
#[derive(Debug)]
pub enum Refusal {
    /// `--help` or `--version` was asked for.
    Shown(String),
    /// An argument is wrong.
    Bad(String),
}

fn parse_from<T>(args: impl IntoIterator<Item = T>) -> Result<Invocation, Refusal>
where
    T: Into<std::ffi::OsString> + Clone,
{
    match Args::try_parse_from(args) {
        Ok(Args { role: Some(Role::Serve(serve)), .. }) => Ok(Invocation::Serve(serve)),
        Ok(args) => Ok(Invocation::Demo(args)),
        Err(error)
            if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) =>
        {
            Err(Refusal::Shown(error.to_string()))
        }
        Err(error) => {
            // In clap's words it is an unknown subcommand, of which no user has seen one.
            let text = match error.get(ContextKind::InvalidSubcommand) {
                Some(word) => format!("error: unexpected argument '{word}' found"),
                None => error.to_string(),
            };
            // After the first empty line, clap's message has usage and hints.
            let what = text.lines().map(str::trim).take_while(|line| !line.is_empty());
            let line = what.collect::<Vec<_>>().join(" ");
            Err(Refusal::Bad(format!("{line} (--help tells more)")))
        }
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(0) => Err("at least 1 is needed".to_owned()),
        Ok(n) if n > 1_000_000 => Err("at most 1000000 are possible".to_owned()),
        Ok(n) => Ok(n),
        Err(error) => Err(error.to_string()),
    }
}

/// A number with a unit: `500ms`, `10s`, `1.5s`, `2m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "expected a number with its unit, such as 500ms, 10s or 2m";
    const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds_per_unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(EXPECTED.to_owned()),
    };
    let number: f64 = digits.parse().map_err(|_| EXPECTED.to_owned())?;
    let duration =
        Duration::try_from_secs_f64(number * seconds_per_unit).map_err(|_| EXPECTED.to_owned())?;
    if duration < Duration::from_millis(1) {
        return Err("at least 1ms is needed".to_owned());
    }
    if duration > LONGEST {
        return Err("at most 24h is possible".to_owned());
    }
    Ok(duration)
}

fn url(text: &str) -> Result<Uri, String> {
    let uri: Uri =
        text.parse().map_err(|_| "expected a URL such as http://127.0.0.1:50051".to_owned())?;
    if uri.scheme().is_none() || uri.host().is_none() {
        return Err(
            "expected a URL with scheme and host, such as http://127.0.0.1:50051".to_owned()
        );
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(args: &[&str]) -> String {
        match parse_from([&["demo"], args].concat()) {
            Err(Refusal::Bad(line)) => line,
            other => panic!("{args:?} gave {other:?}"),
        }
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let Ok(Invocation::Demo(args)) = parse_from(["demo"]) else {
            panic!("no arguments are needed");
        };
        assert_eq!(args.concurrency, 64);
        assert_eq!(args.max_connections, 10);
        assert_eq!(args.duration, Duration::from_secs(10));
        assert!(args.metrics.ip().is_loopback());
        assert!(!args.no_compare && !args.json && args.connect.is_none());
    }

    #[test]
    fn a_duration_has_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "10", "s", "-1s", "1d", "0s", "nans", "infs", "25h", "1e300h", "ü"] {
            assert!(duration(wrong).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn a_bad_argument_is_one_line_that_names_it() {
        for (args, named) in [
            (&["--concurrency", "0"][..], "--concurrency"),
            (&["--concurrency", "many"], "many"),
            (&["--duration", "10"], "--duration"),
            (&["--metrics", "nowhere"], "--metrics"),
            (&["--connect", "127.0.0.1"], "--connect"),
            (&["--surprise"], "--surprise"),
            (&["run"], "unexpected argument 'run'"),
            (&["help"], "unexpected argument 'help'"),
            (&["serv"], "unexpected argument 'serv'"),
        ] {
            let line = bad(args);
            assert!(line.contains(named), "{line:?} does not name {named}");
            assert_eq!(line.lines().count(), 1, "{line:?}");
            assert!(!line.contains("subcommand"), "{line:?}");
        }
    }

    #[test]
    fn help_explains_the_options_and_hides_the_servers() {
        let Err(Refusal::Shown(help)) = parse_from(["demo", "--help"]) else {
            panic!("help is shown");
        };
        for option in
            ["--concurrency", "--duration", "--no-compare", "--metrics", "--json", "--connect"]
        {
            assert!(help.contains(option), "{option} is missing");
        }
        assert!(help.contains("null cannot be seen"), "{help}");
        assert!(!help.contains("serve [") && !help.contains("COMMAND"), "{help}");
    }

    #[test]
    fn a_server_is_told_where_and_how_to_serve() {
        let args = [
            "demo",
            "serve",
            "--listen",
            "127.0.0.1:4000",
            "--streams",
            "10",
            "--connection-age",
            "2s",
        ];
        let Ok(Invocation::Serve(serve)) = parse_from(args) else {
            panic!("a server's arguments are taken");
        };
        assert_eq!(serve.listen.port(), 4000);
        assert_eq!((serve.streams, serve.connection_age), (10, Duration::from_secs(2)));
    }
}
