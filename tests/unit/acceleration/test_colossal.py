import ast
import subprocess
import sys
from pathlib import Path

import pytest

import opensora

CODE = """
import logging, warnings
logging.basicConfig()
import sys, torch
compiles = torch.compile
import opensora.acceleration.colossal
warnings.warn("Please install apex from source", UserWarning)
names = {"peft", "bitsandbytes", "galore_torch", "transformers", "torch._inductor"}
assert not names & sys.modules.keys()
assert torch.compile is compiles
logging.disable()  # it is not as quiet
from peft import PeftModel
assert PeftModel.__module__ == "peft.peft_model"
"""


@pytest.mark.slow
def test_the_import_is_quiet_and_short_and_changes_nothing_afterwards():
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=120, check=True
    )
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1
    assert "UserWarning: Please install apex from source" in lines[0]
    assert done.stdout == ""


def test_nothing_else_in_the_package_imports_colossalai():
    importing = []
    for path in Path(opensora.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if any(name.split(".")[0] == "colossalai" for name in names):
                importing.append(path.name)
    assert set(importing) == {"colossal.py"}
