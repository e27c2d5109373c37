"""What a figure of matplotlib shows, as data: the charts that E2B's clients know."""

import math
import re

# A unit in a label, such as "Time (s)" or "Speed [m/s]".
UNIT = re.compile(r"\s\((.*?)\)|\[(.*?)\]")
# How far two positions may be apart that are meant to be the same, as a part of the range that is shown.
TOLERANCE = 1e-6


def describe(figure):
    """Returns the chart of a figure, a chart of charts if it has several axes, or None if it has none."""
    axes = [axes for axes in figure.get_axes() if axes.get_label() != "<colorbar>"]
    if not axes:
        return None
    # The labels of ticks have a text once they are drawn.
    if hasattr(figure, "draw_without_rendering"):
        figure.draw_without_rendering()
    else:
        figure.canvas.draw()
    charts = [describe_axes(one) for one in axes]
    if len(charts) == 1:
        return charts[0]
    title = getattr(figure, "_suptitle", None)
    return {"type": "superchart", "title": title.get_text() if title else None, "elements": charts}


def describe_axes(axes):
    for describe_kind in (describe_pie, describe_boxes, describe_bars, describe_points):
        chart = describe_kind(axes)
        if chart is not None:
            return chart
    return {"type": "unknown", "title": axes.get_title() or None, "elements": []}


def describe_pie(axes):
    from matplotlib.patches import Wedge

    wedges = [patch for patch in axes.patches if isinstance(patch, Wedge)]
    if not wedges:
        return None
    elements = [
        {"label": wedge.get_label(), "angle": number(wedge.theta2 - wedge.theta1), "radius": number(wedge.r)}
        for wedge in wedges
    ]
    return {"type": "pie", "title": axes.get_title() or None, "elements": elements}


def describe_bars(axes):
    from matplotlib.container import BarContainer

    elements = []
    for container in axes.containers:
        if not isinstance(container, BarContainer):
            continue
        is_vertical = getattr(container, "orientation", None) != "horizontal"
        names = tick_names(axes.xaxis if is_vertical else axes.yaxis)
        for bar in container.patches:
            if is_vertical:
                start, width, value = bar.get_x(), bar.get_width(), bar.get_height()
            else:
                start, width, value = bar.get_y(), bar.get_height(), bar.get_width()
            name = name_at(names, start + width / 2, abs(width) / 2)
            elements.append({"label": name, "group": container.get_label(), "value": number(value)})
    return {"type": "bar", **two_dimensions(axes), "elements": elements} if elements else None


def describe_points(axes):
    from matplotlib.collections import PathCollection

    clouds = [cloud for cloud in axes.collections if isinstance(cloud, PathCollection)]
    lines = [line for line in axes.get_lines() if len(line.get_xdata())]
    if clouds:
        kind = "scatter"
        series = [(cloud.get_label(), cloud.get_offsets().tolist()) for cloud in clouds]
    elif lines:
        kind = "line"
        series = [(line.get_label(), list(zip(*numbers_of(line)))) for line in lines]
    else:
        return None
    to_x, to_y = converter(axes.xaxis), converter(axes.yaxis)
    elements = [
        {"label": str(label), "points": [[to_x(x), to_y(y)] for x, y in points]} for label, points in series
    ]
    chart = {"type": kind, **two_dimensions(axes)}
    for name, axis, convert in (("x", axes.xaxis, to_x), ("y", axes.yaxis, to_y)):
        chart[name + "_ticks"] = [convert(tick) for tick in axis.get_ticklocs()]
        chart[name + "_tick_labels"] = [label.get_text() for label in axis.get_ticklabels()]
        chart[name + "_scale"] = scale(axis)
    chart["elements"] = elements
    return chart


def describe_boxes(axes):
    """Recognises what `boxplot` draws: a box, its whiskers, its median, and then its mean, if any, and its outliers."""
    from matplotlib.patches import PathPatch

    lines = [(line, list(zip(*numbers_of(line)))) for line in axes.get_lines()]
    shapes = [points for _line, points in lines if len(points) >= 5 and points[0] == points[-1]]
    shapes += [patch.get_path().vertices.tolist() for patch in axes.patches if isinstance(patch, PathPatch)]
    for values in (1, 0):
        names = tick_names(axes.xaxis if values else axes.yaxis)
        boxes = [describe_box(shape, lines, values, names) for shape in shapes]
        boxes = [box for box in boxes if box is not None]
        if boxes:
            return {"type": "box_and_whisker", **two_dimensions(axes), "elements": boxes}
    return None


def describe_box(shape, lines, values, names):
    """Describes one box whose values are at this index of its points; None if it is none."""
    places = 1 - values
    edges = [point[values] for point in shape]
    left, right = min(point[places] for point in shape), max(point[places] for point in shape)
    middle = (left + right) / 2
    close = TOLERANCE * max(abs(left), abs(right), right - left, 1e-300)
    near = TOLERANCE * max(abs(edge) for edge in edges + [1e-300])
    whiskers, levels = [], []
    for index, (_line, points) in enumerate(lines):
        if len(points) != 2:
            continue
        (one, other), at = [point[values] for point in points], [point[places] for point in points]
        if all(abs(place - middle) <= close for place in at):
            whiskers.append(sorted((one, other)))
        elif one == other and all(left - close <= place <= right + close for place in at):
            levels.append((one, index))

    def is_edge(value):
        return any(abs(edge - value) <= near for edge in edges)

    # A whisker begins at an edge of the box, which may have others at its notch.
    pairs = [
        (below, above)
        for below in whiskers
        for above in whiskers
        if below is not above and is_edge(below[1]) and is_edge(above[0]) and below[1] <= above[0] + near
    ]
    if not pairs:
        return None
    (lowest, first), (third, highest) = max(pairs, key=lambda pair: pair[1][0] - pair[0][1])
    # A cap of a whisker without length is at the same place, but is drawn before.
    medians = [(value, index) for value, index in levels if first <= value <= third]
    if not medians:
        return None
    median, index = medians[-1]
    return {
        "label": name_at(names, middle, (right - left) / 2),
        "min": number(lowest),
        "first_quartile": number(first),
        "median": number(median),
        "third_quartile": number(third),
        "max": number(highest),
        "outliers": [
            number(point[values])
            for point in last_markers(lines[index + 1 :])
            if not lowest <= point[values] <= highest
        ],
    }


def last_markers(lines):
    """The points of the last one of the lines at the beginning that consist of markers only."""
    markers = []
    for line, points in lines:
        if line.get_linestyle() != "None":
            break
        markers = points
    return markers


def two_dimensions(axes):
    x_label, y_label = axes.get_xlabel() or None, axes.get_ylabel() or None
    return {
        "title": axes.get_title() or None,
        "x_label": x_label,
        "y_label": y_label,
        "x_unit": unit(x_label),
        "y_unit": unit(y_label),
    }


def unit(label):
    found = UNIT.search(label or "")
    return (found.group(1) or found.group(2)) if found else None


def scale(axis):
    kind = type(axis_converter(axis)).__name__
    if "Date" in kind:
        return "datetime"
    return "categorical" if "Category" in kind else axis.get_scale()


def converter(axis):
    """Returns a function that makes a position on an axis what the user has given: a number, a time or a category."""
    kind = scale(axis)
    if kind == "datetime":
        from matplotlib.dates import num2date

        return lambda value: num2date(value).replace(tzinfo=None).isoformat()
    if kind == "categorical":
        mapping = getattr(getattr(axis, "units", None), "_mapping", {})
        names = {position: name for name, position in mapping.items()}
        return lambda value: names.get(value, number(value))
    return number


def axis_converter(axis):
    get = getattr(axis, "get_converter", None)
    return get() if get is not None else getattr(axis, "converter", None)


def tick_names(axis):
    """The positions of the ticks, with their labels."""
    return [(float(at), label.get_text()) for at, label in zip(axis.get_ticklocs(), axis.get_ticklabels())]


def name_at(names, position, reach):
    """The label of the tick at a position, or else the position."""
    distance, name = min(((abs(at - position), name) for at, name in names), default=(math.inf, ""))
    return name if name and distance <= max(reach, 0) else str(number(position))


def numbers_of(line):
    return [float(x) for x in line.get_xdata(orig=False)], [float(y) for y in line.get_ydata(orig=False)]


def number(value):
    """A number for JSON, which has no infinite ones."""
    value = float(value)
    return value if math.isfinite(value) else None
