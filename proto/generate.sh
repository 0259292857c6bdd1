#!/bin/sh
# Regenerates clipsearch.v1 from proto/ into the given root (default: server), lints with `--lint`, writes descriptors with
# their comments to a file with `--descriptors FILE`, which is what docs/api.md is made from, or makes the Go stubs that
# examples/go needs in a directory with `--go DIRECTORY`.
# Needs the dev extra; PYTHON names its interpreter.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
bin=$(dirname "$python")
# The .proto files of google.rpc travel inside the googleapis-common-protos package.
include=$("$python" -c 'import pathlib, google.rpc.status_pb2 as s; print(pathlib.Path(s.__file__).parents[2])')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# It has operations.proto under another name than the one its own Python module is registered by.
mkdir -p "$work/include/google/longrunning"
cp "$include/google/longrunning/operations_proto.proto" "$work/include/google/longrunning/operations.proto"

describe() {
    "$python" -m grpc_tools.protoc -Iproto "-I$work/include" "-I$include" --include_source_info --include_imports \
        --descriptor_set_out="$1" proto/clipsearch/v1/*.proto
}

case ${1:-} in
--lint)
    describe "$work/image"
    "$bin/buf" lint "$work/image#format=binpb" --path clipsearch --config proto/buf.yaml
    exit
    ;;
--descriptors)
    describe "$2"
    exit
    ;;
esac

if [ "${1:-}" = --go ]; then
    package=clipsearch-example/clipsearchv1
    files="clipsearch/v1/common.proto clipsearch/v1/search.proto"
    options=module=$package
    for file in $files; do
        options=$options,M$file=$package
    done
    "$python" -m grpc_tools.protoc -Iproto "-I$include" --go_out="$2" --go-grpc_out="$2" \
        --go_opt="$options" --go-grpc_opt="$options" $files
    exit
fi

out=${1:-server}
PATH="$bin:$PATH" "$python" -m grpc_tools.protoc -Iproto "-I$work/include" "-I$include" \
    --python_out="$out" --grpc_python_out="$out" --mypy_out="$out" --mypy_grpc_out="$out" \
    proto/clipsearch/v1/*.proto
# A proto file without services yields an empty stub module.
rm -f "$out"/clipsearch/v1/common_pb2_grpc.py "$out"/clipsearch/v1/common_pb2_grpc.pyi
