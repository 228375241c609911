//! How values that may also be none, or any number, are written in a configuration file.

use std::fmt;

use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// A duration that can be turned off: `"10min"` or `"never"`. Where the format has a null, that is
/// never too; where a field is missing, its default holds.
pub(super) mod span {
    use std::time::Duration;

    use serde::Serializer;

    use super::{Deserializer, Error, Unexpected, Visitor, fmt};

    const NEVER: &str = "never";

    #[expect(clippy::ref_option, reason = "serde's signature")]
    pub(in crate::config) fn serialize<S: Serializer>(
        span: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match span {
            Some(span) => humantime_serde::serialize(span, serializer),
            None => serializer.serialize_str(NEVER),
        }
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        deserializer.deserialize_any(Span)
    }

    struct Span;

    impl Visitor<'_> for Span {
        type Value = Option<Duration>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(r#"a duration as "30s", or "never""#)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            if text == NEVER {
                return Ok(None);
            }
            let text_only = serde::de::value::StrDeserializer::<E>::new(text);
            humantime_serde::deserialize(text_only)
                .map(Some)
                .map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
        }

        fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }
}

/// A count of which there may be any number: `50` or `"unlimited"`. The largest number has a word,
/// since not every format can write it.
pub(super) mod count {
    use serde::Serializer;

    use super::{Deserializer, Error, Unexpected, Visitor, fmt};

    const UNLIMITED: &str = "unlimited";

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(in crate::config) fn serialize<S: Serializer>(
        count: &usize,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match *count {
            usize::MAX => serializer.serialize_str(UNLIMITED),
            count => serializer.serialize_u64(u64::try_from(count).unwrap_or(u64::MAX)),
        }
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<usize, D::Error> {
        deserializer.deserialize_any(Count)
    }

    struct Count;

    impl Visitor<'_> for Count {
        type Value = usize;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(r#"a count, or "unlimited""#)
        }

        fn visit_u64<E: Error>(self, count: u64) -> Result<usize, E> {
            usize::try_from(count).map_err(|_| E::invalid_value(Unexpected::Unsigned(count), &self))
        }

        fn visit_i64<E: Error>(self, count: i64) -> Result<usize, E> {
            usize::try_from(count).map_err(|_| E::invalid_value(Unexpected::Signed(count), &self))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<usize, E> {
            match text {
                UNLIMITED => Ok(usize::MAX),
                _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
            }
        }
    }
}
