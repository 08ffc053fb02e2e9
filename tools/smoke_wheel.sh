#!/usr/bin/env bash
# Try a built wheel as a user without a checkout: install it in new environments, and run it from an empty folder.
#
#   tools/smoke_wheel.sh dist/*.whl dist/*.tar.gz          # PYTHON=python3.12 selects the interpreter, python3 is the default
#
# The source distribution, if it is given, is installed and counts a network. Then the wheel, first alone: the command, the cost
# of a network, one sentence for a wrong name and for a missing extra. Then with the extra `runtime`: a small ONNX classifier (made
# with the package onnx) is run on an image and timed. None of these environments has torch or MMLab.
set -euo pipefail

wheel=$(realpath "${1:?usage: tools/smoke_wheel.sh WHEEL [SDIST]}")
sdist=${2:+$(realpath "$2")}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/empty"
cd "$folder/empty"
unset PYTHONPATH

fail() {
    echo "smoke: $*" >&2
    exit 1
}

new_environment() { # NAME REQUIREMENT...
    "${PYTHON:-python3}" -m venv "$folder/$1"
    "$folder/$1/bin/python" -m pip install -q --disable-pip-version-check "${@:2}"
    bin=$folder/$1/bin
}

expect() { # TEXT COMMAND...: the command succeeds, and its output contains the text
    local output
    output=$("${@:2}" 2>&1) || fail "${*:2} failed: $output"
    [[ $output == *"$1"* ]] || fail "${*:2} does not print '$1': $output"
    echo "smoke: ${*:2}" | sed "s|$folder/[a-z]*/bin/||"
}

refuses() { # TEXT COMMAND...: the command fails with one line that contains the text
    local output
    output=$("${@:2}" 2>&1) && fail "${*:2} does not fail: $output"
    [[ $output == error:*"$1"* && $output != *$'\n'* ]] || fail "${*:2} does not end with one sentence about '$1': $output"
    echo "smoke: refused: ${*:2}" | sed "s|$folder/[a-z]*/bin/||"
}

version=$(basename "$wheel" | cut -d- -f2)

if [[ $sdist ]]; then
    new_environment sdist "$sdist"
    expect "tinynet_mm $version" "$bin/tinynet" --version
    expect '24.36' "$bin/tinynet" cost tinynet_e
fi

new_environment core "$wheel"
expect 'usage: tinynet VERB' "$bin/tinynet" --help
expect "tinynet_mm $version" "$bin/tinynet" --version
expect "tinynet_mm $version" "$bin/python" -m tinynet_mm --version
expect '24.36' "$bin/tinynet" cost tinynet_e
expect '--schedule' "$bin/tinynet" train --help
expect 'True' "$bin/python" -c 'import sys, tinynet_mm.cost; print("torch" not in sys.modules)'
refuses 'Did you mean tinynet_' "$bin/tinynet" cost tinynet_f
refuses 'pip install "tinynet_mm[' "$bin/tinynet" train rtmdet_tinynet_e_coco

new_environment runtime "${wheel}[runtime]" onnx
cat >classify.py <<'PYTHON'
import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper

from tinynet_mm.deploy.runtime import Classifier
from tinynet_mm.deploy.spec import KEY, Spec

spec = Spec('classification', 'logits', ('red', 'green', 'blue'), height=8, width=8)
images = helper.make_tensor_value_info('images', TensorProto.FLOAT, [1, 3, 8, 8])
logits = helper.make_tensor_value_info('logits', TensorProto.FLOAT, [1, 3])
node = helper.make_node('ReduceMean', ['images'], ['logits'], axes=[2, 3], keepdims=0)
model = helper.make_model(
    helper.make_graph([node], 'means', [images], [logits]), opset_imports=[helper.make_opsetid('', 13)], ir_version=8
)
helper.set_model_props(model, {KEY: spec.to_json()})
onnx.save(model, 'means.onnx')
cv2.imwrite('green.png', np.full((20, 30, 3), (0, 200, 0), np.uint8))
print(Classifier('means.onnx').top('green.png', 1))
PYTHON
expect "[[('green', 1.0)]]" "$bin/python" classify.py
expect 'no roof without torch' "$bin/tinynet" latency means.onnx --runs 3

echo "smoke: $(basename "$wheel") works with $("$bin/python" --version)"
