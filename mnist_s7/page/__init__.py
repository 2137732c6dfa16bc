"""One HTML file that shows the series, and whose networks classify what one draws in it.

May import `export`, and whatever holds results and figures. Open `build` first, which fills `page.html` with what
`content` says of each experiment and `measured` of its runs, what `networks` and `fields` make of each network, and
what `bundle` makes of the scripts. These are ES modules in `js`: `main` brings the page to life, and puts each panel
in its place: `draw`, `curves`, `comparison`, `parameters` and `fields`. `charts` draws by Vega-Lite, `network` runs a
network, `gradient` goes back through it, and `preprocessing` makes a drawing an image as MNIST's are, as the room
`images` does. Styles are in `css`. `without_script` has what stands there where JavaScript is off.
"""

from mnist_s7.page.build import page, write_page
from mnist_s7.page.fields import digit_data, field_data
from mnist_s7.page.networks import NotInBrowser, network_data
from mnist_s7.page.shown import Network, networks_of

__all__ = [
    "Network",
    "NotInBrowser",
    "digit_data",
    "field_data",
    "network_data",
    "networks_of",
    "page",
    "write_page",
]
