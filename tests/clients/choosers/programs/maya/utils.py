"""Stands in for Maya's idle queue."""

import maya


def executeDeferred(function):
    maya.deferred.append(function)
