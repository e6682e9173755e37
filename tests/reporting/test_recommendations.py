"""What is told of a recommended movie."""

from hybrid_assets.reporting.recommendations import Reason, most_telling


def test_what_takes_off_much_is_told_and_the_rest_is_summed():
    parts = {"a": 0.1, "b": -0.9, "c": 0.5, "d": 0.3, "e": -0.2}
    told = most_telling([Reason(name, 1.0, part, ()) for name, part in parts.items()])
    assert [line.split()[0] for line in told] == ["b", "c", "d", "a,"]
    assert told[-1] == "a, e: together -0.100"
