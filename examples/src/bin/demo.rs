//! The demo: gRPC calls of all four kinds through one pool, against servers that restart and refuse.
//!
//! `cargo run --release -p examples --bin demo -- --help` says what can be set.

use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;

use examples::cli::{self, Args, Invocation, Refusal};
use examples::error::{FAILED, Problem};
use examples::run::{self, Findings};
use examples::server;
use tokio::runtime::Builder;

/// The arguments are wrong.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    match cli::parse() {
        Ok(Invocation::Demo(args)) => exit(block_on(&mut Builder::new_multi_thread(), demo(&args))),
        // One thread: the servers are not what is measured, and leave the cores to the client.
        Ok(Invocation::Serve(args)) => {
            let served = block_on(&mut Builder::new_current_thread(), server::serve(&args));
            exit(served.map(|()| ExitCode::SUCCESS))
        }
        Err(Refusal::Shown(text)) => exit(print(&text).map(|()| ExitCode::SUCCESS)),
        Err(Refusal::Bad(line)) => {
            complain(&line);
            ExitCode::from(USAGE)
        }
    }
}

async fn demo(args: &Args) -> Result<ExitCode, Problem> {
    let Findings { summary, problem } = run::run(args).await?;
    if args.json {
        complain(summary.table().trim_end());
        let json = summary
            .json()
            .map_err(|error| Problem::because("the summary cannot be written as JSON", &error))?;
        print(&format!("{json}\n"))?;
    } else {
        print(&summary.table())?;
    }
    if let Some(problem) = problem {
        return Err(problem);
    }
    let failed = summary.pool.failed > 0;
    Ok(if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

fn block_on<T>(
    runtime: &mut Builder,
    work: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    runtime
        .enable_all()
        .build()
        .map_err(|error| Problem::because("there is no runtime", &error))?
        .block_on(work)
}

fn exit(result: Result<ExitCode, Problem>) -> ExitCode {
    result.unwrap_or_else(|problem| {
        complain(&format!("error: {problem}"));
        ExitCode::from(problem.status())
    })
}

fn print(text: &str) -> Result<(), Problem> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| Problem::because("cannot write to standard output", &error))
}

/// A standard error that is closed has no reader to miss anything.
fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
