//! Names, lifetimes, and the text that a scrape gets.

mod support;

use pool_metrics::{Probe, RegisterError, Registry, Sample, Source};
use support::{Fake, SERVED};

#[test]
fn a_scrape_has_every_family_once_and_every_pool_in_it() {
    let registry = Registry::new();
    let (b, a) = (Fake::new(7, 2), Fake::new(0, 0));
    registry.register("b", &b).unwrap();
    registry.register("a \"quoted\"\\\n", &a).unwrap();
    let expected = r#"# HELP fake_open Open, by state.
# TYPE fake_open gauge
fake_open{pool="a \"quoted\"\\\n",state="busy"} 0
fake_open{pool="a \"quoted\"\\\n",state="idle"} 0
fake_open{pool="b",state="busy"} 2
fake_open{pool="b",state="idle"} 0
# HELP fake_served_total Served by \\ a "fake".
# TYPE fake_served_total counter
fake_served_total{pool="a \"quoted\"\\\n"} 0
fake_served_total{pool="b"} 7
"#;
    assert_eq!(support::scrape(&registry), expected);
}

#[test]
fn a_scrape_shows_the_numbers_of_its_moment() {
    let registry = Registry::new();
    let fake = Fake::new(1, 0);
    registry.register("p", &fake).unwrap();
    assert!(registry.render().contains("fake_served_total{pool=\"p\"} 1\n"));
    fake.set(2, 0);
    assert!(registry.render().contains("fake_served_total{pool=\"p\"} 2\n"));
}

#[test]
fn a_name_is_taken_while_its_pool_lives() {
    let registry = Registry::new();
    let fake = Fake::new(1, 0);
    registry.register("p", &fake).unwrap();
    let error = registry.register("p", &Fake::new(2, 0)).unwrap_err();
    assert_eq!(error, RegisterError::NameTaken { name: "p".to_owned() });
    assert!(error.to_string().contains("`p`"), "{error}");
    assert!(registry.render().contains("} 1\n"), "the first one keeps the name");
}

#[test]
fn a_dropped_pool_disappears_and_its_name_is_free() {
    let registry = Registry::new();
    let (gone, stays) = (Fake::new(1, 1), Fake::new(3, 3));
    registry.register("gone", &gone).unwrap();
    registry.register("stays", &stays).unwrap();
    drop(gone);
    let text = registry.render();
    assert!(!text.contains("pool=\"gone\""), "{text}");
    assert!(text.contains("pool=\"stays\""), "{text}");
    registry.register("gone", &Fake::new(5, 5)).unwrap();
}

#[test]
fn the_name_of_a_dropped_pool_is_free_before_any_scrape() {
    let registry = Registry::new();
    registry.register("p", &Fake::new(1, 0)).unwrap();
    let second = Fake::new(2, 0);
    registry.register("p", &second).unwrap();
    assert!(registry.render().contains("fake_served_total{pool=\"p\"} 2\n"));
}

#[test]
fn an_unregistered_pool_is_shown_no_more() {
    let registry = Registry::new();
    let fake = Fake::new(1, 0);
    registry.register("p", &fake).unwrap();
    assert!(registry.unregister("p"));
    assert!(!registry.unregister("p"));
    assert_eq!(registry.render(), "");
    registry.register("p", &fake).unwrap();
}

#[test]
fn a_name_is_not_empty() {
    let error = Registry::new().register("", &Fake::default()).unwrap_err();
    assert_eq!(error, RegisterError::NoName);
}

#[test]
fn a_clone_is_the_same_registry() {
    let registry = Registry::new();
    let fake = Fake::new(1, 0);
    registry.clone().register("p", &fake).unwrap();
    assert!(registry.render().contains("pool=\"p\""));
}

#[test]
fn a_probe_may_use_the_registry() {
    struct Nosy(Registry);
    impl Source for Nosy {
        fn probe(&self) -> Probe {
            let registry = self.0.clone();
            Probe::new(move || {
                registry.unregister("nobody");
                let mut sample = Sample::new();
                sample.set(&SERVED, 9);
                Some(sample)
            })
        }
    }
    let registry = Registry::new();
    registry.register("nosy", &Nosy(registry.clone())).unwrap();
    assert!(registry.render().contains("} 9\n"), "a probe called under the lock would hang here");
    assert!(registry.register("nosy", &Nosy(registry.clone())).is_err());
}
