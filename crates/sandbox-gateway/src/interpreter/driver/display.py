"""Representations of a value by MIME type, by the methods that IPython defines for them."""

import base64
import json
import sys
import traceback

METHODS = (
    ("text/html", "_repr_html_"),
    ("text/markdown", "_repr_markdown_"),
    ("image/svg+xml", "_repr_svg_"),
    ("image/png", "_repr_png_"),
    ("image/jpeg", "_repr_jpeg_"),
    ("application/pdf", "_repr_pdf_"),
    ("text/latex", "_repr_latex_"),
    ("application/json", "_repr_json_"),
    ("application/javascript", "_repr_javascript_"),
)

_link = None


def install(link):
    global _link
    _link = link


def display(*values, raw=False):
    """Shows values in the order of the output. With `raw`, they are dictionaries by MIME type."""
    for value in values:
        if raw:
            _link.emit_bundle({mime: to_text(part) for mime, part in value.items()}, is_main=False)
        else:
            show(value, is_main=False)


def show(value, is_main):
    _link.emit_bundle(represent(value), is_main)


def represent(value):
    """Returns the representations of a value. A method that fails costs its own representation, and says so."""
    bundle = {}
    if not isinstance(value, type):
        bundle.update(call_bundle(value))
        for mime, name in METHODS:
            if mime not in bundle:
                part = call(value, name)
                if part is not None:
                    bundle[mime] = to_text(part)
        bundle.update({mime: part for mime, part in known_types(value).items() if mime not in bundle})
    if "text/plain" not in bundle:
        try:
            bundle["text/plain"] = repr(value)
        except Exception:
            traceback.print_exc()
            bundle["text/plain"] = object.__repr__(value)
    return bundle


def call_bundle(value):
    """Returns what `_repr_mimebundle_` gives: a dictionary, or a pair of it and metadata."""
    try:
        method = getattr(value, "_repr_mimebundle_", None)
        # An object may claim to have every attribute.
        if not callable(method) or callable(getattr(value, "_no_such_method_", None)):
            return {}
        bundle = method(include=None, exclude=None)
    except Exception:
        traceback.print_exc()
        return {}
    if isinstance(bundle, tuple) and bundle:
        bundle = bundle[0]
    if not isinstance(bundle, dict):
        return {}
    return {str(mime): to_text(part) for mime, part in bundle.items() if part is not None}


def call(value, name):
    """Calls a method of the value if it has one. It may return a pair of data and metadata."""
    try:
        method = getattr(value, name, None)
        if not callable(method) or callable(getattr(value, "_no_such_method_", None)):
            return None
        part = method()
    except NotImplementedError:
        return None
    except Exception:
        traceback.print_exc()
        return None
    if isinstance(part, tuple) and len(part) == 2 and isinstance(part[1], dict):
        part = part[0]
    return part


def to_text(part):
    """Images are sent as base64, and JSON as it is."""
    if isinstance(part, (bytes, bytearray)):
        return base64.b64encode(part).decode("ascii")
    if isinstance(part, (str, dict, list, int, float, bool)):
        return part
    return str(part)


def known_types(value):
    """Representations of types that have no method for them."""
    if isinstance(value, (dict, list)):
        try:
            return {"application/json": json.loads(json.dumps(value, allow_nan=False))}
        except (TypeError, ValueError, RecursionError):
            return {}
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, getattr(pandas, "DataFrame", ())):
        try:
            columns = value.to_dict(orient="list")
            return {"e2b/data": json.loads(json.dumps(columns, default=str))}
        except (TypeError, ValueError):
            return {}
    figure = sys.modules.get("matplotlib.figure")
    if figure is not None and isinstance(value, getattr(figure, "Figure", ())):
        from . import figures

        bundle = {"image/png": to_text(figures.draw(value))}
        chart = figures.chart(value)
        if chart is not None:
            bundle["e2b/chart"] = chart
        return bundle
    return {}
