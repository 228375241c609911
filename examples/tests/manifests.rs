//! The manifests for Kubernetes have the form that the API wants, and what refers to each other fits.

#![cfg(feature = "kubernetes")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

const FOLDER: &str = "kubernetes";
const NAMESPACE: &str = "prod";

/// All of them, by kind.
#[derive(Default)]
struct Manifests {
    deployments: Vec<Deployment>,
    services: Vec<Service>,
    accounts: Vec<ServiceAccount>,
    roles: Vec<Role>,
    bindings: Vec<RoleBinding>,
}

fn manifests() -> Manifests {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER);
    let mut all = Manifests::default();
    let mut files = 0;
    for entry in folder.read_dir().expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            files += 1;
            let text = std::fs::read_to_string(&path).expect("it can be read");
            let documents = serde_saphyr::from_multiple::<Value>(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            for document in documents {
                all.add(&document);
            }
        }
    }
    assert_eq!(files, 2, "server and client");
    all
}

impl Manifests {
    fn add(&mut self, document: &Value) {
        match (document["apiVersion"].as_str(), document["kind"].as_str()) {
            (Some("apps/v1"), Some("Deployment")) => self.deployments.push(typed(document)),
            (Some("v1"), Some("Service")) => self.services.push(typed(document)),
            (Some("v1"), Some("ServiceAccount")) => self.accounts.push(typed(document)),
            (Some("rbac.authorization.k8s.io/v1"), Some("Role")) => {
                self.roles.push(typed(document));
            }
            (Some("rbac.authorization.k8s.io/v1"), Some("RoleBinding")) => {
                self.bindings.push(typed(document));
            }
            other => panic!("what is {other:?}?"),
        }
    }

    fn deployment(&self, name: &str) -> &Deployment {
        self.deployments.iter().find(|it| is_called(&it.metadata, name)).expect("it is there")
    }

    fn metadata(&self) -> impl Iterator<Item = &ObjectMeta> {
        let Self { deployments, services, accounts, roles, bindings } = self;
        let deployments = deployments.iter().map(|it| &it.metadata);
        let services = services.iter().map(|it| &it.metadata);
        let accounts = accounts.iter().map(|it| &it.metadata);
        let roles = roles.iter().map(|it| &it.metadata);
        deployments
            .chain(services)
            .chain(accounts)
            .chain(roles)
            .chain(bindings.iter().map(|it| &it.metadata))
    }
}

fn is_called(metadata: &ObjectMeta, name: &str) -> bool {
    metadata.name.as_deref() == Some(name)
}

/// Read as its type, and nothing of it is lost by that: a field that the type does not know would be.
fn typed<T: DeserializeOwned + Serialize>(document: &Value) -> T {
    let read: T = serde_json::from_value(document.clone())
        .unwrap_or_else(|error| panic!("{error} in {document:#}"));
    let again = serde_json::to_value(&read).expect("it can be written");
    is_within(document, &again, "");
    read
}

fn is_within(part: &Value, whole: &Value, at: &str) {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            for (key, value) in part {
                let at = format!("{at}.{key}");
                is_within(value, whole.get(key).unwrap_or_else(|| panic!("no field {at}")), &at);
            }
        }
        (Value::Array(part), Value::Array(whole)) => {
            assert_eq!(part.len(), whole.len(), "{at}");
            for (part, whole) in part.iter().zip(whole) {
                is_within(part, whole, at);
            }
        }
        _ => assert_eq!(part, whole, "{at}"),
    }
}

fn template(deployment: &Deployment) -> &PodTemplateSpec {
    &deployment.spec.template
}

fn pod(deployment: &Deployment) -> &PodSpec {
    template(deployment).spec.as_ref().expect("it has a spec")
}

fn container(deployment: &Deployment) -> &Container {
    let [container] = &*pod(deployment).containers else { panic!("there is one container") };
    container
}

fn labels(deployment: &Deployment) -> &BTreeMap<String, String> {
    let metadata = template(deployment).metadata.as_ref().expect("it has metadata");
    metadata.labels.as_ref().expect("it has labels")
}

/// The number of a container's port, by name or number.
fn port(container: &Container, wanted: &IntOrString) -> Option<i32> {
    let ports = container.ports.iter().flatten();
    let found = ports.clone().find(|port| match wanted {
        IntOrString::Int(number) => port.container_port == *number,
        IntOrString::String(name) => port.name.as_ref() == Some(name),
    });
    found.map(|port| port.container_port)
}

fn variable<'a>(container: &'a Container, name: &str) -> &'a str {
    let found = container.env.iter().flatten().find(|variable| variable.name == name);
    found.and_then(|variable| variable.value.as_deref()).expect("it is set")
}

fn port_of(address: &str) -> i32 {
    address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("it has a port")
}

#[test]
fn all_are_in_one_namespace_and_their_names_are_theirs_alone() {
    let all = manifests();
    assert!(all.metadata().all(|metadata| metadata.namespace.as_deref() == Some(NAMESPACE)));
    let services: BTreeSet<_> = all.services.iter().map(|it| it.metadata.name.clone()).collect();
    assert_eq!(services.len(), all.services.len());
}

#[test]
fn selectors_select_their_pods() {
    let all = manifests();
    for deployment in &all.deployments {
        let spec = &deployment.spec;
        let wanted = spec.selector.match_labels.as_ref().expect("it selects by labels");
        let labels = labels(deployment);
        assert!(wanted.iter().all(|(key, value)| labels.get(key) == Some(value)), "{wanted:?}");
    }
    let orders = all.deployment("orders");
    let headless = |service: &&Service| {
        let spec = service.spec.as_ref().expect("it has a spec");
        spec.cluster_ip.as_deref() == Some("None")
    };
    assert_eq!(all.services.iter().filter(headless).count(), 1);
    assert_eq!(all.services.len(), 2);
    for service in &all.services {
        let spec = service.spec.as_ref().expect("it has a spec");
        let selector = spec.selector.as_ref().expect("it has a selector");
        for deployment in &all.deployments {
            let labels = labels(deployment);
            let selected = selector.iter().all(|(key, value)| labels.get(key) == Some(value));
            assert_eq!(selected, std::ptr::eq(deployment, orders), "{:?}", service.metadata.name);
        }
    }
}

#[test]
fn ports_agree() {
    let all = manifests();
    let orders = container(all.deployment("orders"));
    let serves = port_of(variable(orders, "LISTEN"));
    for service in &all.services {
        let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
        let [only] = &**ports.expect("it has ports") else { panic!("there is one port") };
        let target = only.target_port.as_ref().expect("it says which port of the pods");
        assert_eq!(port(orders, target), Some(serves));
        // As the client's TARGET in every mode.
        assert_eq!((only.name.as_deref(), only.port), (Some("grpc"), 50051));
    }
    for probe in [&orders.readiness_probe, &orders.liveness_probe] {
        let grpc = probe.as_ref().and_then(|probe| probe.grpc.as_ref());
        assert_eq!(grpc.expect("it is asked by gRPC").port, serves);
    }

    let deployment = all.deployment("shop");
    let shop = container(deployment);
    let serves = port_of(variable(shop, "LISTEN"));
    for (probe, path) in [(&shop.readiness_probe, "/readyz"), (&shop.liveness_probe, "/livez")] {
        let http = probe.as_ref().and_then(|probe| probe.http_get.as_ref()).expect("it is HTTP");
        assert_eq!(port(shop, &http.port), Some(serves));
        assert_eq!(http.path.as_deref(), Some(path));
    }
    let metadata = template(deployment).metadata.as_ref().expect("it has metadata");
    let annotation = |key: &str| {
        metadata.annotations.as_ref().and_then(|all| all.get(key)).expect("it is annotated")
    };
    assert_eq!(annotation("prometheus.io/scrape"), "true");
    assert_eq!(annotation("prometheus.io/port").parse(), Ok(serves));
    assert_eq!(annotation("prometheus.io/path"), "/metrics");
}

#[test]
fn the_client_asks_for_a_service_that_is_there_and_by_its_port() {
    let all = manifests();
    let shop = container(all.deployment("shop"));
    let (service, port) = (variable(shop, "SERVICE"), variable(shop, "PORT"));
    let found = all.services.iter().find(|it| is_called(&it.metadata, service));
    let spec = found.and_then(|service| service.spec.as_ref()).expect("the service is there");
    let named = spec.ports.iter().flatten().find(|it| it.name.as_deref() == Some(port));
    let named = named.expect("the port is there");
    assert_eq!(variable(shop, "TARGET"), format!("http://{service}:{}", named.port));
}

#[test]
fn the_client_may_ask_what_its_resolver_asks() {
    let all = manifests();
    let account = pod(all.deployment("shop")).service_account_name.as_deref().expect("it has one");
    assert!(all.accounts.iter().any(|it| is_called(&it.metadata, account)));
    let is_subject = |binding: &&RoleBinding| {
        binding.subjects.iter().flatten().any(|subject| {
            subject.kind == "ServiceAccount"
                && subject.name == account
                && subject.namespace.as_deref() == Some(NAMESPACE)
        })
    };
    let bound = all.bindings.iter().filter(is_subject).map(|binding| {
        assert_eq!(binding.role_ref.kind, "Role");
        &*binding.role_ref.name
    });
    let roles = bound.map(|name| {
        let role = all.roles.iter().find(|it| is_called(&it.metadata, name));
        role.expect("the role is there")
    });
    let rules: Vec<_> = roles.flat_map(|role| role.rules.iter().flatten()).collect();
    // A list and a watch, as the tests of the resolver see them.
    for verb in ["list", "watch"] {
        let has = |list: &Option<Vec<String>>, wanted: &str| {
            list.iter().flatten().any(|item| item == wanted)
        };
        let allows = rules.iter().any(|rule| {
            has(&rule.api_groups, "discovery.k8s.io")
                && has(&rule.resources, "endpointslices")
                && rule.verbs.iter().any(|allowed| allowed == verb)
                && rule.resource_names.is_none()
        });
        assert!(allows, "no rule allows to {verb}");
    }
}

#[test]
fn pods_have_the_time_to_drain() {
    let all = manifests();
    let orders = all.deployment("orders");
    let seconds = |deployment: &Deployment| {
        let lifecycle = container(deployment).lifecycle.as_ref();
        let stop = lifecycle.and_then(|it| it.pre_stop.as_ref()).and_then(|it| it.sleep.as_ref());
        stop.expect("it sleeps before it stops").seconds
    };
    let grace = |deployment| pod(deployment).termination_grace_period_seconds.expect("it is said");
    let drain: i64 =
        variable(container(orders), "DRAIN").trim_end_matches('s').parse().expect("in seconds");
    assert!(grace(orders) > seconds(orders) + drain);
    // As the client closes its pool.
    assert!(grace(all.deployment("shop")) > seconds(all.deployment("shop")) + 10);
}

#[test]
fn the_programs_are_those_of_the_image() {
    let all = manifests();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let recipe = std::fs::read_to_string(folder.join(FOLDER).join("Dockerfile"));
    let recipe = recipe.expect("it can be read");
    for deployment in &all.deployments {
        let command = container(deployment).command.as_ref().expect("it says what to run");
        assert!(recipe.contains(&format!("--bin {}", command[0])));
        assert!(recipe.contains(&format!("/release/{} ", command[0])));
        assert!(folder.join(format!("src/bin/{}.rs", command[0])).exists());
    }
}
