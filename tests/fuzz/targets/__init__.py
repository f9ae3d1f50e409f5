"""All targets, by name."""

from . import configuration, credentials, documents, farm, imports, masks, wire

TARGETS = {
    target.name: target
    for module in (wire, farm, configuration, credentials, imports, masks, documents)
    for target in module.TARGETS
}
