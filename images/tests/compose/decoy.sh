#!/bin/sh
# The decoy: takes the addresses that nobody may reach and that of the open network's gateway, then reports each packet
# that comes for them.
set -eu
open=$(ip -o -4 address show | awk 'index($4, "172.31.251.") == 1 { print $2 }')
ip address add 172.31.251.1/29 dev "$open"
ip -6 address add fd5a::1/64 dev "$open" nodad
for address in $FORBIDDEN; do
    case $address in
        *:*) ip -6 address add "$address/128" dev lo nodad ;;
        *) ip address add "$address/32" dev lo ;;
    esac
done
exec python3 -u /tests/scripts/watch.py
