"""The bare pipeline: what a joiner costs when nothing is checked, traced, secured or decided (floor.py)."""
