"""Machines in a network: which addresses may be scanned, and who answers there."""
