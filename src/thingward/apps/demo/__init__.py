"""The demo: the whole platform on a simulated site, plainly labelled, and gone without a trace afterwards."""
