//! Which method has which policy: `methodConfig` of a service config, in which the entry that names the
//! method goes before one that names its service, and that before one for all.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::policy::RetryPolicy;
use crate::error::ConfigError;

/// The methods that a setting is for: one, all of a service, or all.
///
/// # Examples
///
/// ```
/// use pool_tonic::MethodName;
///
/// assert_eq!(MethodName::method("shop.Orders", "GetOrder").to_string(), "/shop.Orders/GetOrder");
/// assert_eq!(MethodName::service("shop.Orders").to_string(), "/shop.Orders/*");
/// assert_eq!(MethodName::all().to_string(), "*");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MethodName(Name);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name {
    All,
    Service(String),
    Method(String, String),
}

impl MethodName {
    /// Every method that nothing more exact is said of.
    pub fn all() -> Self {
        Self(Name::All)
    }

    /// The methods of a service, by its full name (`package.Service`).
    pub fn service(service: impl Into<String>) -> Self {
        Self(Name::Service(service.into()))
    }

    /// One method of a service, by the service's full name and the method's name as in the `.proto` file.
    pub fn method(service: impl Into<String>, method: impl Into<String>) -> Self {
        Self(Name::Method(service.into(), method.into()))
    }
}

impl fmt::Display for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Name::All => f.write_str("*"),
            Name::Service(service) => write!(f, "/{service}/*"),
            Name::Method(service, method) => write!(f, "/{service}/{method}"),
        }
    }
}

/// The policies of a pool. `None` for what is not retried though something less exact says so.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    all: Option<Arc<RetryPolicy>>,
    services: HashMap<String, Option<Arc<RetryPolicy>>>,
    /// By path.
    methods: HashMap<String, Option<Arc<RetryPolicy>>>,
}

impl Rules {
    /// `None` if there is no rule.
    ///
    /// # Errors
    ///
    /// A policy that breaks the specification, or a name that is no name or is there twice.
    pub(crate) fn new(
        list: &[(MethodName, Option<RetryPolicy>)],
    ) -> Result<Option<Self>, ConfigError> {
        if list.is_empty() {
            return Ok(None);
        }
        let mut rules = Self::default();
        let mut has_all = false;
        for (name, policy) in list {
            let flawed = |(field, reason): (&'static str, &'static str)| ConfigError::Retry {
                name: name.to_string(),
                field,
                reason,
            };
            if let Some(flaw) = policy.as_ref().and_then(RetryPolicy::flaw) {
                return Err(flawed(flaw));
            }
            let policy = policy.clone().map(Arc::new);
            let is_part = |part: &str| !part.is_empty() && !part.contains('/');
            let was_there = match &name.0 {
                Name::All => {
                    rules.all = policy;
                    std::mem::replace(&mut has_all, true)
                }
                Name::Service(service) if is_part(service) => {
                    rules.services.insert(service.clone(), policy).is_some()
                }
                Name::Method(service, method) if is_part(service) && is_part(method) => {
                    rules.methods.insert(name.to_string(), policy).is_some()
                }
                Name::Service(_) | Name::Method(..) => {
                    return Err(flawed((
                        "name",
                        "has to be of parts that are not empty, without /",
                    )));
                }
            };
            if was_there {
                return Err(flawed(("name", "is there twice")));
            }
        }
        Ok(Some(rules))
    }

    /// The policy of the method with this path.
    pub(crate) fn find(&self, path: &str) -> Option<Arc<RetryPolicy>> {
        if let Some(policy) = self.methods.get(path) {
            return policy.clone();
        }
        let service = path.strip_prefix('/').and_then(|path| path.rsplit_once('/'));
        match service.and_then(|(service, _)| self.services.get(service)) {
            Some(policy) => policy.clone(),
            None => self.all.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn policy(attempts: u32) -> RetryPolicy {
        RetryPolicy::new(attempts, [Code::Unavailable])
    }

    fn error(list: &[(MethodName, Option<RetryPolicy>)]) -> String {
        Rules::new(list).unwrap_err().to_string()
    }

    #[test]
    fn the_most_exact_name_decides() {
        let rules = Rules::new(&[
            (MethodName::all(), Some(policy(2))),
            (MethodName::service("shop.Orders"), Some(policy(3))),
            (MethodName::method("shop.Orders", "Get"), Some(policy(4))),
            (MethodName::method("shop.Orders", "Put"), None),
            (MethodName::service("shop.Audit"), None),
        ]);
        let rules = rules.unwrap().unwrap();
        let attempts = |path| rules.find(path).map(|policy| policy.max_attempts());
        assert_eq!(attempts("/shop.Orders/Get"), Some(4));
        assert_eq!(attempts("/shop.Orders/Put"), None);
        assert_eq!(attempts("/shop.Orders/List"), Some(3));
        assert_eq!(attempts("/shop.Audit/Get"), None);
        assert_eq!(attempts("/shop.Users/Get"), Some(2));
        assert_eq!(attempts("nonsense"), Some(2));
        assert!(Rules::new(&[]).unwrap().is_none());
    }

    #[test]
    fn a_rule_that_the_specification_forbids_is_named() {
        let of = |policy| error(&[(MethodName::service("a.B"), Some(policy))]);
        assert!(of(policy(1)).contains("/a.B/*: max_attempts has to be at least 2"));
        let zero = std::time::Duration::ZERO;
        assert!(of(policy(2).initial_backoff(zero)).contains("initial_backoff"));
        assert!(of(policy(2).max_backoff(zero)).contains("max_backoff"));
        for multiplier in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(of(policy(2).backoff_multiplier(multiplier)).contains("backoff_multiplier"));
        }
        assert!(of(RetryPolicy::new(2, [])).contains("codes have to be at least one"));
        assert!(of(RetryPolicy::new(2, [Code::Ok])).contains("OK"));
    }

    #[test]
    fn a_name_is_one_and_there_once() {
        for name in [
            MethodName::service(""),
            MethodName::service("/a.B"),
            MethodName::method("a.B", ""),
            MethodName::method("", "C"),
        ] {
            assert!(error(&[(name, None)]).contains("name has to be"));
        }
        for name in [MethodName::all(), MethodName::service("a.B"), MethodName::method("a.B", "C")]
        {
            assert!(error(&[(name.clone(), None), (name, None)]).contains("name is there twice"));
        }
    }
}
