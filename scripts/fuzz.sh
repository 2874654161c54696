#!/usr/bin/env bash
# Runs every fuzz target of the module for the time given (default 10s each).
set -euo pipefail
cd "$(dirname "$0")/.."
time="${1:-10s}"
found=0
while IFS=: read -r file target; do
  found=$((found + 1))
  echo "== $target in $(dirname "$file") for $time"
  go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "./$(dirname "$file")"
done < <(grep -rnoE --include='*_test.go' '^func (Fuzz[A-Za-z0-9_]+)' pkg | sed -E 's/^([^:]+):[0-9]+:func /\1:/')
[ "$found" -gt 0 ] || { echo "no fuzz target found" >&2; exit 1; }
