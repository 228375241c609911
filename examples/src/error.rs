//! What keeps the demo from running, in one line.

use std::error::Error;
use std::fmt;

/// A call failed, or the demo could not run.
pub const FAILED: u8 = 1;

/// The exit status of a process that was interrupted, as shells have it: 128 and the signal's number.
pub const INTERRUPTED: u8 = 130;

/// Why the demo cannot go on: one line for the one who started it.
#[derive(Debug)]
pub struct Problem {
    what: String,
    status: u8,
}

impl Problem {
    /// A problem in these words.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), status: FAILED }
    }

    /// `what` could not be done, because of `error`, whose causes are named too.
    pub fn because(what: impl fmt::Display, error: &dyn Error) -> Self {
        Self::new(format!("{what}: {}", chain(error)))
    }

    /// The user wanted an end before there was anything to show.
    pub fn interrupted() -> Self {
        Self { what: "interrupted before the load began".to_owned(), status: INTERRUPTED }
    }

    /// The exit status of a process that ends for it.
    pub fn status(&self) -> u8 {
        self.status
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Problem {}

/// An error and its causes on one line; a cause that its parent already spells out is not repeated.
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        source = cause.source();
    }
    line.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug)]
    struct Outer(io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("cannot connect")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_problem_names_the_causes_once_and_on_one_line() {
        let error = Outer(io::Error::other("refused\nby the peer"));
        let problem = Problem::because("no pool", &error);
        assert_eq!(problem.to_string(), "no pool: cannot connect: refused by the peer");

        let repeated = io::Error::other(Outer(io::Error::other("cannot connect")));
        assert_eq!(chain(&repeated), "cannot connect");
    }
}
