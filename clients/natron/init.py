# Natron runs this when it starts, with or without a window. Projects have nodes with pools, and the stock entries,
# scripts and the nodes' own buttons send them: from here on, with their pools. Natron 2.4 with its Python 2.7 can load
# this too.

import afanasy_pools  # noqa: F401 - the menu's commands call it by this name
