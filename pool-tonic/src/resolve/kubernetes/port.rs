//! Which port of the pods.

/// A port of a service's pods: by the name that it has in the `Service`, or by its number in the pods.
///
/// # Examples
///
/// ```
/// use pool_tonic::resolve::PodPort;
///
/// assert_eq!(PodPort::from("grpc"), PodPort::Name("grpc".to_owned()));
/// assert_eq!(PodPort::from(50051), PodPort::Number(50051));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PodPort {
    /// By its name.
    Name(String),
    /// By its number.
    Number(u16),
}

impl From<&str> for PodPort {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl From<String> for PodPort {
    fn from(name: String) -> Self {
        Self::Name(name)
    }
}

impl From<u16> for PodPort {
    fn from(number: u16) -> Self {
        Self::Number(number)
    }
}
