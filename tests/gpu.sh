#!/bin/sh
# Everything that needs a GPU, in less than six minutes on one: the tests marked gpu, each kernel
# against torch, whole training steps by case. A part that fails or takes too long does not keep the
# others from running; the exit code says whether all went well.
#
#   sh tests/gpu.sh [FOLDER]     tables and figures go there (default: outputs/gpu)
#
# It takes python, with torch and this package's requirements, from the path.
set -u
cd "$(dirname "$0")/.." || exit 1
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
out=${1:-outputs/gpu}
mkdir -p "$out" || exit 1
failed=""

part() { # NAME SECONDS COMMAND...
	name=$1 limit=$2
	shift 2
	started=$(date +%s)
	if timeout "$limit" "$@" >"$out/$name.txt" 2>"$out/$name.log"; then
		verdict="ok"
	else
		verdict="failed, see $out/$name.log"
		failed="$failed $name"
	fi
	echo "== $name: $verdict, $(($(date +%s) - started)) s"
	cat "$out/$name.txt"
}

opensora() {
	echo "import sys; from opensora.cli.main import main; sys.exit(main(sys.argv[1:]))"
}

part tests 70 python -m pytest -q -m gpu -p no:cacheprovider \
	tests/unit/models/layers/kernels/test_kernels.py \
	tests/unit/models/layers/kernels/test_backends.py \
	tests/unit/training/test_kernels.py
part kernels 60 python -c "$(opensora)" bench kernels --json "$out/kernels.json"
# the goals first; what is slow to compile last
part train 140 python -c "$(opensora)" bench train --cases reference,fb84f53,all,zero2 \
	--json "$out/train.json"
part train_512 90 python -c "$(opensora)" bench train --cases reference-512,all-512 \
	--steps 2 --repeats 2 --json "$out/train_512.json"

if [ -n "$failed" ]; then
	echo "failed:$failed"
	exit 1
fi
