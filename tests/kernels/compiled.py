"""What Triton's compiler makes of a kernel for a GPU that is not there: PTX and the machine code that NVIDIA's assembler makes of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Compiled(NamedTuple):
    """Instructions of the PTX by name, and what the machine code needs."""

    instructions: Counter[str]
    registers: int
    stack: int
    """Bytes that did not fit in registers."""


def compiled(module: str, kernel: str, types: dict[str, str], constants: dict[str, Any], wide: list[str], capability: int) -> Compiled:
    """In a process of its own: the interpreter, which the other tests use, is chosen when triton is imported.

    types: of the arguments that are no constants, "*fp32" a pointer; wide: those that are multiples of 16.
    """
    request = json.dumps([module, kernel, types, constants, wide, capability])
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "engine"), environment.get("PYTHONPATH", "")])
    command = [sys.executable, str(Path(__file__)), request]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250)
    assert ended.returncode == 0, ended.stderr[-3000:]
    instructions, registers, stack = json.loads(ended.stdout.splitlines()[-1])
    return Compiled(Counter(instructions), registers, stack)


def main() -> None:
    """Compile one kernel and print what came of it."""
    import importlib
    import tempfile

    import triton
    import triton.language as tl
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    module, kernel, types, constants, wide, capability = json.loads(sys.argv[1])
    function = getattr(importlib.import_module(module), kernel)
    names = function.arg_names
    constants = {name: getattr(tl, value) if isinstance(value, str) else value for name, value in constants.items()}
    source = ASTSource(
        fn=function,
        signature={name: "constexpr" if name in constants else types[name] for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={(names.index(name),): [["tt.divisibility", 16]] for name in wide},
    )
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"enable_fp_fusion": False})
    instructions = Counter(re.findall(r"^\s*(?:@%p\d+ )?([a-z][\w.:]*)\s", made.asm["ptx"], re.MULTILINE))
    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        cubin.write(made.asm["cubin"])
        cubin.flush()
        dump = [str(tools / "cuobjdump"), "--dump-resource-usage", cubin.name]
        usage = subprocess.run(dump, capture_output=True, text=True, check=True).stdout
    registers, stack = (int(max(re.findall(rf"{what}:(\d+)", usage), key=int)) for what in ("REG", "STACK"))
    sys.stdout.write(json.dumps([instructions, registers, stack]) + "\n")


if __name__ == "__main__":
    main()
