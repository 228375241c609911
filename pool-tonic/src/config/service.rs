//! The retry settings of a gRPC service config, as JSON (gRFC A2, A6).

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};
use tonic::Code;

use super::ChannelPoolBuilder;
use crate::code::code_name;
use crate::error::ConfigError;
use crate::retry::{MethodName, RetryPolicy};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServiceConfig {
    #[serde(default)]
    method_config: Vec<MethodConfig>,
    retry_throttling: Option<Throttling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MethodConfig {
    #[serde(default)]
    name: Vec<Name>,
    retry_policy: Option<Policy>,
}

#[derive(Deserialize)]
struct Name {
    #[serde(default)]
    service: String,
    #[serde(default)]
    method: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Policy {
    max_attempts: u32,
    #[serde(deserialize_with = "seconds")]
    initial_backoff: Duration,
    #[serde(deserialize_with = "seconds")]
    max_backoff: Duration,
    backoff_multiplier: f64,
    retryable_status_codes: Vec<StatusCode>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Throttling {
    max_tokens: u32,
    token_ratio: f64,
}

struct StatusCode(Code);

impl ChannelPoolBuilder {
    /// Takes the [retry policies](Self::retry_policy) and the [budget](Self::retry_throttling) of a gRPC service
    /// config: `methodConfig` with `name` and `retryPolicy`, and `retryThrottling`. A method that is named
    /// without a policy is not retried. What else a service config may hold is not looked at. With
    /// the feature `service-config`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::ServiceConfig`], if it is no JSON of that form; it names the field. What the specification
    /// forbids is an error when the pool is built.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tonic::ChannelPool;
    ///
    /// let pool = ChannelPool::builder("http://orders:50051")
    ///     .service_config_json(
    ///         r#"{
    ///             "methodConfig": [{
    ///                 "name": [{ "service": "shop.Orders", "method": "GetOrder" }],
    ///                 "retryPolicy": {
    ///                     "maxAttempts": 4,
    ///                     "initialBackoff": "0.1s",
    ///                     "maxBackoff": "1s",
    ///                     "backoffMultiplier": 2,
    ///                     "retryableStatusCodes": ["UNAVAILABLE"]
    ///                 }
    ///             }],
    ///             "retryThrottling": { "maxTokens": 10, "tokenRatio": 0.1 }
    ///         }"#,
    ///     )?
    ///     .build()?;
    /// # Ok::<(), pool_tonic::ConfigError>(())
    /// ```
    pub fn service_config_json(mut self, json: &str) -> Result<Self, ConfigError> {
        let invalid = |reason: String| ConfigError::ServiceConfig { reason };
        let config: ServiceConfig =
            serde_json::from_str(json).map_err(|error| invalid(error.to_string()))?;
        for MethodConfig { name, retry_policy } in config.method_config {
            let policy = retry_policy.map(Policy::parsed);
            for Name { service, method } in name {
                let methods = match (service.as_str(), method.as_str()) {
                    ("", "") => MethodName::all(),
                    ("", _) => {
                        return Err(invalid(format!("name has the method {method} of no service")));
                    }
                    (_, "") => MethodName::service(service),
                    (_, _) => MethodName::method(service, method),
                };
                self = self.retry_policy(methods, policy.clone());
            }
        }
        Ok(match config.retry_throttling {
            Some(Throttling { max_tokens, token_ratio }) => {
                self.retry_throttling(max_tokens, token_ratio)
            }
            None => self,
        })
    }
}

impl Policy {
    fn parsed(self) -> RetryPolicy {
        let codes = self.retryable_status_codes.into_iter().map(|StatusCode(code)| code);
        RetryPolicy::new(self.max_attempts, codes)
            .initial_backoff(self.initial_backoff)
            .max_backoff(self.max_backoff)
            .backoff_multiplier(self.backoff_multiplier)
    }
}

/// A duration as JSON has those of protocol buffers: seconds, with at most nine digits behind the point, and `s`.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_seconds(&text).ok_or_else(|| {
        de::Error::custom(format!("{text:?} is no duration: write seconds, such as \"0.1s\""))
    })
}

fn parse_seconds(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || fraction.len() > 9 || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    Some(Duration::new(whole.parse().ok()?, format!("{fraction:0<9}").parse().ok()?))
}

/// By name or by number.
impl<'de> Deserialize<'de> for StatusCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(i32),
            Name(String),
        }
        let written = Written::deserialize(deserializer)
            .map_err(|_| de::Error::custom("retryableStatusCodes has what is no name or number"))?;
        let code = match &written {
            Written::Number(number) => (0..17).contains(number).then(|| Code::from_i32(*number)),
            Written::Name(name) => {
                (0..17).map(Code::from_i32).find(|code| code_name(*code).eq_ignore_ascii_case(name))
            }
        };
        code.map(Self).ok_or_else(|| {
            let written = match written {
                Written::Number(number) => number.to_string(),
                Written::Name(name) => name,
            };
            de::Error::custom(format!("retryableStatusCodes has {written}, which is no code"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ChannelPool;

    fn error(json: &str) -> String {
        let pool = ChannelPool::builder("http://orders:50051").service_config_json(json);
        pool.and_then(ChannelPoolBuilder::build).unwrap_err().to_string()
    }

    fn with_policy(policy: &str) -> String {
        error(&format!(r#"{{"methodConfig": [{{"name": [{{}}], "retryPolicy": {{{policy}}}}}]}}"#))
    }

    #[test]
    fn durations_are_seconds() {
        assert_eq!(parse_seconds("1s"), Some(Duration::from_secs(1)));
        assert_eq!(parse_seconds("0.1s"), Some(Duration::from_millis(100)));
        assert_eq!(parse_seconds("1.000000001s"), Some(Duration::new(1, 1)));
        for text in ["", "s", "1", ".5s", "-1s", "1.0000000001s", "1ms", "1 s", "+1s"] {
            assert_eq!(parse_seconds(text), None, "{text:?}");
        }
    }

    #[test]
    fn every_code_has_a_name_and_a_number() {
        let names = [
            "OK",
            "CANCELLED",
            "UNKNOWN",
            "INVALID_ARGUMENT",
            "DEADLINE_EXCEEDED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
            "UNAUTHENTICATED",
        ];
        for (number, name) in (0..).zip(names) {
            for json in [number.to_string(), format!("{name:?}")] {
                let code: StatusCode = serde_json::from_str(&json).unwrap();
                assert_eq!(i32::from(code.0), number, "{json}");
            }
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(error("{").contains("service config"));
        assert!(with_policy("").contains("maxAttempts"));
        let rest = r#""maxBackoff": "1s", "backoffMultiplier": 2, "maxAttempts": 3"#;
        let backoff = |text: &str, codes: &str| {
            with_policy(&format!(
                r#"{rest}, "initialBackoff": {text}, "retryableStatusCodes": {codes}"#
            ))
        };
        assert!(backoff(r#""soon""#, "[14]").contains("\"soon\" is no duration"));
        assert!(backoff(r#""1s""#, "[17]").contains("retryableStatusCodes has 17"));
        assert!(backoff(r#""1s""#, r#"["NONE"]"#).contains("retryableStatusCodes has NONE"));
        assert!(backoff(r#""1s""#, "[true]").contains("no name or number"));
        assert!(backoff(r#""0s""#, "[14]").contains("initial_backoff"), "when it is built");
        let method = r#"{"methodConfig": [{"name": [{"method": "Get"}]}]}"#;
        assert!(error(method).contains("the method Get of no service"));
        let throttling = r#"{"retryThrottling": {"maxTokens": 0, "tokenRatio": 0.1}}"#;
        assert!(error(throttling).contains("max_tokens"));
    }

    #[test]
    fn what_it_does_not_know_is_passed_over() {
        let json = r#"{"loadBalancingConfig": [{"round_robin": {}}], "methodConfig": [
            {"name": [{"service": "a.B"}, {"service": "a.B", "method": "C"}], "timeout": "1s"}]}"#;
        let pool = ChannelPool::builder("http://orders:50051").service_config_json(json);
        assert!(pool.and_then(ChannelPoolBuilder::build).is_ok());
    }
}
