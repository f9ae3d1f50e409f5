"""Timers, which a test lets run."""

waiting = []


class QTimer:
    @staticmethod
    def singleShot(milliseconds, function):
        if type(milliseconds) is not int or not callable(function):
            raise TypeError("singleShot called with wrong argument types")
        waiting.append(function)
