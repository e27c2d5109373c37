"""Figures of matplotlib, where it is installed: shown when `show` is called, and else at the end of a cell."""

import importlib.abc
import importlib.machinery
import io
import os
import sys

_display = None


def install(display):
    global _display
    _display = display
    # Child processes have no screen either.
    os.environ.setdefault("MPLBACKEND", "agg")
    sys.meta_path.insert(0, PyplotFinder())


class PyplotFinder(importlib.abc.MetaPathFinder):
    """Replaces `matplotlib.pyplot.show` once that module is imported."""

    def find_spec(self, name, path, target=None):
        if name != "matplotlib.pyplot":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module):
                load(module)
                module.show = show

            spec.loader.exec_module = exec_module
        return spec


def show(*_args, **_options):
    """Displays all open figures, and closes them."""
    show_open()


def show_open():
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None or not hasattr(pyplot, "get_fignums"):
        return
    try:
        for number in pyplot.get_fignums():
            figure = pyplot.figure(number)
            # A figure on which nothing was drawn is not shown.
            if figure.get_axes() or figure.lines or figure.images or figure.texts:
                _display(figure)
    finally:
        pyplot.close("all")


def chart(figure):
    """Returns what the figure shows as data, or None if that cannot be said."""
    from . import charts

    try:
        return charts.describe(figure)
    except Exception:
        # A figure may contain anything. It is shown as an image in any case.
        return None


def draw(figure):
    """Returns the figure as PNG."""
    data = io.BytesIO()
    figure.savefig(data, format="png", bbox_inches="tight")
    return data.getvalue()
