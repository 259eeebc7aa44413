#!/bin/sh
# The same image and command, three kinds of guest: whose kernel, and which boot of it.
#     examples/02_dial.sh          (after `make up`)
set -eu
wirt=$(dirname "$0")/../bin/wirt

for kind in container microvm vm; do
    printf '%-10s' "$kind"
    "$wirt" run --rm --as "$kind" busybox \
        sh -c 'echo "$(uname -r)  boot $(cat /proc/sys/kernel/random/boot_id)"'
done
