"""Compile the Triton kernels without a GPU and print what each takes, a line of JSON a kernel.

Run by `test_kernels.py` in a process of its own, without Triton's CPU mode. Pointers carry the
attribute that the run-time compiler gives aligned ones, and integers that of multiples of 16:
without them other code comes out.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from opensora.models.layers.kernels import adaptive, adaptive_triton, short, short_triton

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


def machine_code(kernel, types, constants, *, capability=90, warps=4):
    """Compiled kernel; `types` of the arguments that are no constants."""
    signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
    constants = {
        name: constants.get(name) for name, kind in signature.items() if kind == "constexpr"
    }
    attributes = {
        (index,): [["tt.divisibility", 16]]
        for index, name in enumerate(kernel.arg_names)
        if signature[name].startswith("*") or signature[name] == "i32"
    }
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)
    target = GPUTarget("cuda", capability, 32)
    return triton.compile(source, target=target, options={"num_warps": warps})


def show(name, compiled):
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage, code = (
            subprocess.run([TOOLS / tool[0], *tool[1:], file.name], capture_output=True, text=True)
            for tool in (("cuobjdump", "--dump-resource-usage"), ("nvdisasm", "-c"))
        )
    numbers = re.search(r"REG:(\d+) STACK:(\d+)", usage.stdout)
    row = {
        "name": name,
        "registers": int(numbers[1]),
        "stack": int(numbers[2]),  # bytes of a thread that did not fit
        "shared": compiled.metadata.shared,
        "barriers": len(re.findall(r"BAR\.SYNC", code.stdout)),
        "vector_loads": len(re.findall(r"LDG\.E\.(?:\w+\.)*128", code.stdout)),
        "products": len(re.findall(r"\sH?G?MMA[.\d]|HMMA|HGMMA", code.stdout)),
    }
    sys.stdout.write(json.dumps(row) + "\n")


def compile_short(tokens, head_size, *, normed=False, capability=90, only=""):
    rows, warps = short.tile(tokens)
    more = short.backward_warps(warps, head_size) if normed else warps
    first, tail = short.head_parts(head_size)
    constants = {
        **{"L": tokens, "H": 16, "D": head_size, "FIRST": first, "TAIL": tail, "ROWS": rows},
        **{"NORM": normed, "ROTATE": normed, "ROTATE_FIRST": True, "EPS": 1e-6, "SCALE": 0.1},
    }
    types = {"sequences": "i32", "side": "i32", "sums": "*fp32"}
    types |= dict.fromkeys(("grad", "qkv", "out", "grad_qkv"), "*bf16")
    if normed:
        types |= dict.fromkeys(("q_weight", "k_weight", "rotation"), "*fp32")
    kernels = {"forward": short_triton.forward_kernel, "backward": short_triton.backward_kernel}
    for way, kernel in kernels.items():
        if only not in ("", way):
            continue
        name = f"short {tokens}x{head_size}{' normed' if normed else ''} {way}"
        name += "" if capability == 90 else f" sm_{capability}"
        count = more if way == "backward" else warps
        show(name, machine_code(kernel, types, constants, capability=capability, warps=count))


def compile_adaptive(capability, x="*bf16", branch="*bf16"):
    """The three kernels at XL width; `x` is the type of the residual stream."""
    sizes = dict(adaptive._parts(1152))
    warps = sizes.pop("num_warps")
    types = {name: "i32" for name in ("D", "rows", "shift_stride", "scale_stride", "gate_stride")}
    types |= dict.fromkeys(("shift", "scale", "gate", "stats", "sums"), "*fp32")
    types |= {"x": x, "grad_x": x, "out": branch, "grad_branch": branch, "branch": branch}
    kernels = {
        "modulate_forward": ({"EACH": 8}, {"eps": "fp32"}),
        "modulate_backward": ({"EACH": 32}, {"grad": branch}),
        "gate_backward": ({"EACH": 32}, {"grad": x}),
    }
    for name, (each, more) in kernels.items():
        kernel = getattr(adaptive_triton, name)
        own = {key: kind for key, kind in (types | more).items() if key in kernel.arg_names}
        constants, place = each | sizes, {"capability": capability, "warps": warps}
        compiled = machine_code(kernel, own, constants, **place)
        show(f"{name} {x[1:]} {branch[1:]} sm_{capability}", compiled)


if __name__ == "__main__":
    for tokens, head_size in ((16, 72), (16, 128), (30, 72), (64, 72)):
        compile_short(tokens, head_size)
        compile_short(tokens, head_size, normed=True)
    for head_size in (64, 80, 96):
        compile_short(16, head_size, only="backward")
    compile_short(64, 72, capability=80)
    compile_adaptive(80)
    compile_adaptive(90)
    compile_adaptive(90, x="*fp32")  # the residual stream of training under autocast
