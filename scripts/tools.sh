#!/usr/bin/env bash
# Builds the linter into .bin/ at the version in .versions, once.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck disable=SC1091
. ./.versions
bin="$PWD/.bin"
mkdir -p "$bin"
stamp="$bin/.golangci-lint-$GOLANGCI_LINT"
if [ ! -e "$stamp" ]; then
  GOBIN="$bin" go install "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$GOLANGCI_LINT"
  touch "$stamp"
fi
