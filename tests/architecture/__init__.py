"""Tests of the shape of the code: what may know what, how large things get, what is written down."""
