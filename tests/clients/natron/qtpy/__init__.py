"""Stands in for Natron's Qt."""
