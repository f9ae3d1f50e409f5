# Run by Natron when its window starts: the menu entries. Natron 2.4 with its Python 2.7 can read it, too; all it can do
# then is say that it is too old.

import NatronGui

NatronGui.natron.addMenuCommand("CGRU/Afanasy Node (pools)", "import afanasy_pools; afanasy_pools.createNode(app)")
NatronGui.natron.addMenuCommand(
    "CGRU/Render Selected (pools)...", "import afanasy_pools; afanasy_pools.renderSelected(app)"
)
