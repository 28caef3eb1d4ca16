# Runs etcd and kube-apiserver for as long as its standard input is open, so that they cannot outlive the test, not even
# one that is killed. Arguments: the directory with the keys, the directory with the programs, the API server's port.
# Understands the lines `stop` and `start`, about the API server alone, and answers each with one line.
dir=$1 bin=$2 port=$3

# Only the end of the input ends it: an answer that nobody reads any more must not.
trap '' HUP INT PIPE TERM
cd "$dir" || exit 1

start_etcd() {
    # A URL of scheme unix names a socket in the working directory: no port, and nobody else's to connect to.
    "$bin/etcd" --name=test --data-dir=data --log-level=warn --unsafe-no-fsync \
        --listen-client-urls=unix://etcd:1 --advertise-client-urls=unix://etcd:1 \
        --listen-peer-urls=unix://peer:1 --initial-advertise-peer-urls=unix://peer:1 \
        --initial-cluster=test=unix://peer:1 >>etcd.log 2>&1 </dev/null &
    etcd=$!
}

start_api_server() {
    "$bin/kube-apiserver" --etcd-servers=unix://etcd:1 \
        --bind-address=127.0.0.1 --advertise-address=127.0.0.1 --secure-port="$port" \
        --endpoint-reconciler-type=none --service-cluster-ip-range=10.0.0.0/24 \
        --tls-cert-file=server.crt --tls-private-key-file=server.key --client-ca-file=ca.crt --cert-dir=certificates \
        --service-account-issuer=https://kubernetes.default.svc \
        --service-account-key-file=service-accounts.pub --service-account-signing-key-file=service-accounts.key \
        --authorization-mode=RBAC --allow-privileged --profiling=false \
        >>kube-apiserver.log 2>&1 </dev/null &
    api_server=$!
}

# kill PID: without mercy, for the data is thrown away; returns when the process is gone.
end() {
    kill -KILL "$1" 2>/dev/null
    wait "$1" 2>/dev/null
}

start_etcd
start_api_server
echo "$etcd $api_server"
while read -r command; do
    case $command in
    stop) [ -z "$api_server" ] || end "$api_server"; api_server=; echo "$etcd" ;;
    start) [ -n "$api_server" ] || start_api_server; echo "$etcd $api_server" ;;
    esac
done
[ -z "$api_server" ] || end "$api_server"
end "$etcd"
cd / && rm -rf -- "$dir"
