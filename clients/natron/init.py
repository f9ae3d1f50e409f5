# Run by Natron when it starts, with a window or without. Projects have nodes with pools, and the stock entries, scripts
# and the nodes' own buttons send them: from here on they do so with the pools. Natron 2.4 with its Python 2.7 can read
# it, too.

import afanasy_pools  # noqa: F401 - the menu's commands call it by this name
