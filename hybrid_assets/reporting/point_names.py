"""Names beside the points of a plot, where they cover neither a point nor another name.

Belongs here: where a name stands. Does not: what is plotted (plots.py).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

Vector = npt.NDArray[np.float64]

# Where a point's name may stand, best first: (distance in points, direction across, direction up).
NAME_PLACES = [
    (far, across, up)
    for far in (7, 15, 24, 34, 46, 60, 76)
    for across, up in (
        *((1, 0), (-1, 0), (0, 1), (0, -1), (0.7, 0.7), (-0.7, 0.7), (0.7, -0.7), (-0.7, -0.7)),
        *((0.38, 0.92), (-0.38, 0.92), (0.38, -0.92), (-0.38, -0.92)),
        *((0.92, 0.38), (-0.92, 0.38), (0.92, -0.38), (-0.92, -0.38)),
    )
]
# What it costs a name to look like another point's, in the pixels that it could cover instead.
CONFUSING = 400


def name_points(figure: "Figure", axes: "Axes", points: Sequence[tuple[float, float, str]]) -> None:
    """Write each point's name beside it, where it covers neither a point nor another name; a thin line if far off."""
    # Positions in pixels are known only once the layout is.
    if figure.get_constrained_layout():
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    frame = axes.get_window_extent()
    dots = [axes.transData.transform((x, y)) for x, y, _ in points]
    taken = [_box(x - 9, y - 9, x + 9, y + 9) for x, y in dots]
    for position, ((x, y, name), dot) in enumerate(zip(points, dots, strict=True)):
        text = axes.annotate(name, (x, y), xytext=(0, 0), textcoords="offset points", fontsize=8.5)
        size = text.get_window_extent()
        text.remove()
        others = dots[:position] + dots[position + 1 :]
        best, lowest = NAME_PLACES[0], np.inf
        for place in NAME_PLACES:
            if place[0] >= lowest:  # nor will those further off cost less
                break
            box = _name_box(place, dot, size, figure.dpi)
            outside = box.width * box.height - _overlap(box, frame)
            cost = place[0] + outside + sum(_overlap(box, other) for other in taken)
            cost += CONFUSING * _confused(place, dot, box, others, figure.dpi)
            if cost < lowest:
                best, lowest = place, cost
        taken.append(_name_box(best, dot, size, figure.dpi))
        far, across, up = best
        line = {"arrowstyle": "-", "color": "#9a9a9a", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
        axes.annotate(
            name,
            (x, y),
            xytext=(across * far, up * far),
            textcoords="offset points",
            ha={-1: "right", 0: "center", 1: "left"}[int(np.sign(across))],
            va={-1: "top", 0: "center", 1: "bottom"}[int(np.sign(up))],
            fontsize=8.5,
            # The line leaves from the corner or side of the name that faces its point.
            arrowprops=line | {"relpos": (_facing(across), _facing(up))} if far > NAME_PLACES[0][0] else None,
        )


def _facing(direction: float) -> float:
    return float(1 - np.sign(direction)) / 2


def _confused(place: tuple[int, float, float], dot: Vector, box: "Bbox", others: Sequence[Vector], dpi: float) -> int:
    """How many other points a name at this place could be taken to belong to.

    Beside its point: those as near to the name. Further off: those that the line to the name passes.
    """
    far, across, up = place
    if far == NAME_PLACES[0][0]:
        reach = 1.6 * far * dpi / 72
        return sum(box.x0 - reach < x < box.x1 + reach and box.y0 - reach < y < box.y1 + reach for x, y in others)
    end = np.array([across, up]) * far * dpi / 72
    passed = 0
    for other in others:
        along = float(np.clip((other - dot) @ end / (end @ end), 0, 1))
        passed += bool(np.linalg.norm(other - dot - along * end) < 10)
    return passed


def _name_box(place: tuple[int, float, float], dot: Vector, size: "Bbox", dpi: float) -> "Bbox":
    """The pixels that a name of this size takes at this place by a point, with a little air around it."""
    far, across, up = place[0] * dpi / 72, place[1], place[2]
    left = dot[0] + across * far - size.width * _facing(across)
    bottom = dot[1] + up * far - size.height * _facing(up)
    return _box(left - 3, bottom - 2, left + size.width + 3, bottom + size.height + 2)


def _box(x0: float, y0: float, x1: float, y1: float) -> "Bbox":
    from matplotlib.transforms import Bbox

    return Bbox.from_extents(x0, y0, x1, y1)


def _overlap(one: "Bbox", other: "Bbox") -> float:
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return float(width * height) if width > 0 and height > 0 else 0.0
