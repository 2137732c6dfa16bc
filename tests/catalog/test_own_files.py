"""A reader's experiments, in files of their own."""

import pickle
import subprocess
import sys

import pytest
from example_networks import EXPERIMENT, NETWORK

from mnist_s7 import T3, ExperimentFileError, InvalidArgument, NetworkUnfit, find_experiment, fit
from mnist_s7.catalog import EXPERIMENTS, origin_of


def test_an_experiment_is_found_by_its_name(own_file):
    path = own_file(NETWORK, EXPERIMENT)

    experiment = find_experiment(f"{path}:MINE")

    assert (experiment.name, experiment.lr, experiment.momentum) == ("MINE", 0.02, T3.momentum)
    assert EXPERIMENTS["MINE"] is experiment
    assert find_experiment("MINE") is experiment


def test_nothing_that_is_said_of_an_iteration_is_said_of_what_was_made_from_it(own_file):
    experiment = find_experiment(f"{own_file(NETWORK, EXPERIMENT)}:MINE")

    assert experiment.title == "MINE"
    assert experiment.change == "a network of my_net.py"
    assert experiment.targets == experiment.claims == ()
    assert experiment.reference is None


def test_what_an_experiment_says_of_itself_stays(own_file):
    own = EXPERIMENT.replace("lr=0.02", "title='small', change='one layer', goal=97.0")

    experiment = find_experiment(f"{own_file(NETWORK, own)}:MINE")

    assert (experiment.title, experiment.change, experiment.goal) == ("small", "one layer", 97.0)


def test_a_network_alone_is_trained_by_t3s_recipe(own_file, few_digits):
    experiment = find_experiment(str(own_file(NETWORK)))

    assert experiment.name == "Net"
    assert experiment.recipe == T3.recipe
    run = fit(experiment, few_digits, epochs=1, device="cpu", progress=False)
    assert run.experiment == "Net"
    assert run.parameters == 8 * 9 + 8 + 8 * 16 * 10 + 10


def test_an_experiment_that_kept_the_iterations_name_gets_its_own(own_file):
    path = own_file(NETWORK, EXPERIMENT.replace('name="MINE", ', ""))

    assert find_experiment(f"{path}:MINE").name == "MINE"


@pytest.mark.parametrize("name", ["T2", "T3-no-batchnorm"])
def test_a_name_of_the_package_is_refused(own_file, name):
    path = own_file(NETWORK.replace("class Net", f"class {name.replace('-', '_').replace('.', '_')}"))
    if name == "T2":
        with pytest.raises(InvalidArgument, match="named T2, which is one of the package's; give it another name"):
            find_experiment(f"{path}:T2")
    else:
        path = own_file(NETWORK, EXPERIMENT.replace('"MINE"', f'"{name}"'))
        with pytest.raises(InvalidArgument, match=f"named {name}, which is one of the package's"):
            find_experiment(f"{path}:MINE")
    assert EXPERIMENTS["T2"].title == "BatchNorm, dropout, rotations"


def fingerprint(path):
    """In a process that has loaded nothing of it before."""
    program = f"from mnist_s7 import find_experiment; print(find_experiment('{path}:MINE').fingerprint)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return answer.stdout.strip()


CHANGED = {
    "the forward": ("F.relu(x)", "F.silu(x)"),
    "a layer": ("stride=2", "stride=1"),
    "a constant": ("WIDTH = 8", "WIDTH = 6"),
    "the way it sums up": ("adaptive_max_pool2d", "adaptive_avg_pool2d"),
    "a setting": ("lr=0.02", "lr=0.03"),
    "a constant, changed later": ("WIDTH = 8", "WIDTH = 4\n    WIDTH *= 2"),
    "a constant under a condition": ("WIDTH = 8", "WIDTH = 8\n    if WIDTH:\n        WIDTH = WIDTH + 0"),
    "a method, put in later": (
        "MINE = ",
        "def later(self, x):\n        x = F.max_pool2d(self.conv(x), 3)\n        "
        "return F.log_softmax(self.head(x.flatten(1)), 1)\n    Net.forward = later\n    MINE = ",
    ),
}
SAME = {
    "a comment": ("WIDTH = 8", "WIDTH = 8  # few"),
    "a docstring": ("def activate(x):", 'def activate(x):\n        """Positive."""'),
    "layout": ("F.relu(x)", "F.relu(\n            x\n        )"),
    "something that it does not use": ("WIDTH = 8", "WIDTH = 8\n    HEIGHT = 3"),
}


@pytest.mark.parametrize("what", CHANGED | SAME)
def test_the_fingerprint_is_of_what_the_experiment_does(own_file, what):
    before, after = (CHANGED | SAME)[what]
    old = find_experiment(f"{own_file(NETWORK, EXPERIMENT)}:MINE").fingerprint

    changed = own_file((NETWORK + EXPERIMENT).replace(before, after))
    new = find_experiment(f"{changed}:MINE").fingerprint

    assert (new == old) == (what in SAME)


SCALED = """
    from functools import partial

    class Scaled(Net):
        def __init__(self, scale):
            super().__init__()
            self.scale = scale

        def forward(self, x):
            return super().forward(self.scale * x)

    MINE = replace(T3, name="MINE", network=partial(Scaled, 2.0))
"""


def test_the_fingerprint_is_of_what_a_network_is_told(own_file):
    first = fingerprint(own_file(NETWORK, EXPERIMENT, SCALED))

    assert fingerprint(own_file(NETWORK, EXPERIMENT, SCALED)) == first
    assert fingerprint(own_file(NETWORK, EXPERIMENT, SCALED.replace("2.0", "3.0"))) != first


def test_the_fingerprint_is_also_of_what_is_imported_from_beside(own_file):
    beside = "import deeper\ndef activate(x):\n    return deeper.activate(x)"
    deeper = "import torch.nn.functional as F\ndef activate(x):\n    return F.relu(x)"
    network = NETWORK.replace("def activate(x):\n        return F.relu(x)", "from beside import activate")
    assert "from beside" in network
    own_file(beside, name="beside.py")
    own_file(deeper, name="deeper.py")
    first = fingerprint(own_file(network, EXPERIMENT))

    own_file(deeper.replace("relu", "silu"), name="deeper.py")

    assert fingerprint(own_file(network, EXPERIMENT)) != first


def test_the_fingerprint_is_the_same_in_another_process(own_file):
    path = own_file(NETWORK, EXPERIMENT)

    assert fingerprint(path) == find_experiment(f"{path}:MINE").fingerprint


def test_another_process_can_have_it_without_the_file(own_file):
    path = own_file(NETWORK, EXPERIMENT)
    expected = find_experiment(f"{path}:MINE", ["lr=0.5"])
    origin = pickle.dumps(origin_of(expected.name))
    path.unlink()
    program = f"import pickle; made = pickle.loads({origin!r}).experiment(); print(made.name, made.fingerprint)"

    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert answer.stdout.split() == ["MINE-lr=0.5", expected.fingerprint]


def test_a_variant_of_an_own_experiment_is_one_of_its_file(own_file):
    path = own_file(NETWORK, EXPERIMENT)
    find_experiment(f"{path}:MINE")

    variant = find_experiment("MINE", ["epochs=3"])

    assert (variant.name, variant.epochs) == ("MINE-epochs=3", 3)
    assert origin_of(variant.name).text == path.read_text()
    assert find_experiment("MINE-epochs=3", ["lr=0.5"]).lr == 0.5


def test_two_files_cannot_have_experiments_of_one_name(own_file):
    one, other = own_file(NETWORK, EXPERIMENT), own_file(NETWORK, EXPERIMENT, name="other.py")
    find_experiment(f"{one}:MINE")

    with pytest.raises(InvalidArgument, match="other.py:MINE and .*my_net.py:MINE are both named MINE"):
        find_experiment(f"{other}:MINE")
    assert find_experiment(str(own_file(NETWORK))).name == "Net"
    twins = own_file(NETWORK, EXPERIMENT, "TWIN = replace(T3, name='MINE', network=Net, lr=0.01)")
    find_experiment(f"{twins}:MINE")
    with pytest.raises(InvalidArgument, match="my_net.py:TWIN and .*my_net.py:MINE are both named MINE"):
        find_experiment(f"{twins}:TWIN")


def test_two_files_beside_which_are_modules_of_one_name_are_not_confused(own_file, tmp_path):
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        own_file("VALUE = 0.01", name=f"{folder}/beside_both.py")
        own_file(NETWORK, "from beside_both import VALUE", EXPERIMENT.replace("MINE", folder), name=f"{folder}/net.py")
    find_experiment(f"{tmp_path / 'one' / 'net.py'}:one")

    with pytest.raises(ExperimentFileError, match="imports beside_both, and got another module of that name"):
        find_experiment(f"{tmp_path / 'other' / 'net.py'}:other")


def test_a_file_with_a_byte_order_mark_is_read(own_file):
    path = own_file(NETWORK)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())

    assert find_experiment(str(path)).name == "Net"


def test_a_network_that_is_built_once_for_all_is_refused(own_file):
    path = own_file(NETWORK, "ONE = Net()", EXPERIMENT.replace("network=Net", "network=lambda: ONE"))

    with pytest.raises(NetworkUnfit, match="is built once and for all: every run needs a new one"):
        find_experiment(f"{path}:MINE")


def test_what_is_beside_the_file_can_be_imported(own_file):
    own_file("VALUE = 0.01", name="beside_my_net.py")
    path = own_file(NETWORK, "from beside_my_net import VALUE", EXPERIMENT.replace("lr=0.02", "lr=VALUE"))

    assert find_experiment(f"{path}:MINE").lr == 0.01


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("x = (", "MINE", r"my_net.py, line 1: SyntaxError"),
        ("\n1 / 0", "MINE", r"my_net.py, line 2: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)", "MINE", r"my_net.py, line 2: SystemExit: 3"),
        ("import no_such_module", "MINE", r"my_net.py, line 1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("x = 1", "MINE", "holds no Experiment and no nn.Module class, and no MINE"),
        ("x = 1", "", "holds no Experiment and no nn.Module class; write one of the two"),
        ("from mnist_s7 import T3, MnistNet_3", "", "holds no Experiment and no nn.Module class"),
        (NETWORK + EXPERIMENT, "OTHER", "holds the experiments and networks MINE, Net, and no OTHER"),
        (NETWORK + EXPERIMENT, "", r"holds the experiments and networks MINE, Net; name one, as .*my_net.py:NAME"),
    ],
)
def test_a_file_without_the_experiment_says_what_is_wrong(own_file, text, name, message):
    path = own_file(text)

    with pytest.raises(ExperimentFileError, match=message):
        find_experiment(f"{path}:{name}" if name else str(path))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ExperimentFileError, match="nowhere.py: cannot be read"):
        find_experiment(f"{tmp_path / 'nowhere.py'}:MINE")
    (tmp_path / "latin.py").write_bytes(b"name = '\xe9'")
    with pytest.raises(ExperimentFileError, match="latin.py: not a Python file in UTF-8"):
        find_experiment(f"{tmp_path / 'latin.py'}:MINE")


FORWARD = "return F.log_softmax(self.head(x.flatten(1)), dim=1)"
UNFIT = {
    "wrong shape": (
        "nn.Linear(WIDTH * 16, 10)",
        "nn.Linear(WIDTH * 16, 5)",
        r"Net gives \(3, 5\) for 3 images: \(3, 10\) is",
    ),
    "logits": (FORWARD, "return self.head(x.flatten(1))", "Net gives logits in evaluation mode"),
    "probabilities": ("F.log_softmax", "F.softmax", "gives probabilities .* instead of softmax"),
    "NaN": ("activate(self.conv(x))", "(self.conv(x) * 0 / 0)", "Net gives NaN for ordinary images in evaluation mode"),
    "NaN in training": (
        "activate(self.conv(x))",
        "(self.conv(x) + (float('nan') if self.training else 0))",
        "Net gives NaN for ordinary images in training mode",
    ),
    "larger images": (
        "nn.Conv2d(1, WIDTH, 3, stride=2)",
        "nn.Conv2d(1, WIDTH, 32)",
        r"cannot take MNIST's images.*\(32 x 32\).*28x28 pixels",
    ),
    "colours": (
        "nn.Conv2d(1, ",
        "nn.Conv2d(3, ",
        r"cannot take MNIST's images, of shape \(3, 1, 28, 28\): RuntimeError",
    ),
    "another batch size": (FORWARD, f"x = x.view(64, -1)\n            {FORWARD}", "cannot take MNIST's images"),
    "a tuple": (FORWARD, f"{FORWARD}, x", "gives a tuple in evaluation mode: a tensor"),
    "detached": (FORWARD, f"{FORWARD}.detach()", "does not depend on its parameters"),
    "an argument": (
        "def __init__(self)",
        "def __init__(self, width)",
        r"Net\(\) fails: TypeError: .*'width'; it is called",
    ),
    "a seed": ("super().__init__()", "super().__init__(); import torch; torch.manual_seed(0)", "sets PyTorch's seed"),
    "lazy": ("nn.Linear(WIDTH * 16, 10)", "nn.LazyLinear(10)", "has lazy layers"),
    "one picture": (
        FORWARD,
        FORWARD.replace("self.head(", "self.head(")
        .replace("dim=1", "dim=-1")
        .replace("x.flatten(1)", "x.flatten(1).squeeze()"),
        r"gives \(10,\) for 1 images",
    ),
    "a step that cannot go back": (
        FORWARD,
        f"self.head.weight.data = self.head.weight.data; y = x.exp(); y.mul_(2)\n"
        f"            {FORWARD.replace('x.flatten', 'y.flatten')}",
        "modified by an inplace operation",
    ),
    "exits": ("super().__init__()", "super().__init__(); raise SystemExit('bye')", r"Net\(\) fails: SystemExit: bye"),
    "no forward": ("def forward", "def backward", "cannot take MNIST's images, .*NotImplementedError"),
}


@pytest.mark.parametrize("what", UNFIT)
def test_a_network_that_cannot_work_is_told_by_name(own_file, what):
    before, after, message = UNFIT[what]
    assert before in NETWORK
    path = own_file(NETWORK.replace(before, after))

    with pytest.raises(
        NetworkUnfit, match=message if what in ("an argument", "exits") else f"^Net .*{message.removeprefix('Net ')}"
    ):
        find_experiment(str(path))
    assert "Net" not in EXPERIMENTS


def test_a_network_without_parameters_is_told(own_file):
    path = own_file(
        """
        from torch import nn

        class Empty(nn.Module):
            def forward(self, x):
                return x.flatten(1)[:, :10].log_softmax(1)
        """
    )

    with pytest.raises(NetworkUnfit, match="Empty has no parameter that can be trained"):
        find_experiment(str(path))
