"""One HTML file that shows the series, and whose networks classify what one draws in it.

May import `export` and whatever holds results and figures. Open `networks` first: a network as data that JavaScript
runs. The scripts are ES modules in `js`: `network` runs such data, `preprocessing` makes a drawing an image as MNIST's
are, as the room `images` does, and `draw` is the panel to draw in, whose styles are in `css`.
"""

from mnist_s7.page.networks import NotInBrowser, network_data

__all__ = ["NotInBrowser", "network_data"]
