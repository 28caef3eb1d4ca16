//! The rendering's shape.

use serde_json::json;

use super::*;
use crate::config::CaMode;

fn rendering(config: &Config) -> Rendering {
    Rendering::new(config, &[SocketAddr::from(([10, 0, 0, 10], 53))])
}

fn arguments(rendering: &Rendering) -> Vec<&str> {
    rendering.container["args"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn the_hash_does_not_depend_on_the_order_of_keys() {
    let one = rendering(&Config::default());
    let mut other = one.clone();
    let container = other.container.as_object_mut().unwrap();
    let name = container.remove("name").unwrap();
    container.insert("name".to_owned(), name);
    assert_eq!(one.hash(), other.hash());
    assert_eq!(one.hash().len(), 12);
    other.container["image"] = "another".into();
    assert_ne!(one.hash(), other.hash());
}

#[test]
fn a_rendering_is_read_back_as_it_was_published() {
    let one = rendering(&Config::default());
    let text = serde_json::to_string(&one).unwrap();
    assert_eq!(serde_json::from_str::<Rendering>(&text).unwrap(), one);
}

#[test]
fn name_servers_of_the_configuration_come_before_the_webhooks_own() {
    let mut config = Config::default();
    assert!(arguments(&rendering(&config)).contains(&"--dns=10.0.0.10:53"));
    config.dns.servers = vec!["[fd00::1]:5353".parse().unwrap()];
    let named = rendering(&config);
    let dns: Vec<_> = arguments(&named).into_iter().filter(|text| text.starts_with("--dns")).collect();
    assert_eq!(dns, ["--dns=[fd00::1]:5353"]);
}

#[test]
fn the_key_is_in_memory_or_from_the_secret_and_in_no_other_mount() {
    let mut config = Config::default();
    let pod = rendering(&config);
    assert_eq!(pod.volumes[1], json!({"name": "sandgate-ca", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}));
    assert!(arguments(&pod).contains(&"--ca=generate"));
    config.ca.mode = CaMode::Secret;
    let secret = rendering(&config);
    assert_eq!(secret.volumes[1]["secret"]["secretName"], "sandbox-proxy-ca");
    assert_eq!(secret.volumes[1]["secret"]["optional"], true);
    assert!(arguments(&secret).contains(&"--ca-dir=/certs"));
    assert!(arguments(&secret).contains(&"--ca-secret=sandbox-proxy-ca"));
    for rendering in [pod, secret] {
        assert_eq!(
            rendering.trust_mount,
            json!({"name": "sandgate-trust", "mountPath": "/etc/proxy-ca", "readOnly": true})
        );
    }
}

#[test]
fn the_proxy_listens_on_loopback_and_health_without_a_host() {
    let mut config = Config::default();
    config.sidecar.proxy_port = 9080;
    config.sidecar.health_port = 9081;
    let rendering = rendering(&config);
    let arguments = arguments(&rendering);
    for expected in ["--listen=127.0.0.1:9080", "--listen=[::1]:9080", "--admin-listen=[::]:9081", "--no-env"] {
        assert!(arguments.contains(&expected), "{expected}");
    }
    let hook = &rendering.container["lifecycle"]["postStart"]["exec"]["command"];
    assert_eq!(*hook, json!(["/sandgate-sidecar", "healthcheck", "--address=[::]:9081", "--wait=10s"]));
    assert_eq!(
        rendering.container["readinessProbe"]["httpGet"],
        json!({"path": "/readyz", "port": 9081, "scheme": "HTTP"})
    );
    assert!(rendering.container.pointer("/readinessProbe/httpGet/host").is_none());
    assert_eq!(rendering.environment[0].1, "http://127.0.0.1:9080");
}

#[test]
fn only_where_it_is_not_required_is_the_api_server_reached_directly() {
    let mut config = Config::default();
    let no_proxy = |environment: &[(String, String)]| {
        environment.iter().find(|(name, _)| name == "NO_PROXY").map(|(_, value)| value.clone()).unwrap()
    };
    config.environment.no_proxy = vec![".internal".to_owned()];
    let direct = rendering(&config);
    let local = "localhost,127.0.0.1,::1,.internal";
    let api = format!("{local},$(KUBERNETES_SERVICE_HOST),kubernetes.default.svc");
    assert_eq!(no_proxy(direct.environment_in(Mode::Enabled)), api);
    assert_eq!(no_proxy(direct.environment_in(Mode::Unlabelled)), api);
    assert_eq!(no_proxy(direct.environment_in(Mode::Required)), local);
    config.environment.api_server = ApiServer::Refused;
    assert_eq!(no_proxy(rendering(&config).environment_in(Mode::Enabled)), local);
}

#[test]
fn the_container_meets_pod_security_restricted() {
    let context = &rendering(&Config::default()).container["securityContext"];
    assert_eq!(context["runAsNonRoot"], true);
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
    assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
    assert_ne!(context["runAsUser"], 10000);
}

#[test]
fn the_policys_volume_has_the_name_that_is_asked_for_and_is_optional() {
    let rendering = rendering(&Config::default());
    let volumes = rendering.volumes("other");
    let policy = volumes.iter().find(|volume| volume["name"] == "sandgate-policy").unwrap();
    assert_eq!(policy["configMap"]["name"], "other");
    assert_eq!(policy["configMap"]["optional"], true);
    let upstream = {
        let mut config = Config::default();
        config.sidecar.upstream_ca_config_map = Some("roots".to_owned());
        Rendering::new(&config, &[])
    };
    assert_eq!(upstream.volumes.last().unwrap()["configMap"]["name"], "roots");
    assert!(arguments(&upstream).contains(&"--upstream-ca=/etc/sandgate/upstream-ca"));
}
