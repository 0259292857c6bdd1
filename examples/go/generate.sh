#!/bin/sh
# Makes the Go stubs of the search API in clipsearchv1/ (or in the directory given) from ../../proto.
# Needs protoc-gen-go and protoc-gen-go-grpc on the PATH, and the dev extra of this repository for protoc itself.
set -eu
out=$(realpath -m "${1:-"$(dirname "$0")/clipsearchv1"}")
cd "$(dirname "$0")/../.."
mkdir -p "$out"
exec proto/generate.sh --go "$out"
