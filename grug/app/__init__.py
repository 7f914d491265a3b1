"""The composition root: configuration to actors; the only importer of actors.

``parts`` says who exists and in which process each lives; ``control`` and ``data`` run the two.
"""
