"""How far back into the image a unit of a network looks.

    table = receptive_field(model, input_size=(1, 28, 28))
    print(table)                                  # a row for each layer that moves or widens the field
    table.receptive_field                         # 28
    table.box("conv1", (0, 0)).clipped            # ((0, 2), (0, 2)): rows 0 to 2, columns 0 to 2

`receptive_field` runs the model once and follows each tensor through the torch functions that are really called.
`gradient_receptive_field` finds the same boxes from gradients alone, and `effective_receptive_field` shows which part
of its field a unit really uses (Luo et al. 2016, arXiv:1701.04128).

Pixels are counted from 0, and pixel 0 has its centre at 0: a 3-wide convolution without padding starts at 1.

Imports torch alone, and nothing of the package. Open `axes` first, what is known along one axis of a feature map; then
`fields`, what is known of the whole, and `windows`; `layers`, `views`, `merges` and `pieces`, what functions do to it;
`functions`, which function has which rule; `calls` and `tracing`, which functions a model calls; `calculator` and
`table`, how that is asked for and shown; and last `gradients` and `effective`.
"""

import sys
from types import ModuleType

from mnist_s7.receptive_field.calculator import receptive_field
from mnist_s7.receptive_field.effective import EffectiveField, effective_receptive_field
from mnist_s7.receptive_field.errors import ReceptiveFieldError, UnequalJumps, UnsupportedLayer
from mnist_s7.receptive_field.fields import UnitBox
from mnist_s7.receptive_field.gradients import GradientField, gradient_receptive_field
from mnist_s7.receptive_field.table import ReceptiveFieldTable, Row

__all__ = [
    "EffectiveField",
    "GradientField",
    "ReceptiveFieldError",
    "ReceptiveFieldTable",
    "Row",
    "UnequalJumps",
    "UnitBox",
    "UnsupportedLayer",
    "effective_receptive_field",
    "gradient_receptive_field",
    "receptive_field",
]


class _Callable(ModuleType):
    """This room and its main function have one name: `mnist_s7.receptive_field(model)` calls the function."""

    __call__ = staticmethod(receptive_field)


sys.modules[__name__].__class__ = _Callable
