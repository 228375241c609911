//! gRPC's codes: by name, and for answers that have none.

use http::StatusCode;
use tonic::Code;

/// The name of a code as gRPC's specification [writes it](https://grpc.io/docs/guides/status-codes/), for labels
/// and logs: `DEADLINE_EXCEEDED`, where `Debug` says `DeadlineExceeded`.
///
/// # Examples
///
/// ```
/// # use pool_tonic::ChannelPool;
/// # fn main() -> Result<(), pool_tonic::ConfigError> {
/// # let pool = ChannelPool::builder("http://orders:50051").build()?;
/// for (code, calls) in pool.counters().calls_ended.iter() {
///     println!("{}: {calls}", pool_tonic::code_name(code));
/// }
/// # Ok(()) }
/// ```
pub const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// The code of an answer that has an HTTP error and no status of gRPC's (`doc/http-grpc-status-mapping.md`).
pub(crate) fn of_http(status: StatusCode) -> Code {
    match status {
        StatusCode::BAD_REQUEST => Code::Internal,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::Unimplemented,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Code::Unavailable,
        _ => Code::Unknown,
    }
}
