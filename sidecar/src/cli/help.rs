//! What help says besides the settings: what each subcommand is for, and examples that work as they stand.

pub(super) const ABOUT: &str = "A forward proxy that lets a program reach what its policy lists, and nothing else";

pub(super) const EXAMPLES: &str = "\
Examples:
  Run one command that may reach one host, and see what it tried:
    sandgate-sidecar run --allow api.github.com -- curl https://api.github.com/zen

  Be the proxy beside a program, with a policy file and a CA made at start:
    sandgate-sidecar serve --policy policy.yaml --ca generate --trust-dir /etc/proxy-ca

  See what a policy says about a request:
    sandgate-sidecar check --policy policy.yaml GET https://api.github.com/zen";

pub(super) const SERVE: &str = "Be the proxy until a signal";
pub(super) const SERVE_EXAMPLES: &str = "\
Examples:
  With the CA of a mounted Secret in /certs, as in a pod:
    sandgate-sidecar serve --policy /etc/sandgate/policy.yaml

  On one machine, with a CA made at start; clients trust ./trust/ca.crt:
    sandgate-sidecar serve --allowed-domains 'github.com,*.github.com' \\
      --ca generate --trust-dir ./trust

Every setting can stand in a variable or in a file too; --help says more about each.
SIGTERM and SIGINT drain and end; a second one ends at once. SIGHUP is ignored: the policy and
the CA are read again by themselves when they change. Other signals end without a drain.
Exit codes: 0 after a signal, 1 where it could not start or go on, 64 for wrong usage.";

pub(super) const RUN: &str = "Run one command with a proxy of its own, and say at the end what it reached";
pub(super) const RUN_EXAMPLES: &str = "\
Examples:
  One host, on port 443:
    sandgate-sidecar run --allow api.github.com -- curl https://api.github.com/zen

  What does it try to reach? Everything is refused and listed at the end:
    sandgate-sidecar run -- npm install

  Make a policy of what it asks for, and use it:
    sandgate-sidecar run --learn policy.yaml -- npm install
    sandgate-sidecar run --policy policy.yaml -- npm install

  A host on this machine, with a CA of its own:
    sandgate-sidecar run --allow origin.test:8443 --resolve origin.test:8443:127.0.0.1 \\
      --private-cidr 127.0.0.0/8 --upstream-ca origin-ca.pem -- curl https://origin.test:8443/

Behind your own proxy (https_proxy, http_proxy, all_proxy, no_proxy) it goes through that, and
says so; docs/upstream-proxy.md has the details.

The command is not confined: a program that ignores the proxy variables reaches the
network directly. The proxy ends with the command, so children that outlive it reach nothing.

Exit codes: the command's own; 128 + N where signal N ended it; 125 where the proxy failed;
126 where the command cannot be run; 127 where it is not found; 64 for wrong usage.";

pub(super) const CHECK: &str = "Say how a policy judges one request, by which rule, and why";
pub(super) const CHECK_EXAMPLES: &str = "\
Examples:
  sandgate-sidecar check --policy policy.yaml GET https://api.github.com/zen
  sandgate-sidecar check --policy policy.yaml POST https://www.example.com/ || echo refused

It knows the policy and no settings, so neither which way a request would take (--upstream-proxy)
nor which addresses a name has.

Exit codes: 0 allowed, 1 refused, 64 for wrong usage.";

pub(super) const LEARN: &str = "Make a policy of what audit logs say was asked for, or extend one";
pub(super) const LEARN_EXAMPLES: &str = "\
Examples:
  What did the pods of a namespace ask for?
    kubectl logs -n team -l app=sandbox -c auth-proxy --tail=-1 \\
      | sandgate-sidecar learn --audit-log -

  Let a policy allow that too:
    sandgate-sidecar learn --audit-log audit.log --policy policy.yaml

What went through is learnt. What was refused becomes comments, with the lines that would allow it.
For one command, see run --learn.

Exit codes: 0, 1 where nothing could be learnt, 64 for wrong usage.";

pub(super) const VALIDATE: &str = "Say everything that is wrong with a policy";
pub(super) const VALIDATE_EXAMPLES: &str = "\
Examples:
  sandgate-sidecar validate policy.yaml

Exit codes: 0 valid, perhaps with warnings; 1 invalid; 64 for wrong usage.";

pub(super) const HEALTHCHECK: &str = "Ask a running sidecar whether it is well";
pub(super) const HEALTHCHECK_EXAMPLES: &str = "\
Examples:
  A startup probe, or a HEALTHCHECK of an image without curl:
    sandgate-sidecar healthcheck --wait 10s

Exit codes: 0 well, 1 not, 64 for wrong usage.";

pub(super) const ENVIRONMENT: &str = "Print the environment of a program that uses serve, for a shell";
pub(super) const ENVIRONMENT_EXAMPLES: &str = "\
Examples:
  In the shell that starts the program:
    eval \"$(sandgate-sidecar environment --trust-dir /etc/proxy-ca)\"

docs/environment.md says which client reads which variable. Where the directory is not there yet, a
warning on stderr says so.

Exit codes: 0, or 64 for wrong usage.";
