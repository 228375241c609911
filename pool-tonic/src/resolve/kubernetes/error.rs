//! What is said of failures.

use std::fmt;
use std::time::Duration;

use kube::core::Status;

use crate::resolve::ResolveError;

/// What was asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verb {
    List,
    Watch,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::List => "list",
            Self::Watch => "watch",
        })
    }
}

/// Why a question was not answered.
#[derive(Debug)]
pub(super) enum Failure {
    Kube(kube::Error),
    /// An event within a watch.
    Status(Box<Status>),
    /// No answer within this time.
    Late(Duration),
}

impl Failure {
    pub(super) fn is_gone(&self) -> bool {
        self.code() == Some(410)
    }

    fn code(&self) -> Option<u16> {
        match self {
            Self::Kube(kube::Error::Api(status)) | Self::Status(status) => Some(status.code),
            Self::Kube(_) | Self::Late(_) => None,
        }
    }

    /// `whose` is the service and its namespace.
    pub(super) fn error(self, verb: Verb, whose: &str) -> ResolveError {
        let code = self.code();
        let mut what = format!("cannot {verb} the EndpointSlices of {whose}");
        if code == Some(403) {
            what += ": the service account needs a Role with the verbs list and watch on the resource endpointslices of \
                     the API group discovery.k8s.io, bound to it in that namespace";
        }
        let error = ResolveError::new(what);
        let error = match self {
            Self::Kube(kube::Error::Api(status)) | Self::Status(status) => {
                error.with_source(*status)
            }
            Self::Kube(other) => error.with_source(other),
            Self::Late(time) => error.with_source(format!("no answer within {time:?}")),
        };
        // Neither a permission nor the API itself appears by asking.
        if matches!(code, Some(403 | 404)) { error.permanent() } else { error }
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        Self::Kube(error)
    }
}
