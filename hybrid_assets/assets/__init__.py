"""The graph: what depends on what, one file for each stage. No maths and no file formats here."""
