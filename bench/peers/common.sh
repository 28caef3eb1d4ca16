# shellcheck shell=dash
# What the launchers share: each sources this with its own arguments, PORT and DIR, and execs a proxy that listens on
# 127.0.0.1:PORT. DIR has ca.pem and ca.key (the CA that intercepts), leaf.pem and leaf.key (a certificate of it for
# *.bench.test) and origin-ca.pem (the only root of origins), and takes what a proxy writes. It becomes the working
# directory, for a proxy that changes its user may have no way to it by its path. WORKERS is how many threads serve,
# BENCH where bench/install puts things.
if [ $# -ne 2 ]; then
    echo "usage: ${0##*/} PORT DIR" >&2
    exit 64
fi
PEERS=$(cd "$(dirname "$0")" && pwd)
export PORT="$1" BENCH="${BENCH:-$PEERS/../../target/bench}" WORKERS="${WORKERS:-1}"
cd "$2" || exit

# Ten thousand tunnels are twice as many descriptors. Root may raise the limit, others may use all of it.
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -H -n)"
DESCRIPTORS=$(ulimit -n)
export DESCRIPTORS

# Where glibc older than 2.39 copies with REP MOVSB on AMD's processors, a copy of 16 KiB takes several times as long for
# some alignments (glibc bug 30994). So all proxies copy as they do with a glibc of today.
if grep --quiet AuthenticAMD /proc/cpuinfo; then
    export GLIBC_TUNABLES=glibc.cpu.x86_rep_movsb_threshold=0x10000000
fi
