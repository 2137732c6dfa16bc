"""C compiled for other instruction sets than this processor's own gives the same, but for rounding.

What this processor's own gives is compared with PyTorch elsewhere.
"""

import platform
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mnist_s7.kernels import library

PROGRAM = Path(__file__).with_name("every_layer.c")
SEEDS = (1, 2, 3)
CASES = 11 * 4 * 2  # layers, kinds of ReLU, sizes

# Of each set its compiler with the flag that chooses it, what runs the program, and what the processor has to have.
X86 = "x86_64"
SETS = {
    "x86-64": (["cc", "-march=x86-64"], [], X86, ()),
    "AVX2": (["cc", "-march=haswell"], [], X86, ("avx2", "fma", "bmi2")),
    "AVX-512": (["cc", "-march=skylake-avx512"], [], X86, ("avx512f", "avx512bw", "avx512dq", "avx512vl")),
    "NEON": (["aarch64-linux-gnu-gcc", "-static"], ["qemu-aarch64"], None, ()),
}


def outputs(compiler, runner, folder):
    """Of each seed the arrays that the program writes, by their case and their number in it."""
    own = ("-march=native", "-shared", "-fPIC", "-fopenmp")
    flags = [flag for flag in library._flags() if flag not in own]
    program = folder / "program"
    command = [*compiler, *flags, "-I", library.C, PROGRAM, *library.SOURCES, "-o", program, "-lm"]
    subprocess.run(command, check=True, capture_output=True)
    return [arrays(subprocess.check_output([*runner, program, str(seed)])) for seed in SEEDS]


def arrays(output):
    found, at = {}, 0
    while at < len(output):
        case, number, size = np.frombuffer(output, np.int32, 3, at)
        found[int(case), int(number)] = np.frombuffer(output, np.float32, size, at + 12)
        at += 12 + 4 * size
    return found


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    if library.load() is None:
        pytest.skip("there are no compiled layers here")
    return outputs(["cc", "-march=native"], [], tmp_path_factory.mktemp("own"))


def different(theirs, ours):
    """The cases with an array that differs by more than rounding."""
    assert theirs.keys() == ours.keys() and {case for case, _ in ours} == set(range(CASES))
    return {
        key[0]
        for key, array in theirs.items()
        if not np.allclose(array, ours[key], rtol=1e-3, atol=1e-4 * np.abs(ours[key]).max(initial=1))
    }


@pytest.mark.parametrize("name", SETS)
def test_another_instruction_set_gives_the_same(own, name, tmp_path):
    """Where a value is about 0, a ReLU may stop it on one processor alone: never in a case with two seeds of three."""
    compiler, runner, machine, needed = SETS[name]
    if machine not in (None, platform.machine()) or not set(needed) <= set(library._processor().decode().split()):
        pytest.skip(f"this processor has no {name}")
    if missing := [program for program in (compiler[0], *runner) if not shutil.which(program)]:
        pytest.skip(f"needs {', '.join(missing)}")

    theirs = outputs(compiler, runner, tmp_path)

    found = [different(*each) for each in zip(theirs, own, strict=True)]
    assert all(np.isfinite(array).all() for each in own for array in each.values())
    counted = Counter(case for cases in found for case in cases)
    assert not [case for case, seeds in counted.items() if seeds > 1]


def test_other_numbers_are_other_results(own):
    """Else the comparison would show nothing."""
    assert len(different(own[0], own[1])) == CASES
