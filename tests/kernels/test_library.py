"""The compiled library: cached, checked, and what becomes of a training run where there is none."""

import contextlib
import ctypes
import os
import re
import shutil
import subprocess
import sys
import warnings

import pytest

from mnist_s7 import InvalidArgument
from mnist_s7.kernels import CompiledLayersMissing, CompiledLayersNotKept
from mnist_s7.kernels import library as compiled
from mnist_s7.kernels.library import CHOICE, FUNCTIONS, SOURCES, Layer, Norm, cpu_layers, load

SIZES = {"mnist_s7_layer_size": ctypes.sizeof(Layer), "mnist_s7_norm_size": ctypes.sizeof(Norm)}
EXPORTED = '__attribute__((visibility("default"))) long '
ONE = "".join(f"{EXPORTED}{name}(void) {{ return {value}; }}\n" for name, value in {"one": 1, **SIZES}.items())


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """Where libraries are kept, with nothing in it yet, not even the folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path / "cache"))
    monkeypatch.setenv(CHOICE, "")  # and so given back, whatever it is set to meanwhile
    load.cache_clear()
    yield tmp_path / "cache" / "mnist_s7"
    load.cache_clear()


@pytest.fixture
def source(monkeypatch, tmp_path, cache):
    """Compiled in no time, in place of the sources. Skips where there is no C compiler."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    source = tmp_path / "one.c"
    source.write_text(ONE + f"// in {tmp_path}")  # unlike any other test's
    monkeypatch.setattr(compiled, "SOURCES", [source])
    monkeypatch.setattr(compiled, "FUNCTIONS", {name: ([], ctypes.c_long) for name in ("one", *SIZES)})
    return source


@pytest.fixture
def commands(monkeypatch):
    """The commands that are run."""
    commands = []
    run = subprocess.run
    monkeypatch.setattr(
        subprocess, "run", lambda command, **options: commands.append(command) or run(command, **options)
    )
    return commands


@pytest.fixture
def library(monkeypatch, tmp_path, cache, source):
    """The file that another process has kept: this one has not loaded it yet."""
    with monkeypatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path / "another process's"))
        load()
    shutil.copytree(tmp_path / "another process's", cache.parent)
    [library] = cache.iterdir()
    return library


@contextlib.contextmanager
def silence():
    """Where any warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def in_another_process():
    load.cache_clear()
    return load()


def test_compiles_once_for_all_processes(monkeypatch, tmp_path, cache, source, commands):
    with silence():
        for _ in range(2):
            assert in_another_process().one() == 1
        assert [command[1] for command in commands] == ["--version", "-O3", "--version"]
        assert len(list(cache.iterdir())) == 1
        source.write_text(ONE.replace("1;", "2;", 1))
        assert in_another_process().one() == 2  # what was compiled from another source is not taken for it
        header = tmp_path / "kernels.h"
        header.write_text("")
        monkeypatch.setattr(compiled, "HEADER", header)
        before = len(commands)
        assert in_another_process().one() == 2
        assert [command[1] for command in commands[before:]] == ["--version", "-O3"]  # nor with another header


def test_nobody_else_may_write_to_what_is_cached(cache, source):
    before = os.umask(0o002)
    try:
        with silence():
            assert load().one() == 1
    finally:
        os.umask(before)
    [library] = cache.iterdir()

    assert [path.stat().st_mode & 0o777 for path in (cache, library)] == [0o700, 0o600]


def empty(library):
    library.write_bytes(b"")


def truncate(library):
    os.truncate(library, 1_000)


def flip_a_bit(library):
    content = bytearray(library.read_bytes())
    content[len(content) // 2] ^= 4
    library.write_bytes(content)


def garbage(library):
    library.write_text("no library")


def let_others_write(library):
    library.chmod(0o666)


def link(library):
    library.rename(library.parent / "elsewhere")
    library.symlink_to("elsewhere")


def pipe(library):
    library.unlink()
    os.mkfifo(library)


@pytest.mark.parametrize("damage", [empty, truncate, flip_a_bit, garbage, let_others_write, link, pipe])
def test_a_library_that_is_not_as_it_was_written_is_compiled_again(library, commands, damage):
    damage(library)

    with silence():
        assert in_another_process().one() == 1
        assert [command[1] for command in commands] == ["--version", "-O3"]
        assert in_another_process().one() == 1
    assert commands[-1][1] == "--version"  # and kept again
    assert library.is_file() and not library.is_symlink()
    assert library.stat().st_mode & 0o777 == 0o600


def test_a_library_without_the_functions_is_compiled_again(tmp_path, cache, library):
    name, _ = library.name.split("-")
    library.unlink()
    (tmp_path / "two.c").write_text("int two(void) { return 2; }")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "two", tmp_path / "two.c"], check=True)
    compiled._stored((tmp_path / "two").read_bytes(), cache, name)

    with silence():
        assert in_another_process().one() == 1


def test_a_library_with_other_structures_is_compiled_again(tmp_path, cache, library):
    """C would write beyond them, or elsewhere in them."""
    name, _ = library.name.split("-")
    library.unlink()
    (tmp_path / "other.c").write_text(ONE.replace(f"{ctypes.sizeof(Norm)};", f"{ctypes.sizeof(Norm) + 4};"))
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "other", tmp_path / "other.c"], check=True)
    other = compiled._stored((tmp_path / "other").read_bytes(), cache, name)

    with pytest.raises(OSError, match="has structures of another size"):
        compiled._loaded(other)
    with silence():
        assert in_another_process().one() == 1


def test_two_processes_may_compile_at_once(monkeypatch, cache, source):
    built = compiled._built

    def slowly(flags):
        content = built(flags)
        monkeypatch.setattr(compiled, "_built", built)
        assert in_another_process().one() == 1
        return content

    monkeypatch.setattr(compiled, "_built", slowly)

    with silence():
        assert load().one() == 1
    assert len(list(cache.iterdir())) == 1


def others_write(cache, monkeypatch):
    cache.mkdir(parents=True)
    cache.chmod(0o775)
    return rf"other users may write to it \(chmod go-w {cache}\)"


def file_in_the_way(cache, monkeypatch):
    cache.parent.mkdir()
    cache.write_text("in the way")
    return "File exists"


def folder_in_the_way(cache, monkeypatch):
    load()
    [library] = cache.iterdir()
    library.unlink()
    library.mkdir()
    return "Is a directory"


def no_home(cache, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as where nobody knows of one
    return "~/.cache/mnist_s7 cannot keep the compiled layers: this is no absolute path"


def full(cache, monkeypatch):
    stored = compiled._stored

    def fails(content, folder, name):
        if folder == cache:
            raise OSError(28, "No space left on device")
        return stored(content, folder, name)

    monkeypatch.setattr(compiled, "_stored", fails)
    return "No space left on device"


@pytest.mark.parametrize("fault", [others_write, file_in_the_way, folder_in_the_way, no_home, full])
def test_without_a_cache_the_library_is_in_a_folder_of_the_process(monkeypatch, cache, source, commands, fault):
    reason = fault(cache, monkeypatch)

    with pytest.warns(CompiledLayersNotKept, match=reason) as said:
        assert in_another_process().one() == 1
    assert len(said) == 1
    assert f"Until this process ends, they are in {os.environ[CHOICE]}" in str(said[0].message)
    assert [command[1] for command in commands[-2:]] == ["--version", "-O3"]  # once, though for two folders
    before = len(commands)
    with silence():  # in a process that it starts
        assert in_another_process().one() == 1
    assert [command[1] for command in commands[before:]] == ["--version"]


def test_nothing_is_loaded_that_another_user_may_have_written(monkeypatch, cache, library):
    """Not from a folder, and not from a file."""
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)

    with pytest.raises(PermissionError, match="it belongs to another user"):
        compiled._cached(cache, library.name.split("-")[0], lambda: b"")
    with pytest.raises(PermissionError, match="it belongs to another user"):
        compiled._loaded(library)


@pytest.fixture
def cc(monkeypatch, tmp_path, cache):
    """Makes a shell script the C compiler, and there is no other."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", os.fspath(folder))

    def make(script):
        (folder / "cc").write_text(f"#!/bin/sh\n{script}")
        (folder / "cc").chmod(0o700)

    return make


GREETS = 'if [ "$1" = --version ]; then echo 1.0; exit; fi\n'
TO_OUTPUT = 'while [ "$1" != -o ]; do shift; done; '
FAILS = "echo '/usr/bin/ld: cannot find -lgomp' >&2; echo 'collect2: error: ld returned 1 exit status' >&2; exit 1"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, "there is no C compiler `cc`"),
        ("exit 3", "fails with exit code 3: it says nothing"),
        (GREETS + FAILS, "fails with exit code 1: /usr/bin/ld: cannot find -lgomp. PyTorch's"),
        (GREETS, "reports success and has written nothing"),
        (GREETS + TO_OUTPUT + 'echo garbage > "$2"', "file too short|invalid ELF header|not a mach-o"),
        (GREETS + TO_OUTPUT + ': > "$2"', "file too short|not a mach-o"),
        ("exec /bin/sleep 60", "has not ended after 1 seconds"),
        (GREETS + "exec /bin/sleep 60", "has not ended after 1 seconds"),
    ],
)
def test_without_a_working_c_compiler_it_says_so_once_and_goes_on(monkeypatch, cc, script, reason):
    if reason.startswith("has not ended"):
        monkeypatch.setattr(compiled, "VERSION_SECONDS", 1)
        monkeypatch.setattr(compiled, "COMPILE_SECONDS", 1)
    if script is not None:
        cc(script)

    with pytest.warns(CompiledLayersMissing, match=reason) as said:
        assert load() is None
        assert cpu_layers() == "PyTorch"
    assert len(said) == 1
    assert "Install a C compiler such as gcc" in str(said[0].message)
    assert "\n" not in str(said[0].message)
    monkeypatch.setattr(compiled, "_cc", lambda *_, **__: pytest.fail("found out again"))
    with silence():  # in a process that it starts
        assert in_another_process() is None


def test_a_compiler_that_may_not_be_executed_is_none(cc, tmp_path):
    cc("")
    (tmp_path / "bin" / "cc").chmod(0o600)

    with pytest.warns(CompiledLayersMissing, match="does not start: Permission denied"):
        assert load() is None


def test_without_any_folder_to_write_to_there_are_no_compiled_layers(monkeypatch, cache, source):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compiled.tempfile, "TemporaryDirectory", full)
    monkeypatch.setattr(compiled, "_own_folder", full)

    with pytest.warns(CompiledLayersMissing, match="No space left on device"):
        assert load() is None


def test_long_errors_are_shortened():
    assert (
        compiled._last_error("\na.c:1:1: fatal error: " + "x" * 1_000 + "\ncompilation terminated.\n")[:14]
        == "a.c:1:1: fatal"
    )
    assert len(compiled._last_error("x" * 1_000)) == 200


def test_pytorch_s_layers_can_be_chosen(monkeypatch, cache, commands):
    monkeypatch.setenv(CHOICE, "pytorch")

    with silence():
        assert cpu_layers() == "PyTorch"
    assert not commands


def test_a_folder_can_be_chosen(monkeypatch, tmp_path, cache, source):
    monkeypatch.setenv(CHOICE, os.fspath(tmp_path / "chosen"))

    with silence():
        assert load().one() == 1
    assert len(list((tmp_path / "chosen").iterdir())) == 1
    assert not cache.exists()


@pytest.mark.parametrize("wrong", ["PyTorch", "compiled", "some/folder"])
def test_another_choice_is_refused(monkeypatch, cache, wrong):
    monkeypatch.setenv(CHOICE, wrong)

    with pytest.raises(InvalidArgument, match=f"{CHOICE} is '{wrong}': it should be pytorch"):
        load()


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_compilers_have_nothing_to_warn_of(tmp_path, compiler):
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}")
    without_openmp = [flag for flag in compiled._flags() if flag != "-fopenmp"]  # as on macOS
    for flags in (compiled._flags(), [*without_openmp, "-fsyntax-only"]):
        command = [compiler, *flags, "-Werror", "-o", tmp_path / "library", *SOURCES, "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_no_other_library_can_take_a_functions_place(tmp_path):
    """All names but the entry points are hidden, and those are nobody else's."""
    if shutil.which("cc") is None or shutil.which("nm") is None:
        pytest.skip("no C compiler, or no nm")
    subprocess.run(["cc", *compiled._flags(), "-O0", "-o", tmp_path / "library", *SOURCES, "-lm"], check=True)
    symbols = subprocess.check_output(["nm", "-D", "--defined-only", tmp_path / "library"], text=True)

    assert sorted(line.split()[-1] for line in symbols.splitlines()) == sorted(FUNCTIONS)


def test_constants_are_those_of_the_header():
    header = compiled.HEADER.read_text()
    enums = [names.split(", ") for names in re.findall(r"^enum \{ (.*) \};$", header, re.MULTILINE)]
    constants = {}
    for names in enums:
        for position, name in enumerate(names):
            name, _, value = name.partition(" = ")
            constants[name] = eval(value, {}, constants) if value else position
    shared = {name: value for name, value in constants.items() if hasattr(compiled, name)}

    assert len(shared) == 15
    assert shared == {name: getattr(compiled, name) for name in shared}


@pytest.mark.parametrize("structure", [compiled.Layer, compiled.Norm])
def test_structures_are_those_of_the_header(structure):
    body = re.search(r"typedef struct \w*\s*\{([^}]*)\} " + structure.__name__, compiled.HEADER.read_text())[1]
    types = {"long": ctypes.c_long, "float": ctypes.c_float, "*": ctypes.c_void_p}
    declared = []
    for declaration in re.sub(r"/\*.*?\*/", "", body, flags=re.DOTALL).split(";")[:-1]:
        kind, names = re.match(r"\s*((?:const |unsigned |struct )*\w+) (.*)", declaration).groups()
        for name in names.split(", "):
            plain = types["*" if "*" in name else kind]
            name, _, length = name.strip("*").removesuffix("]").partition("[")
            declared.append((name, plain * getattr(compiled, length) if length else plain))

    assert declared == structure._fields_


def test_functions_are_declared_as_they_are_defined():
    layer, norm = ctypes.POINTER(Layer), ctypes.POINTER(Norm)
    pointers = {"const Layer *": layer, "Norm *": norm, "const Norm *": norm}
    types = pointers | {"long ": ctypes.c_long, "unsigned ": ctypes.c_uint}
    text = "\n".join(source.read_text() for source in SOURCES)
    defined = re.findall(r"^EXPORTED (\w+) (\w+)\(([^)]*)\)", text, re.MULTILINE)

    assert {name for _, name, _ in defined} == FUNCTIONS.keys()
    for result, name, arguments in defined:
        given = [] if arguments == "void" else re.split(r",\s*", arguments)
        kinds = [types.get(re.sub(r"\w+$", "", argument), ctypes.c_void_p) for argument in given]
        declared, declared_result = FUNCTIONS[name]
        assert declared == kinds
        assert declared_result == {"void": None, "long": ctypes.c_long, "double": ctypes.c_double}[result]


COUNTS = """
import subprocess, sys
calls, run = [], subprocess.run
subprocess.run = lambda command, **options: calls.append(command[0]) or run(command, **options)
"""


def in_a_new_process(program, **environment):
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_an_environment_compiles_nothing_and_changes_no_memory_setting(cache):
    program = (
        COUNTS
        + """
import ctypes, torch
from mnist_s7.results.machine import environment
import mnist_s7.training
ctypes.CDLL = None  # through which memory settings are made
environment(torch.device("cpu"))
assert "cc" not in calls, calls
"""
    )
    in_a_new_process(program, XDG_CACHE_HOME=os.fspath(cache), MNIST_S7_KERNELS="")
    assert not cache.exists()


def test_importing_the_room_loads_no_other():
    program = """
import sys
import mnist_s7.kernels
rooms = {name for name in sys.modules if name.startswith("mnist_s7.") and not name.startswith("mnist_s7.kernels")}
assert not rooms, rooms
assert not {"torchvision", "matplotlib", "pandas", "scipy"} & sys.modules.keys()
"""
    in_a_new_process(program)
