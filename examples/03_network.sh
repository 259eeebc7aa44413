#!/bin/sh
# Two guests on a network of their own find each other by name; outsiders do not.
#     examples/03_network.sh [kind of the server]          (after `make up`)
set -eu
wirt=$(dirname "$0")/../bin/wirt
kind=${1:-container}
net=example-$$
server=server-$$

"$wirt" network create "$net" >/dev/null
trap '"$wirt" rm -f "$server" >/dev/null; "$wirt" network rm "$net" >/dev/null' EXIT
"$wirt" run -d --name "$server" --network "$net" --as "$kind" busybox \
    sh -c 'mkdir /www && hostname >/www/index.html && exec httpd -f -h /www' >/dev/null

"$wirt" run --rm --network "$net" busybox \
    sh -c "until wget -q -O- http://$server/; do sleep 0.1; done"
echo "resolved and answered"
