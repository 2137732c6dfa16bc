"""Training steps as CUDA graphs: a step of these networks is some hundred short kernels, and starting them one by one
takes longer than they do."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Generator, Tensor, nn

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
EAGER_STEPS = 3  # before a capture: PyTorch's own advice, for what libraries set up in their first calls


class CapturedStep:
    """A training step as a CUDA graph: all its kernels started at once.

    A graph holds the shapes and the optimiser's settings that it was captured with. So there is one for each shape, and
    all are captured again when the learning rate or another setting changes. The first steps of each, which prepare the
    capture, are done without it. Where a capture fails, so are all.
    """

    def __init__(self, step: Step, model: nn.Module, optimizer: torch.optim.Optimizer):
        self.step, self.model, self.optimizer = step, model, optimizer
        self.works = True
        self._start([])

    def __call__(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        groups = self.optimizer.param_groups
        settings = [{name: value for name, value in group.items() if name != "params"} for group in groups]
        if settings != self.settings:
            self._start(settings)
        shape = inputs.shape
        if shape not in self.graphs:
            if not self.works or self.eager_steps[shape] < EAGER_STEPS:
                self.eager_steps[shape] += 1
                return self.step(inputs, labels)
            own_inputs, own_labels = inputs.clone(), labels.clone()
            try:
                replay, loss, correct = capture(lambda: self.step(own_inputs, own_labels), self._generators())
            except RuntimeError:
                self.works = False
                return self.step(inputs, labels)
            self.graphs[shape] = own_inputs, own_labels, replay, loss, correct
        own_inputs, own_labels, replay, loss, correct = self.graphs[shape]
        own_inputs.copy_(inputs)
        own_labels.copy_(labels)
        replay()
        return loss.clone(), correct.clone()  # the next replay writes over them

    def _start(self, settings: list[dict]) -> None:
        """Without a graph, with these settings of the optimiser's."""
        self.settings, self.eager_steps = settings, Counter()
        self.graphs: dict[torch.Size, tuple[Tensor, Tensor, Callable[[], None], Tensor, Tensor]] = {}

    def _generators(self) -> list[Generator]:
        """Those that layers draw from besides the global one, which a graph knows of."""
        layers = (layer for layer in self.model.modules() if hasattr(layer, "generators"))
        return list({id(generator): generator for layer in layers for generator in layer.generators}.values())


def capture(
    function: Callable[[], tuple[Tensor, Tensor]], generators: list[Generator]
) -> tuple[Callable[[], None], Tensor, Tensor]:
    """Record `function`'s kernels without running them: a call that runs them, and the tensors that it writes."""
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        loss, correct = function()
    return graph.replay, loss, correct


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """On a GPU, a stream besides the default one, whose work cannot be captured. It waits for that, and that for it."""
    if device.type != "cuda":
        yield
        return
    outer, stream = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    stream.wait_stream(outer)
    with torch.cuda.stream(stream):
        yield
    outer.wait_stream(stream)
