//! gRPC's codes by name.

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
