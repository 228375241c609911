use serde_json::{Value, json};

use super::*;

const ANY: Choice<'_> = Choice { port: None, default_port: 80, zone: None, prefer_ipv6: false };

fn slices(slices: &[Value]) -> Slices {
    let read = |(number, slice): (usize, &Value)| {
        let mut slice = slice.clone();
        slice["metadata"] = json!({ "name": format!("orders-{number}"), "resourceVersion": "1" });
        serde_json::from_value::<Slice>(slice).unwrap()
    };
    slices.iter().enumerate().map(read).collect()
}

/// The endpoints as they are written, with their zones.
fn set(of: &[Value], choice: Choice<'_>) -> Vec<String> {
    let endpoints = slices(of).endpoints(&choice).unwrap();
    let write = |endpoint: Endpoint| match &endpoint.zone {
        Some(zone) => format!("{endpoint} {zone}"),
        None => endpoint.to_string(),
    };
    endpoints.into_iter().map(write).collect()
}

fn no_port(of: &[Value], choice: Choice<'_>) -> String {
    slices(of).endpoints(&choice).unwrap_err().error("orders").to_string()
}

fn ipv4(endpoints: &Value) -> Value {
    let ports = json!([{ "name": "grpc", "port": 50051, "protocol": "TCP" }]);
    json!({ "addressType": "IPv4", "endpoints": endpoints, "ports": ports })
}

fn with_ports(ports: &Value) -> Value {
    json!({ "addressType": "IPv4", "endpoints": [{ "addresses": ["10.0.0.1"] }], "ports": ports })
}

#[test]
fn ready_and_not_terminating_ones_are_used() {
    let one =
        |host: &str, conditions: Value| json!({ "addresses": [host], "conditions": conditions });
    let slice = ipv4(&json!([
        one("10.0.0.1", json!({ "ready": true, "serving": true, "terminating": false })),
        one("10.0.0.2", json!({ "ready": false, "serving": false, "terminating": false })),
        one("10.0.0.3", json!({ "ready": false, "serving": true, "terminating": true })),
        one("10.0.0.4", json!({ "ready": true, "serving": true, "terminating": true })),
        one("10.0.0.5", json!({ "ready": null })),
        one("10.0.0.6", json!({})),
        one("10.0.0.7", Value::Null),
        { "addresses": ["10.0.0.8"] },
        { "addresses": [] },
    ]));
    let hosts = ["1", "5", "6", "7", "8"].map(|last| format!("10.0.0.{last}:50051"));
    assert_eq!(set(&[slice], ANY), hosts);
}

#[test]
fn slices_without_endpoints_make_an_empty_set() {
    let empty = [ipv4(&Value::Null), ipv4(&json!([])), json!({ "ports": null })];
    assert!(set(&empty, ANY).is_empty());
    assert!(set(&[], ANY).is_empty());
}

#[test]
fn slices_are_merged_and_what_is_in_several_is_one_in_one_order() {
    let one =
        ipv4(&json!([{ "addresses": ["10.0.0.2"] }, { "addresses": ["10.0.0.1", "10.9.9.9"] }]));
    let other =
        ipv4(&json!([{ "addresses": ["10.0.0.1"], "zone": "a" }, { "addresses": ["10.0.0.3"] }]));
    let merged = ["10.0.0.1:50051 a", "10.0.0.2:50051", "10.0.0.3:50051"];
    assert_eq!(set(&[one.clone(), other.clone()], ANY), merged);
    assert_eq!(set(&[other, one], ANY), merged);
}

#[test]
fn a_slice_that_comes_again_replaces_itself() {
    let mut slices = slices(&[ipv4(&json!([{ "addresses": ["10.0.0.1"] }]))]);
    let mut again = ipv4(&json!([{ "addresses": ["10.0.0.2"] }]));
    again["metadata"] = json!({ "name": "orders-0" });
    slices.apply(serde_json::from_value(again).unwrap());
    let hosts = |slices: &Slices| {
        let set = slices.endpoints(&ANY).unwrap();
        set.into_iter().map(|endpoint| endpoint.host).collect::<Vec<_>>()
    };
    assert_eq!(hosts(&slices), ["10.0.0.2"]);
    slices.remove("orders-0");
    assert!(hosts(&slices).is_empty());
}

#[test]
fn the_port_is_the_named_one_the_numbered_one_that_of_the_uri_or_the_only_one() {
    let two = with_ports(&json!([
        { "name": "grpc", "port": 50051 },
        { "name": "http", "port": 8080, "protocol": "TCP" },
        { "name": "dns", "port": 53, "protocol": "UDP" },
    ]));
    let two = [two];
    let by = |port| set(&two, Choice { port: Some(&port), ..ANY });
    assert_eq!(by("http".into()), ["10.0.0.1:8080"]);
    assert_eq!(by(50051.into()), ["10.0.0.1:50051"]);
    assert_eq!(set(&two, Choice { default_port: 8080, ..ANY }), ["10.0.0.1:8080"]);

    let refused = |port: PodPort| no_port(&two, Choice { port: Some(&port), ..ANY });
    let listed = "dns (53), grpc (50051), http (8080)";
    let several = "orders has several ports: say which, with Kubernetes::port; it has";
    assert_eq!(no_port(&two, ANY), format!("{several} {listed}"));
    let unknown = "orders has no port that is called \"rpc\"; it has";
    assert_eq!(refused("rpc".into()), format!("{unknown} {listed}"));
    assert_eq!(refused(53.into()), format!("the pods of orders have no port 53; it has {listed}"));

    let only = with_ports(
        &json!([{ "name": "", "port": 50051 }, { "name": "dns", "port": 53, "protocol": "UDP" }]),
    );
    assert_eq!(set(&[only], ANY), ["10.0.0.1:50051"]);
}

#[test]
fn a_name_may_be_another_number_in_each_slice_and_missing_in_some() {
    let slice = |host: &str, ports: Value| json!({ "endpoints": [{ "addresses": [host] }], "ports": ports });
    let of = [
        slice("10.0.0.1", json!([{ "name": "grpc", "port": 1 }])),
        slice("10.0.0.2", json!([{ "name": "grpc", "port": 2 }])),
        slice("10.0.0.3", json!([{ "name": "http", "port": 3 }])),
    ];
    assert_eq!(
        set(&of, Choice { port: Some(&"grpc".into()), ..ANY }),
        ["10.0.0.1:1", "10.0.0.2:2"]
    );
}

#[test]
fn where_no_port_is_listed_it_is_that_of_the_uri() {
    for ports in [Value::Null, json!([]), json!([{ "name": "any", "port": null }])] {
        assert_eq!(set(&[with_ports(&ports)], ANY), ["10.0.0.1:80"], "{ports}");
        let seven = PodPort::Number(7);
        let by_number = Choice { port: Some(&seven), ..ANY };
        assert_eq!(set(&[with_ports(&ports)], by_number), ["10.0.0.1:7"], "{ports}");
    }
}

#[test]
fn a_pod_with_an_address_of_each_family_is_one_endpoint() {
    let pod = |host: &str, name: &str| json!({ "addresses": [host], "targetRef": { "kind": "Pod", "name": name } });
    let mut v6 = ipv4(&json!([pod("fd00::1", "a"), pod("fd00::3", "c")]));
    v6["addressType"] = json!("IPv6");
    let both = [ipv4(&json!([pod("10.0.0.1", "a"), pod("10.0.0.2", "b")])), v6];
    assert_eq!(set(&both, ANY), ["10.0.0.1:50051", "10.0.0.2:50051", "[fd00::3]:50051"]);
    let preferred = Choice { prefer_ipv6: true, ..ANY };
    assert_eq!(set(&both, preferred), ["10.0.0.2:50051", "[fd00::1]:50051", "[fd00::3]:50051"]);
}

#[test]
fn hints_are_followed_where_all_have_them_and_some_are_for_this_zone() {
    let one = |host: &str, zone: &str, hints: Value| json!({ "addresses": [host], "zone": zone, "hints": hints });
    let hint = |zone: &str| json!({ "forZones": [{ "name": zone }] });
    let of = |second: Value| {
        ipv4(&json!([one("10.0.0.1", "a", hint("a")), one("10.0.0.2", "b", second)]))
    };
    let zone = |zone| Choice { zone: Some(zone), ..ANY };
    let all = ["10.0.0.1:50051 a", "10.0.0.2:50051 b"];
    assert_eq!(set(&[of(hint("b"))], zone("a")), all[..1]);
    assert_eq!(set(&[of(hint("b"))], zone("b")), all[1..]);
    assert_eq!(set(&[of(hint("b"))], zone("c")), all, "none is for this zone");
    assert_eq!(set(&[of(hint("b"))], ANY), all, "the zone is not known");
    assert_eq!(set(&[of(Value::Null)], zone("a")), all, "one has no hint");
}
