"""One HTML file that shows the series, and whose networks classify what one draws in it.

May import `export`, and whatever holds results and figures. Open `build` first, which fills `page.html` with what
`content` says of each experiment, what `networks` makes of each network, and what `bundle` makes of the scripts. These
are ES modules in `js`: `main` brings the page to life, `draw` is the panel to draw in, `network` runs a network,
`preprocessing` makes a drawing an image as MNIST's are, as the room `images` does, and `tables` sorts. `fields` is the
panel of receptive fields, from what the module `fields` here makes; `gradient` goes back through a network, and
`effective` makes of gradients what the room `receptive_field` does. Styles are in `css`.
"""

from mnist_s7.page.build import page, write_page
from mnist_s7.page.fields import digit_data, field_data
from mnist_s7.page.networks import NotInBrowser, network_data

__all__ = ["NotInBrowser", "digit_data", "field_data", "network_data", "page", "write_page"]
