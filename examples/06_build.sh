#!/bin/sh
# Build an image in two stages, see the second build come from the cache, and run it.
#     examples/06_build.sh          (after `make up`)
set -eu
wirt=$(dirname "$0")/../bin/wirt
name=example-$$:1
context=$(mktemp -d)
trap '"$wirt" rmi -f "$name" >/dev/null; rm -r "$context"' EXIT

echo "hello from a build" >"$context/greeting"
cat >"$context/Dockerfile" <<'END'
FROM busybox AS build
COPY greeting .
RUN tr a-z A-Z < greeting > loud

FROM busybox
COPY --from=build /loud /loud
CMD ["cat", "/loud"]
END

"$wirt" build -q -t "$name" "$context"
"$wirt" build --explain -t "$name" "$context"
"$wirt" run --rm "$name"
