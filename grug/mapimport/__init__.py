"""Turns register lists of other programs and of datasheets into maps of ours.

``guess`` tells which format a text is in, one module per format makes ``ImportedRow`` of it, and
``writer`` makes the map, which is parsed like any other before anybody gets to see it.
"""
