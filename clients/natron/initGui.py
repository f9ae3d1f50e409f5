# Natron runs this when its window starts: it adds the menu entries. Natron 2.4 with its Python 2.7 can load it too, but
# the entries only say that it is too old.

import NatronGui

NatronGui.natron.addMenuCommand("CGRU/Afanasy Node (pools)", "import afanasy_pools; afanasy_pools.createNode(app)")
NatronGui.natron.addMenuCommand(
    "CGRU/Render Selected (pools)...", "import afanasy_pools; afanasy_pools.renderSelected(app)"
)
