//! Endpoints from Kubernetes, against a scripted API server.

#![cfg(feature = "kubernetes")]

#[path = "kubernetes/cluster.rs"]
mod cluster;
mod common;

use std::time::Duration;

use cluster::{
    Asker, NAMESPACE, at_port, client, in_memory, ready, slice, slice_with, terminating, unready,
};
use pool_tonic_testing::kubernetes::{Api, ApiServer, Gone, Verb};
use serde_json::json;
use tokio::time::{Instant, timeout};

#[tokio::test]
async fn slices_are_listed_once_and_then_each_change_is_a_set() {
    let api = ApiServer::start().await.unwrap();
    let mut asker = Asker::of_one_pod(&api, client(&api)).await;

    api.apply(slice("orders-1", &[ready("10.0.0.1"), ready("10.0.0.2")]));
    assert_eq!(asker.set().await, at_port(&["10.0.0.1", "10.0.0.2"]));
    api.apply(slice("orders-2", &[ready("10.0.0.3")]));
    assert_eq!(asker.set().await, at_port(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
    api.delete(NAMESPACE, "orders-1");
    assert_eq!(asker.set().await, at_port(&["10.0.0.3"]));

    let asked = api.asked();
    assert_eq!(asked.iter().map(|asked| asked.verb).collect::<Vec<_>>(), [Verb::List, Verb::Watch]);
    for asked in &asked {
        assert_eq!(asked.path, "/apis/discovery.k8s.io/v1/namespaces/prod/endpointslices");
        assert_eq!(asked.query["labelSelector"], "kubernetes.io/service-name=orders");
    }
    assert_eq!(asked[1].query["allowWatchBookmarks"], "true");
    assert_eq!(asked[1].query["resourceVersion"], "1");
}

#[tokio::test]
async fn pods_that_become_ready_come_and_those_that_terminate_go() {
    let api = Api::default();
    api.apply(slice("orders-1", &[ready("10.0.0.1"), unready("10.0.0.2")]));
    let mut asker = Asker::new(in_memory(&api));
    assert_eq!(asker.set().await, at_port(&["10.0.0.1"]));
    api.apply(slice("orders-1", &[ready("10.0.0.1"), ready("10.0.0.2")]));
    assert_eq!(asker.set().await, at_port(&["10.0.0.1", "10.0.0.2"]));
    api.apply(slice("orders-1", &[terminating("10.0.0.1"), ready("10.0.0.2")]));
    assert_eq!(asker.set().await, at_port(&["10.0.0.2"]));
}

#[tokio::test]
async fn changes_that_are_there_together_are_one_set_and_no_change_is_none() {
    let api = Api::default();
    let mut asker = Asker::of_one_pod(&api, in_memory(&api)).await;
    // One that makes no difference, and a pod that moves from slice to slice.
    api.apply(slice("orders-1", &[ready("10.0.0.1"), unready("10.0.0.9")]));
    api.apply(slice("orders-1", &[]));
    api.apply(slice("orders-2", &[ready("10.0.0.1")]));
    api.apply(slice("orders-3", &[ready("10.0.0.2")]));
    assert_eq!(asker.set().await, at_port(&["10.0.0.1", "10.0.0.2"]));
}

#[tokio::test]
async fn other_services_and_namespaces_are_not_asked_for() {
    let api = Api::default();
    let mut elsewhere = slice("orders-1", &[ready("10.0.0.1")]);
    elsewhere["metadata"]["namespace"] = json!("test");
    let mut other = slice("shop-1", &[ready("10.0.0.2")]);
    other["metadata"]["labels"]["kubernetes.io/service-name"] = json!("shop");
    for slice in [elsewhere, other] {
        api.apply(slice);
    }
    assert!(Asker::new(in_memory(&api)).set().await.is_empty(), "the namespace is the client's");
    let mut asker = Asker::new(in_memory(&api)).with(|kubernetes| kubernetes.namespace("test"));
    assert_eq!(asker.set().await, at_port(&["10.0.0.1"]));
}

#[tokio::test]
async fn a_service_without_pods_is_an_empty_set_until_there_are_some() {
    let api = Api::default();
    let mut asker = Asker::new(in_memory(&api));
    assert!(asker.set().await.is_empty());
    api.apply(slice("orders-1", &[ready("10.0.0.1")]));
    assert_eq!(asker.set().await, at_port(&["10.0.0.1"]));
}

#[tokio::test]
async fn ports_are_chosen_by_name_and_a_name_that_is_missing_is_an_error() {
    let api = Api::default();
    let ports = json!([{ "name": "grpc", "port": 1 }, { "name": "admin", "port": 2 }]);
    api.apply(slice_with("orders-1", &[ready("10.0.0.1")], &ports));
    let mut asker = Asker::new(in_memory(&api)).with(|kubernetes| kubernetes.port("admin"));
    assert_eq!(asker.set().await, ["10.0.0.1:2"]);

    api.apply(slice("orders-1", &[ready("10.0.0.1")]));
    let error = asker.error().await;
    assert!(!error.is_temporary());
    let said = "orders has no port that is called \"admin\"; it has grpc (50051)";
    assert_eq!(error.to_string(), said);

    api.apply(slice_with("orders-1", &[ready("10.0.0.1")], &ports));
    assert_eq!(asker.set().await, ["10.0.0.1:2"]);
}

#[tokio::test]
async fn a_long_list_is_read_page_by_page() {
    let api = Api::default();
    for number in 0..501 {
        let host = format!("10.0.{}.{}", number / 250, number % 250);
        api.apply(slice(&format!("orders-{number}"), &[ready(&host)]));
    }
    let mut asker = Asker::new(in_memory(&api));
    assert_eq!(asker.set().await.len(), 501);
    let pages = api.asked_to(Verb::List);
    assert_eq!(pages.len(), 2);
    assert!(pages[1].query.contains_key("continue"));
}

#[tokio::test]
async fn a_version_that_is_gone_leads_to_a_new_list() {
    for gone in [Gone::Status, Gone::Event] {
        let api = Api::default();
        let mut asker = Asker::of_one_pod(&api, in_memory(&api)).await;
        api.delete(NAMESPACE, "orders-1");
        api.apply(slice("orders-2", &[ready("10.0.0.2")]));
        api.forget(gone);
        assert_eq!(asker.set().await, at_port(&["10.0.0.2"]), "{gone:?}");
        assert_eq!(api.asked_to(Verb::List).len(), 2, "{gone:?}");

        // What it has now is new enough.
        api.apply(slice("orders-2", &[ready("10.0.0.3")]));
        assert_eq!(asker.set().await, at_port(&["10.0.0.3"]), "{gone:?}");
        assert_eq!(api.asked_to(Verb::List).len(), 2, "{gone:?}");
    }
}

#[tokio::test]
async fn a_watch_that_says_that_its_version_is_gone_is_left() {
    let api = ApiServer::start().await.unwrap();
    let mut asker = Asker::of_one_pod(&api, client(&api)).await;
    let change = async {
        api.until_asked(Verb::Watch, 1).await;
        api.fail_watches(410, "Expired");
        api.apply(slice("orders-1", &[ready("10.0.0.2")]));
    };
    let (set, ()) = tokio::join!(asker.set(), change);
    assert_eq!(set, at_port(&["10.0.0.2"]));
    assert_eq!(api.asked_to(Verb::List).len(), 2);
}

#[tokio::test]
async fn a_watch_that_ends_goes_on_behind_the_last_bookmark() {
    let api = ApiServer::start().await.unwrap();
    let mut asker = Asker::of_one_pod(&api, client(&api)).await;
    let change = async {
        api.until_asked(Verb::Watch, 1).await;
        // Versions 2 and 3, of which only a bookmark tells.
        api.pass();
        api.pass();
        api.bookmark();
        api.end_watches();
        api.until_asked(Verb::Watch, 2).await;
        api.apply(slice("orders-1", &[ready("10.0.0.2")]));
    };
    let (set, ()) = tokio::join!(asker.set(), change);
    assert_eq!(set, at_port(&["10.0.0.2"]));
    assert_eq!(api.asked_to(Verb::List).len(), 1);
    assert_eq!(api.asked_to(Verb::Watch)[1].query["resourceVersion"], "3");
}

#[tokio::test]
async fn a_watch_that_is_cut_off_goes_on_behind_the_last_change() {
    let api = ApiServer::start().await.unwrap();
    let mut asker = Asker::of_one_pod(&api, client(&api)).await;
    api.apply(slice("orders-1", &[ready("10.0.0.2")]));
    assert_eq!(asker.set().await, at_port(&["10.0.0.2"]));
    api.cut_watches();
    // Nobody is told, but who asks what was since.
    api.apply(slice("orders-1", &[ready("10.0.0.3")]));
    assert_eq!(asker.set().await, at_port(&["10.0.0.3"]));
    assert_eq!(api.asked_to(Verb::List).len(), 1);
    assert_eq!(api.asked_to(Verb::Watch)[1].query["resourceVersion"], "2");
}

#[tokio::test(start_paused = true)]
async fn watches_that_end_at_once_are_begun_again_with_a_back_off() {
    let api = Api::default();
    let mut asker = Asker::new(in_memory(&api));
    assert!(asker.set().await.is_empty());
    let ends = async {
        // Far more than there should be: without a back-off the clock would stand still.
        for times in 1..100 {
            api.until_asked(Verb::Watch, times).await;
            common::until(|| api.watches() > 0).await;
            api.end_watches();
        }
        panic!("there is no back-off");
    };
    let minute = Duration::from_secs(60);
    let nothing = timeout(minute, async { tokio::join!(asker.ask(), ends).0 }).await;
    assert!(nothing.is_err(), "nothing has changed");
    let watches = api.asked_to(Verb::Watch).len();
    assert!((6..=10).contains(&watches), "{watches} watches in a minute");
}

#[tokio::test(start_paused = true)]
async fn a_permission_that_is_missing_is_named_and_asked_for_with_a_back_off() {
    for (verb, name) in [(Verb::List, "list"), (Verb::Watch, "watch")] {
        let api = Api::default();
        api.apply(slice("orders-1", &[ready("10.0.0.1")]));
        api.refuse(verb, 403);
        let mut asker = Asker::new(in_memory(&api));
        if verb == Verb::Watch {
            assert_eq!(asker.set().await, at_port(&["10.0.0.1"]));
        }
        let began = Instant::now();
        for _ in 0..3 {
            let error = asker.error().await;
            assert!(!error.is_temporary());
            let said = error.to_string();
            let what = format!(
                "cannot {name} the EndpointSlices of orders in prod: the service account needs a Role"
            );
            assert!(said.starts_with(&what), "{said}");
            assert!(said.contains("list and watch on the resource endpointslices"), "{said}");
            assert!(said.ends_with("the scripted server says 403: Forbidden"), "{said}");
        }
        assert!(began.elapsed() >= Duration::from_secs(2), "1 s and 1.6 s, less 20 %");
        api.allow(verb);
        assert_eq!(asker.set().await, at_port(&["10.0.0.1"]), "told again: {name} is allowed");
    }
}

#[tokio::test(start_paused = true)]
async fn other_failures_are_temporary_and_what_came_before_them_is_told_first() {
    let api = Api::default();
    api.apply(slice("orders-1", &[ready("10.0.0.1")]));
    api.refuse(Verb::List, 500);
    let mut asker = Asker::new(in_memory(&api));
    let error = asker.error().await;
    assert!(error.is_temporary());
    let said = "cannot list the EndpointSlices of orders in prod: the scripted server says 500";
    assert!(error.to_string().starts_with(said), "{error}");

    api.allow(Verb::List);
    assert_eq!(asker.set().await, at_port(&["10.0.0.1"]));
    let change = async {
        api.until_asked(Verb::Watch, 1).await;
        common::until(|| api.watches() > 0).await;
        api.apply(slice("orders-1", &[ready("10.0.0.2")]));
        api.fail_watches(500, "InternalError");
    };
    let (set, ()) = tokio::join!(asker.set(), change);
    assert_eq!(set, at_port(&["10.0.0.2"]));
    let said = "cannot watch the EndpointSlices of orders in prod: the scripted server says 500";
    assert!(asker.error().await.to_string().starts_with(said));
    assert_eq!(asker.set().await, at_port(&["10.0.0.2"]), "the watch runs again");
    assert_eq!(api.asked_to(Verb::Watch)[1].query["resourceVersion"], "2");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_is_a_failure() {
    let api = Api::default();
    api.apply(slice("orders-1", &[ready("10.0.0.1")]));
    api.hold(true);
    let mut asker = Asker::new(in_memory(&api));
    let began = Instant::now();
    let error = asker.ask().await.unwrap_err();
    assert_eq!(began.elapsed(), Duration::from_secs(30));
    let said = "cannot list the EndpointSlices of orders in prod: no answer within 30s";
    assert_eq!(error.to_string(), said);
    api.hold(false);
    assert_eq!(asker.set().await, at_port(&["10.0.0.1"]));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_silent_for_too_long_is_begun_again() {
    let api = Api::default();
    let mut asker = Asker::new(in_memory(&api));
    assert!(asker.set().await.is_empty());
    let nothing = timeout(Duration::from_secs(300), asker.ask()).await;
    assert!(nothing.is_err());
    let watches = api.asked_to(Verb::Watch);
    assert_eq!(watches.len(), 2);
    assert_eq!(watches[0].query["timeoutSeconds"], "290");
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_dropped_loses_nothing() {
    let api = Api::default();
    let mut asker = Asker::new(in_memory(&api));
    let mut sets = Vec::new();
    for number in 0..20 {
        if number % 4 == 0 {
            api.apply(slice("orders-1", &[ready(&format!("10.0.0.{number}"))]));
        }
        if number == 10 {
            api.end_watches();
        }
        // Polled once and dropped, in whatever it was about; and when there was nothing left to do.
        for patience in [Duration::ZERO, Duration::from_secs(1)] {
            if let Ok(set) = timeout(patience, asker.ask()).await {
                sets.extend(set.unwrap().iter().map(ToString::to_string));
            }
        }
    }
    let hosts: Vec<_> = [0, 4, 8, 12, 16].map(|number| format!("10.0.0.{number}")).into();
    let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
    assert_eq!(sets, at_port(&hosts));
}
