#!/bin/sh
# A volume goes from a container to another kind of guest and back.
#     examples/04_volume.sh [kind]          (after `make up`)
set -eu
wirt=$(dirname "$0")/../bin/wirt
kind=${1:-container}
volume=example-$$

"$wirt" volume create "$volume" >/dev/null
trap '"$wirt" volume rm "$volume" >/dev/null' EXIT
"$wirt" run --rm -v "$volume:/data" busybox sh -c 'echo "written by a container" >/data/log'
"$wirt" run --rm -v "$volume:/data" --as "$kind" busybox sh -c "echo 'and by a $kind' >>/data/log"
"$wirt" run --rm -v "$volume:/data:ro" busybox cat /data/log
