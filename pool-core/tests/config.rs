//! Settings: what cannot be is named, what is extreme works, and files say what they mean.
#![allow(clippy::unwrap_used, reason = "a test's panic is its report")]

use std::time::Duration;

use pool_core::test_util::ScriptedManager;
use pool_core::{
    CheckPolicy, ConfigError, Error, GetOptions, Pool, PoolConfig, SharedPool, Shedding,
};

const ZERO: Duration = Duration::ZERO;

/// A change of the configuration, with the field that is to be blamed for it.
type Case = (&'static str, fn(&mut PoolConfig));

fn config(change: fn(&mut PoolConfig)) -> PoolConfig {
    let mut config = PoolConfig::default();
    change(&mut config);
    config
}

fn refused(change: fn(&mut PoolConfig)) -> Option<ConfigError> {
    let config = config(change);
    let exclusive = Pool::builder(ScriptedManager::new()).config(config).build().err();
    let shared = SharedPool::builder(ScriptedManager::new()).config(config).build().err();
    assert_eq!(exclusive, shared);
    exclusive
}

#[test]
fn what_cannot_be_is_named() {
    let cases: &[Case] = &[
        ("max_size", |c| c.max_size = 0),
        ("max_creating", |c| c.max_creating = 0),
        ("max_draining", |c| c.max_draining = Some(0)),
        ("places", |c| c.places = 0),
        ("soft_target", |c| c.soft_target = 0),
        ("soft_max_size", |c| c.soft_max_size = 0),
        ("min_size", |c| c.min_size = 11),
        ("min_size", |c| c.min_size = usize::MAX),
        ("min_idle", |c| c.min_idle = 11),
        ("min_idle", |c| (c.min_idle, c.max_idle) = (3, Some(2))),
        ("min_idle", |c| (c.min_idle, c.max_idle) = (1, Some(0))),
        ("max_uses", |c| c.max_uses = Some(0)),
        ("idle_timeout", |c| c.idle_timeout = Some(ZERO)),
        ("max_lifetime", |c| c.max_lifetime = Some(ZERO)),
        ("keepalive", |c| c.keepalive = Some(ZERO)),
        ("leak_threshold", |c| c.leak_threshold = Some(ZERO)),
        ("shed.target", |c| c.shed = Some(Shedding { target: ZERO, ..Shedding::default() })),
        ("shed.interval", |c| c.shed = Some(Shedding { interval: ZERO, ..Shedding::default() })),
        ("backoff.initial", |c| c.backoff.initial = ZERO),
        ("backoff.multiplier", |c| c.backoff.multiplier = 0.99),
        ("backoff.multiplier", |c| c.backoff.multiplier = -2.0),
        ("backoff.multiplier", |c| c.backoff.multiplier = f64::NAN),
        ("backoff.multiplier", |c| c.backoff.multiplier = f64::INFINITY),
        ("backoff.jitter", |c| c.backoff.jitter = -0.1),
        ("backoff.jitter", |c| c.backoff.jitter = 1.1),
        ("backoff.jitter", |c| c.backoff.jitter = f64::NAN),
        ("backoff.max", |c| c.backoff.max = ZERO),
        ("backoff.max", |c| c.backoff.initial = Duration::from_secs(6)),
    ];
    for (number, &(field, change)) in cases.iter().enumerate() {
        let error = refused(change).unwrap_or_else(|| panic!("case {number}: {field} was taken"));
        assert_eq!(error.field(), field, "case {number}: {error}");
        assert!(error.to_string().starts_with(&format!("{field}: ")), "case {number}: {error}");
    }
}

#[test]
fn what_can_be_is_taken() {
    let cases: &[Case] = &[
        ("min_size", |c| (c.min_size, c.min_idle, c.max_idle) = (10, 10, Some(10))),
        // The minimum size holds against it.
        ("max_idle", |c| (c.min_size, c.max_idle) = (5, Some(0))),
        ("max_idle", |c| c.max_idle = Some(11)),
        ("max_waiters", |c| c.max_waiters = 0),
        ("wait_timeout", |c| c.wait_timeout = ZERO),
        ("create_timeout", |c| c.create_timeout = ZERO),
        ("check_timeout", |c| c.check_timeout = ZERO),
        ("recycle_timeout", |c| c.recycle_timeout = ZERO),
        ("destroy_timeout", |c| c.destroy_timeout = ZERO),
        ("shrink_delay", |c| c.shrink_delay = ZERO),
        ("check", |c| c.check = CheckPolicy::IfIdleFor(ZERO)),
        ("max_uses", |c| c.max_uses = Some(1)),
        ("backoff", |c| (c.backoff.multiplier, c.backoff.jitter) = (1.0, 0.0)),
        ("backoff", |c| (c.backoff.multiplier, c.backoff.jitter) = (f64::MAX, 1.0)),
        ("backoff", |c| c.backoff.max = c.backoff.initial),
        ("shed", |c| {
            let interval = Duration::from_nanos(1);
            c.shed = Some(Shedding { target: Duration::MAX, interval });
        }),
    ];
    for (number, &(field, change)) in cases.iter().enumerate() {
        assert_eq!(refused(change), None, "case {number}: {field}");
    }
}

/// Everything as large as it can be.
fn largest(c: &mut PoolConfig) {
    for count in [
        &mut c.max_size,
        &mut c.max_waiters,
        &mut c.max_creating,
        &mut c.places,
        &mut c.soft_target,
        &mut c.soft_max_size,
    ] {
        *count = usize::MAX;
    }
    for span in [
        &mut c.wait_timeout,
        &mut c.create_timeout,
        &mut c.check_timeout,
        &mut c.recycle_timeout,
        &mut c.destroy_timeout,
        &mut c.shrink_delay,
        &mut c.backoff.initial,
        &mut c.backoff.max,
    ] {
        *span = Duration::MAX;
    }
    for span in [&mut c.idle_timeout, &mut c.max_lifetime, &mut c.keepalive, &mut c.leak_threshold]
    {
        *span = Some(Duration::MAX);
    }
    c.max_idle = Some(usize::MAX);
    c.max_uses = Some(u32::MAX);
    c.check = CheckPolicy::IfIdleFor(Duration::MAX);
    c.shed = Some(Shedding { target: Duration::MAX, interval: Duration::MAX });
    c.backoff.multiplier = f64::MAX;
}

#[tokio::test(start_paused = true)]
async fn the_largest_settings_work() {
    assert_eq!(refused(largest), None);
    let config = config(largest);
    let exclusive = Pool::builder(ScriptedManager::new()).config(config).build().unwrap();
    drop((exclusive.get().await.unwrap(), exclusive.get().await.unwrap()));
    assert_eq!(exclusive.status().idle, 2);
    let shared = SharedPool::builder(ScriptedManager::new()).config(config).build().unwrap();
    drop((shared.get().await.unwrap(), shared.get().await.unwrap()));
    assert_eq!(shared.status().in_use, 0);
}

#[tokio::test(start_paused = true)]
async fn a_wait_of_zero_takes_what_is_free_and_waits_for_nothing() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager).max_size(1).wait_timeout(ZERO).build().unwrap();
    let patient = GetOptions::new().timeout(Duration::from_secs(1));
    drop(pool.get_with(patient).await.unwrap());
    let held = pool.get().await.unwrap();
    let before = tokio::time::Instant::now();
    assert!(matches!(pool.get().await, Err(Error::Timeout(_))));
    assert_eq!(before.elapsed(), ZERO);
    drop(held);
}

#[test]
fn the_builder_starts_from_the_default_configuration() {
    let plain = Pool::builder(ScriptedManager::new()).build().unwrap();
    let config = PoolConfig::default();
    assert_eq!(plain.status().max_size, config.max_size);
    assert_eq!(config.limits().check(), Ok(()));
    assert_eq!((config.wait_timeout, config.create_timeout), (secs(30), secs(20)));
    assert_eq!((config.check_timeout, config.recycle_timeout), (secs(5), secs(5)));
    assert_eq!((config.keepalive, config.leak_threshold, config.shed), (None, None, None));
    assert_eq!((config.max_uses, config.discard_on_panic), (None, true));
    assert!(!config.time_leases);
    assert_eq!(Shedding::default(), Shedding { target: millis(50), interval: secs(1) });
}

#[test]
fn limits_that_cannot_be_are_named() {
    let mut limits = PoolConfig::default().limits();
    limits.max_size = 3;
    limits.min_idle = 4;
    let error = limits.check().unwrap_err();
    assert_eq!(error.to_string(), "min_idle: 4 is above max_size, which is 3");
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[cfg(feature = "serde")]
mod file {
    use pool_core::Backoff;

    use super::*;

    /// Every field unlike its default.
    fn other() -> PoolConfig {
        PoolConfig {
            max_size: 50,
            min_size: 3,
            min_idle: 2,
            max_idle: Some(20),
            max_draining: Some(30),
            max_waiters: usize::MAX,
            max_creating: 4,
            wait_timeout: millis(1500),
            create_timeout: ZERO,
            check_timeout: Duration::from_nanos(1),
            recycle_timeout: secs(7),
            destroy_timeout: secs(86400 * 3),
            shrink_delay: Duration::MAX,
            idle_timeout: None,
            max_lifetime: Some(secs(3600)),
            max_uses: Some(1000),
            check: CheckPolicy::IfIdleFor(secs(2)),
            keepalive: Some(secs(60)),
            leak_threshold: Some(secs(120)),
            time_leases: true,
            discard_on_panic: false,
            shed: Some(Shedding { target: millis(20), interval: secs(2) }),
            backoff: Backoff { initial: secs(1), multiplier: 2.0, jitter: 0.1, max: secs(120) },
            places: 100,
            soft_target: 8,
            soft_max_size: 4,
            pick: pool_core::Pick::RoundRobin,
        }
    }

    #[test]
    fn a_config_comes_back_from_toml_as_it_was() {
        for config in [PoolConfig::default(), other()] {
            let text = toml::to_string(&config).unwrap();
            assert_eq!(toml::from_str::<PoolConfig>(&text).unwrap(), config, "{text}");
        }
    }

    #[test]
    fn a_config_comes_back_from_json_as_it_was() {
        for config in [PoolConfig::default(), other()] {
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<PoolConfig>(&text).unwrap(), config, "{text}");
        }
    }

    #[test]
    fn what_is_missing_has_its_default() {
        let empty: PoolConfig = toml::from_str("").unwrap();
        assert_eq!(empty, PoolConfig::default());
        let nested: PoolConfig = toml::from_str("shed = {}\nbackoff = { max = '1min' }").unwrap();
        assert_eq!(nested.shed, Some(Shedding::default()));
        assert_eq!(nested.backoff, Backoff { max: secs(60), ..Backoff::default() });
    }

    #[test]
    fn values_are_written_as_people_write_them() {
        let text = r#"
            max_waiters = "unlimited"
            wait_timeout = "1min 30s"
            idle_timeout = "never"
            max_lifetime = "10min"
            keepalive = "never"
            check = { if_idle_for = "1s" }
            backoff = { initial = "50ms", multiplier = 2 }
        "#;
        let config: PoolConfig = toml::from_str(text).unwrap();
        let backoff = Backoff { initial: millis(50), multiplier: 2.0, ..Backoff::default() };
        let expected = PoolConfig {
            max_waiters: usize::MAX,
            wait_timeout: secs(90),
            idle_timeout: None,
            max_lifetime: Some(secs(600)),
            backoff,
            ..PoolConfig::default()
        };
        assert_eq!(config, expected);
        let text = toml::to_string(&config).unwrap();
        assert!(text.contains("wait_timeout = \"1m 30s\"\n"), "{text}");
        assert!(text.contains("idle_timeout = \"never\"\n"), "{text}");
    }

    #[test]
    fn a_check_policy_is_a_word_or_a_span() {
        let cases = [
            (r#""always""#, CheckPolicy::Always),
            (r#""never""#, CheckPolicy::Never),
            (r#"{"if_idle_for":"1m 1s"}"#, CheckPolicy::IfIdleFor(secs(61))),
        ];
        for (text, policy) in cases {
            assert_eq!(serde_json::from_str::<CheckPolicy>(text).unwrap(), policy);
            assert_eq!(serde_json::to_string(&policy).unwrap(), text);
        }
    }

    #[test]
    fn a_null_turns_off() {
        let text = r#"{"idle_timeout": null, "max_lifetime": null, "max_idle": null}"#;
        let config: PoolConfig = serde_json::from_str(text).unwrap();
        assert_eq!((config.idle_timeout, config.max_lifetime, config.max_idle), (None, None, None));
    }

    #[test]
    fn what_a_file_cannot_say_is_refused_with_its_place() {
        let cases = [
            ("max_sizes = 3", "unknown field `max_sizes`"),
            ("backoff = { min = '1s' }", "unknown field `min`"),
            ("shed = { goal = '1s' }", "unknown field `goal`"),
            ("check = 'sometimes'", "unknown variant `sometimes`"),
            ("idle_timeout = 'soon'", r#"expected a duration as "30s", or "never""#),
            ("idle_timeout = 30", r#"expected a duration as "30s", or "never""#),
            ("max_size = -1", r#"invalid value: integer `-1`, expected a count, or "unlimited""#),
            ("max_size = 'many'", r#"expected a count, or "unlimited""#),
            ("wait_timeout = 'never'", "expected a duration"),
        ];
        for (text, problem) in cases {
            let error = toml::from_str::<PoolConfig>(text).unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains("line 1"), "{text}: {error}");
        }
    }

    #[test]
    fn what_cannot_be_is_found_at_build_and_not_before() {
        let config: PoolConfig = toml::from_str("max_size = 0").unwrap();
        let error = Pool::builder(ScriptedManager::new()).config(config).build().unwrap_err();
        assert_eq!(error.field(), "max_size");
    }
}
