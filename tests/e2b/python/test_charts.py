"""Figures of matplotlib as charts, by the module of the driver that does it in a sandbox, and as the SDK reads them."""

import datetime
import importlib.util
import json
import pathlib

import pytest

pytestmark = pytest.mark.since("2.45.0")


@pytest.fixture(scope="module")
def pyplot():
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot

    return matplotlib.pyplot


@pytest.fixture(scope="module")
def read():
    """Describes a figure, and reads that as the SDK does."""
    from e2b_code_interpreter.charts import _deserialize_chart

    driver = pathlib.Path(__file__).parents[3] / "crates/sandbox-gateway/src/interpreter/driver"
    spec = importlib.util.spec_from_file_location("charts", driver / "charts.py")
    charts = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(charts)

    def read(figure):
        # Without numbers that JSON does not have.
        return _deserialize_chart(json.loads(json.dumps(charts.describe(figure), allow_nan=False)))

    return read


@pytest.fixture
def figure(pyplot):
    yield pyplot.figure()
    pyplot.close("all")


def test_lines(figure, read):
    axes = figure.add_subplot(title="Speeds", xlabel="Time (s)", ylabel="Speed [m/s]")
    axes.plot([0, 1, 2], [1, float("nan"), 4], label="a")
    axes.plot([0, 2], [3, 3], label="b")
    chart = read(figure)
    assert (chart.type, chart.title) == ("line", "Speeds")
    assert (chart.x_label, chart.x_unit) == ("Time (s)", "s")
    assert (chart.y_label, chart.y_unit) == ("Speed [m/s]", "m/s")
    assert (chart.x_scale, chart.y_scale) == ("linear", "linear")
    assert [element.label for element in chart.elements] == ["a", "b"]
    assert chart.elements[0].points == [(0, 1), (1, None), (2, 4)]
    assert len(chart.x_ticks) == len(chart.x_tick_labels) > 2
    assert "1.00" in chart.x_tick_labels


def test_lines_over_times_and_categories(figure, read):
    days = [datetime.datetime(2026, 11, day) for day in (1, 2, 3)]
    figure.add_subplot().plot(days, [1, 2, 3])
    chart = read(figure)
    assert chart.x_scale == "datetime"
    assert chart.elements[0].points[1] == ("2026-11-02T00:00:00", 2)
    figure.clear()
    axes = figure.add_subplot(yscale="log")
    axes.plot(["x", "y"], [10, 100])
    chart = read(figure)
    assert (chart.x_scale, chart.y_scale) == ("categorical", "log")
    assert chart.elements[0].points == [("x", 10), ("y", 100)]


def test_scatter(figure, read):
    axes = figure.add_subplot()
    axes.scatter([1, 2], [3, 4], label="one")
    axes.scatter([5], [6], label="two")
    figure.colorbar(axes.scatter([0], [0], c=[1]))
    chart = read(figure)
    assert chart.type == "scatter"
    assert [element.points for element in chart.elements] == [[(1, 3), (2, 4)], [(5, 6)], [(0, 0)]]
    assert chart.elements[0].label == "one"


@pytest.mark.parametrize("method", ["bar", "barh"])
def test_bars(figure, read, method):
    axes = figure.add_subplot(title="Sales")
    getattr(axes, method)(["A", "B"], [10, 20], label="Books")
    chart = read(figure)
    assert (chart.type, chart.title) == ("bar", "Sales")
    assert [(bar.label, bar.group, bar.value) for bar in chart.elements] == [("A", "Books", 10), ("B", "Books", 20)]


def test_pie(figure, read):
    figure.add_subplot(title="Parts").pie([1, 3], labels=["a", "b"])
    chart = read(figure)
    assert (chart.type, chart.title) == ("pie", "Parts")
    assert [(slice.label, round(slice.angle), slice.radius) for slice in chart.elements] == [("a", 90, 1), ("b", 270, 1)]


@pytest.mark.parametrize("options", [{}, {"orientation": "horizontal"}, {"patch_artist": True}, {"notch": True}, {"showmeans": True}])
def test_boxes(figure, read, options):
    axes = figure.add_subplot()
    boxes = axes.boxplot([[1, 2, 3, 4, 5, 50], [10, 20, 30, 40, 50]], **options)
    assert len(boxes["boxes"]) == 2
    (axes.set_yticks if "orientation" in options else axes.set_xticks)([1, 2], labels=["few", "many"])
    chart = read(figure)
    assert chart.type == "box_and_whisker"
    few, many = chart.elements
    assert (few.label, few.min, few.median, few.max, few.outliers) == ("few", 1, 3.5, 5, [50])
    assert (few.first_quartile, few.third_quartile) == (2.25, 4.75)
    assert (many.label, many.min, many.first_quartile, many.median) == ("many", 10, 20, 30)
    assert (many.third_quartile, many.max, many.outliers) == (40, 50, [])


def test_several_axes(figure, read):
    figure.suptitle("Both")
    left, right = figure.subplots(1, 2)
    left.plot([1, 2], [1, 2])
    right.bar(["a"], [1])
    chart = read(figure)
    assert (chart.type, chart.title) == ("superchart", "Both")
    assert [element.type for element in chart.elements] == ["line", "bar"]


def test_what_is_no_chart(figure, read):
    assert read(figure) is None
    figure.add_subplot(title="Image").imshow([[1, 2], [3, 4]])
    chart = read(figure)
    assert (chart.type, chart.title, chart.elements) == ("unknown", "Image", [])
