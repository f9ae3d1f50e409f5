"""Stands where the Qt of Natron stands."""
