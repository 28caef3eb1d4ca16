use super::{file, flags, variables};
use crate::settings::upstream_proxy::Proxies;

#[test]
fn there_is_none_unless_set_and_it_leads_to_origins_of_both_schemes() {
    for given in [&[][..], &[("upstream-proxy", "none")]] {
        assert_eq!(flags(given).unwrap().upstream_proxy, Proxies::default());
    }
    let settings = variables(&[("SANDGATE_UPSTREAM_PROXY", "http://proxy.test:3128")]).unwrap();
    assert_eq!(settings.upstream_proxy.each().map(ToString::to_string).collect::<Vec<_>>(), ["http://proxy.test:3128"]);
    assert!(settings.upstream_proxy.http.is_some() && settings.upstream_proxy.https.is_some());
    let settings = file("upstream-proxy: https://proxy.test:443\nupstream-no-proxy: [a.test, 10.0.0.0/8]\n").unwrap();
    assert_eq!(settings.upstream_no_proxy.len(), 2);
}

#[test]
fn credentials_in_the_url_are_refused_in_every_layer_and_repeated_in_none() {
    const URL: &str = "http://user:hunter2@proxy.test:3128";
    for problems in [
        flags(&[("upstream-proxy", URL)]),
        variables(&[("SANDGATE_UPSTREAM_PROXY", URL)]),
        file(&format!("upstream-proxy: {URL}\n")),
    ] {
        let problems = problems.unwrap_err().join("\n");
        assert!(problems.contains("--upstream-proxy-auth-file") && !problems.contains("hunter2"), "{problems}");
    }
}

#[test]
fn credentials_without_a_proxy_and_entries_that_are_none_are_refused() {
    for given in [
        &[("upstream-proxy-auth-file", "/auth")][..],
        &[("upstream-proxy-auth-file", "/auth"), ("upstream-proxy", "none")],
    ] {
        let problems = flags(given).unwrap_err();
        assert!(
            problems[0].starts_with("--upstream-proxy-auth-file: there is no proxy that it is for"),
            "{problems:?}"
        );
    }
    let problems = variables(&[("SANDGATE_UPSTREAM_NO_PROXY", "a.test, http://b.test, 10.0.0.0/33")]).unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].starts_with("SANDGATE_UPSTREAM_NO_PROXY: \"http://b.test\" is not a name"), "{problems:?}");
}
