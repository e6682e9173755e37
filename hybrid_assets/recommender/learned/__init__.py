"""Learned fusions: how several branches become one ranking, learned from ratings that were held out.

context.py and features.py: what is known of a candidate. examples.py: what is taught. stacking.py (trees) and gate.py
learn; learned_ranking.py ranks by either, learned_newcomers.py people who are not in the ratings; learned_systems.py
puts it together.
"""
