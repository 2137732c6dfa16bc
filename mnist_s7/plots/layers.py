"""The figure of what each layer costs."""

from matplotlib.figure import Figure

from mnist_s7.bench import LayerCosts
from mnist_s7.plots.style import BLUE, INK, ORANGE, Picture, plain_axes, say

HEIGHT = 0.42  # inches of a layer


def layers_figure(costs: LayerCosts) -> Figure:
    """A bar for each layer's forward and backward pass, with a line where the bound of it is."""
    title = f"{costs.experiment}: milliseconds of each layer in a step on {costs.batch_size} images, one core"
    figure = Picture(1.6 + HEIGHT * len(costs.layers), title)
    ax = figure.add_subplot()
    longest = 1e3 * max(each.seconds for each in costs.passes)
    for i, layer in enumerate(costs.layers):
        for each, y, colour in ((layer.forward, i - 0.2, BLUE), (layer.backward, i + 0.2, ORANGE)):
            bound, ms = 1e3 * each.bound(costs.peak, costs.bandwidth), 1e3 * each.seconds
            ax.barh(y, ms, 0.36, color=colour)
            ax.plot([bound, bound], [y - 0.18, y + 0.18], color=INK, linewidth=1.5)
            if ms > 0.02 * longest:
                say(ax, f"{ms:.2f}", ms, y, dx=4, size=7)
    ax.barh([0], [0], color=BLUE, label="forward")
    ax.barh([0], [0], color=ORANGE, label="backward")
    ax.plot([], [], color=INK, linewidth=1.5, label="bound: arithmetic at the peak, or memory")
    ax.set_yticks(range(len(costs.layers)), [layer.name for layer in costs.layers], fontsize=7)
    ax.invert_yaxis()
    ax.set_xlim(0, 1.1 * longest)
    ax.legend(frameon=False, fontsize=8, loc="lower right")
    plain_axes(ax, xlabel="milliseconds (medians)", grid="x")
    return figure
