"""The one road that records take, journal, supervision, configuration, composition."""
