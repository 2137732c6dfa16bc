"""The source of classes, told apart by what it says."""

import subprocess
import sys

PROGRAM = """
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()

def fingerprint(forward):
    shell.run_cell(f'''
from dataclasses import replace
from torch import nn
from mnist_s7 import T3

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(784, 10)

    def forward(self, x):
        {forward}

found = replace(T3, name="mine", network=Net).fingerprint
''').raise_error()
    return shell.user_ns["found"]

first = fingerprint("return self.layer(x.flatten(1)).log_softmax(1)")
again = fingerprint("return self.layer(x.flatten(1)).log_softmax(1)  # the same")
other = fingerprint("return self.layer(x.flatten(1).relu()).log_softmax(1)")
print(first == again, first == other)
"""


def test_a_network_in_a_notebooks_cell_is_told_by_its_methods():
    answer = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)

    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split()[-2:] == ["True", "False"]
