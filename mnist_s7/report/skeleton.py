"""The one skeleton of the iterations' notebooks, and a new iteration that is begun with it."""

import re
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from mnist_s7 import InvalidArgument
from mnist_s7.data import PROJECT
from mnist_s7.experiments import SERIES
from mnist_s7.results import write_together

UNCHANGED = "# NBVAL_CHECK_OUTPUT\n"  # a cell whose output is the same wherever it is executed
TRAINS = "run = fit(NAME, digits, seed=1)\nreport.save(run)"

# A string is text, a tuple a cell of code; NAME stands for the iteration.
# An iteration that others teach has these cells, too.
TEACHER_CELLS = (
    "## Teachers\n\nTODO: who teaches, and why. They look once at every image that the network will be trained on.",
    ("teachers, together = teach(NAME, digits)",),
    ("report.teachers(teachers, together)",),
)
SOFT_TARGETS_CELL = ("report.soft_targets(NAME, run, teachers, digits)",)

SKELETON = (
    "# NAME: TODO its one idea\n\nTODO: what this iteration is for, in two sentences.",
    (
        "from mnist_s7 import NAME, fit, plots, predict_image, pretrained, receptive_field, report\n\n"
        "digits = report.digits()",
    ),
    "## Target",
    ("report.targets(NAME)",),
    "## Change\n\nTODO: what differs from the iteration before, and why it should help.",
    ("report.changes(NAME)",),
    "The iteration as the package has it: what is not named here is as in the iteration before, or a default of "
    "`Experiment`.",
    ("report.source(NAME)",),
    "## Model\n\nThe network that is trained, with the functions that it uses:",
    ("report.source(NAME.network)",),
    "Every layer that changes the feature map: its input, its kernel (height x width x channels in x channels out), "
    "and the height (= width) of its output.",
    (f"{UNCHANGED}report.architecture(NAME)",),
    (f"{UNCHANGED}report.summary(NAME)",),
    "## Receptive field\n\nHow much of the image a unit of each layer sees. Along a chain of layers, with kernel `k`, "
    "stride `s` and dilation `d`,\n\n    r_out = r_in + (k - 1) * d * j_in        j_out = j_in * s\n\nThe jump `j` is "
    "the effective stride: the distance, in pixels of the image, between neighbouring units. `start` is the centre of "
    "the first unit's field.",
    (f"{UNCHANGED}fields = receptive_field(NAME.network())\nfields",),
    ("plots.receptive_fields(fields, digits.test_images[0], digits.name)",),
    "## Data\n\nTODO: how the training images are augmented.",
    (f"{UNCHANGED}NAME.train_transform",),
    ("report.augmentation(NAME, digits)",),
    *TEACHER_CELLS,
    "## Training\n\nEach epoch leaves its progress bar, the test loss and accuracy, and the learning rate where it "
    "changed.",
    (TRAINS,),
    "A rerun must end where the stored runs did: inside the prediction interval for one more seed, which also covers "
    "the rounding of another machine. The next cell fails where it does not.",
    ("report.check_rerun(run)",),
    "## Result",
    ("plots.training_curves(run, target=NAME.goal)",),
    "Each target of the iteration, checked with this one run:",
    ("report.verdicts(NAME, run)",),
    ("plots.confusion_matrix(run, digits.test_labels)",),
    ("plots.accuracy_per_digit(run, digits.test_labels)",),
    ("report.confident_errors(run, digits)",),
    "What the network uses of what it could see: the mean absolute gradient of one central unit with respect to the "
    "pixels, on test images, before training and after. The dashed box is the field of the table above, as far as it "
    "lies in the image.",
    ("report.effective_fields(NAME, run, digits)",),
    SOFT_TARGETS_CELL,
    "## Analysis",
    ("report.analysis(NAME, run)",),
    "Where this run lies among the stored seeds, which are on MNIST, and what all of them say of the targets:",
    ("report.rank_among_seeds(run)",),
    ("report.replication(NAME)",),
    "**Next.** TODO: what this result suggests.",
    "## Try it\n\nThe network of the stored run, on a digit of your own: put the name of a file, a photo of a digit on "
    "paper say, in the place of the test image.",
    ('network = pretrained("NAME")\npicture = digits.test_images[0]  # or a file: picture = "my_digit.jpg"',),
    ("plots.predictions([(picture, predict_image(network, picture))])",),
)

ENTRY = """{name} = replace(
    {before},
    name="{name}",
    title="TODO: its one idea",
    change="TODO: what differs from {before}",  # and the settings that do, such as network=MnistNet_6, lr=0.1
    goal=HEADLINE,  # percent of test images that are to be right
    targets=(claims.of_recipe("fewer than 8K parameters", claims.parameters(8_000)),),
    claims=(),
    reference=None,
)

"""

HEADING = """### {name}: TODO its one idea

<!-- begin {name} -->
<!-- end {name} -->

"""


def notebook(name: str) -> nbformat.NotebookNode:
    """The notebook of an iteration as the skeleton has it, not executed. One that is begun has teachers where the last
    of the series has, whose settings it begins with."""
    taught = next((each for each in SERIES if each.name == name), SERIES[-1]).distillation is not None
    parts = [part for part in SKELETON if taught or part not in (*TEACHER_CELLS, SOFT_TARGETS_CELL)]
    cells = []
    for number, part in enumerate(parts):
        text = (part[0] if isinstance(part, tuple) else part).replace("NAME", name)
        if taught:
            text = text.replace("receptive_field, report\n", "receptive_field, report, teach\n")
            text = text.replace(f"target={name}.goal)", f"target={name}.goal, soft_targets=True)")
        cell = new_code_cell(text) if isinstance(part, tuple) else new_markdown_cell(text)
        cell.id = f"cell-{number:02}"
        if part == (TRAINS,):
            cell.metadata.tags = ["training"]
        cells.append(cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def begin(name: str, project: Path = PROJECT) -> list[Path]:
    """Begin the iteration `name`, which follows the last one of the series: its notebook, its entry in `experiments`,
    its name in the package, and its heading in the README, all together. Returns the files that were written.

    Raises `InvalidArgument` for another name, where there is no working copy, and where a file is not as expected;
    then nothing is written.
    """
    before = SERIES[-1].name
    expected = f"T{int(before[1:]) + 1}"
    if name != expected:
        raise InvalidArgument(f"the series ends with {before}: the next iteration is {expected}, and not {name}")
    package = project / "mnist_s7"
    path = project / "notebooks" / f"MNIST_S7_{name}.ipynb"
    if not path.parent.is_dir() or not (project / "pyproject.toml").exists():
        raise InvalidArgument(f"{project} is no working copy of the repository: an iteration is begun in one")
    if path.exists():
        raise InvalidArgument(f"{path} is there already: move it, or go on with it")
    names = {"name": name, "before": before}
    files = {
        package / "experiments.py": ((rf"^SERIES = \(.*{before}", ENTRY.format(**names), f", {name}"),),
        package / "__init__.py": ((rf'"{before}"', "", f', "{name}"'),),
        project / "README.md": ((r"^## Receptive fields$", HEADING.format(**names), ""),),
    }
    written = {file: _edited(file, edits) for file, edits in files.items()}
    write_together(written | {path: nbformat.writes(notebook(name)) + "\n"})
    return [path, *written]


def _edited(path: Path, edits: tuple[tuple[str, str, str], ...]) -> str:
    """The file's text with something put before and after what each pattern finds, once."""
    text = path.read_text(encoding="utf-8")
    for pattern, before, after in edits:
        text, count = re.subn(
            pattern, lambda found, ends=(before, after): ends[0] + found[0] + ends[1], text, flags=re.M
        )
        if count != 1:
            raise InvalidArgument(f"{path}: {pattern!r} is there {count} times, and should be once")
    return text
